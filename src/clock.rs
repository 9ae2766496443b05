//! The clocks: read here and nowhere else, so that every other use shows as a call to this module.
//!
//! Wall time stamps what people read and what ingesters and detectors write about themselves; no machine decides by it.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch, UTC. A clock set before 1970 reads as 0.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn wall_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since this process first asked, on a clock that nobody sets: for waits, and for ages of what this process saw itself.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the steady clock for others")]
pub fn steady_millis() -> i64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    i64::try_from(FIRST.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_past_2025() {
        assert!(wall_millis() > 1_735_689_600_000);
    }
}
