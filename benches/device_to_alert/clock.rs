//! The bench's clock and its waits: read and waited here and nowhere else.
#![allow(clippy::disallowed_methods, reason = "a bench is about time")]

use std::time::{Duration, Instant};

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

/// The day, UTC.
pub(crate) fn date() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%F"]).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
