//! Two clients under one MQTT client id: the broker gives the session to the newer one, and if the older came straight back they would
//! throw each other out for ever. So whoever was thrown out stays away, longer each time, and says so.
//!
//! It is never for good: the other one may be no ingester at all, and then nobody reads what waits in the session.

use crate::limits;

/// What a connection remembers of its take-overs.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    recent: u32,
    last_at: Option<i64>,
}

impl Takeovers {
    /// It happened, now (milliseconds since the epoch); gives how many milliseconds to stay away.
    pub(super) fn happened(&mut self, now_millis: i64) -> u64 {
        self.recent = if self.is_shown(now_millis) { self.recent + 1 } else { 1 };
        self.last_at = Some(now_millis);
        let doubled = limits::TAKEN_OVER_AWAY_MILLIS_MIN << (self.recent - 1).min(8);
        doubled.min(limits::TAKEN_OVER_AWAY_MILLIS_MAX)
    }

    /// Whether it happened not long ago: reason enough to look for the other client, though we are connected again.
    pub(super) fn is_shown(&self, now_millis: i64) -> bool {
        self.last_at.is_some_and(|at| now_millis - at < limits::TAKEN_OVER_SHOWN_MILLIS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_thrown_out_again_and_again_stays_away_longer_and_never_for_good() {
        let mut takeovers = Takeovers::default();
        assert!(!takeovers.is_shown(0));
        let away: Vec<u64> = (0..12).map(|round| takeovers.happened(round * 30_000)).collect();
        assert_eq!(away[..4], [5_000, 10_000, 20_000, 30_000]);
        assert!(away[4..].iter().all(|millis| *millis == limits::TAKEN_OVER_AWAY_MILLIS_MAX));
        assert!(takeovers.is_shown(11 * 30_000 + limits::TAKEN_OVER_SHOWN_MILLIS - 1));
        let later = 11 * 30_000 + limits::TAKEN_OVER_SHOWN_MILLIS;
        assert!(!takeovers.is_shown(later));
        assert_eq!(takeovers.happened(later), 5_000, "that was another story");
    }
}
