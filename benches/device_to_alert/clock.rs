//! The bench's clock and its waits: read and waited here and nowhere else.
#![allow(clippy::disallowed_methods, reason = "a bench is about time")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until that time; returns at once where it has passed. Late by the kernel's timer slack, under 0.1 ms.
pub(crate) fn wait_till(at: Instant) {
    let left = at.saturating_duration_since(now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// How this process's monotonic clock stands to the wall clock that all processes of the machine share.
pub(crate) struct Wall {
    at: Instant,
    since_epoch: Duration,
}

impl Wall {
    pub(crate) fn now() -> Self {
        Self { at: now(), since_epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// From a moment in the past to a wall time that was cut to whole milliseconds: half of one is given back.
    pub(crate) fn until(&self, from: Instant, millis: i64) -> Duration {
        let from = self.since_epoch.saturating_sub(self.at.saturating_duration_since(from));
        (Duration::from_millis(millis.unsigned_abs()) + Duration::from_micros(500)).saturating_sub(from)
    }
}

/// The day, UTC.
pub(crate) fn date() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%F"]).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
