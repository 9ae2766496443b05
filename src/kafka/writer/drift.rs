//! How far our clock is off Kafka's, as far as stored records prove it.
//!
//! Kafka appends a record between our writing it and our hearing of it. So a record that was written after its append time shows a
//! clock that is ahead, one that was answered before it a clock that is behind; a slow network or a frozen process shows neither.

use crate::limits;

/// The newest proof.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drift {
    /// Ahead by at least so many milliseconds; behind where negative.
    off_millis: i64,
    seen_at: i64,
}

impl Drift {
    /// A record was written and answered at these times of our clock, and appended at this one of Kafka's.
    pub(super) fn note(&mut self, written_at: i64, appended_at: i64, answered_at: i64) {
        let ahead = written_at.saturating_sub(appended_at).max(0);
        let behind = appended_at.saturating_sub(answered_at).max(0);
        if ahead.max(behind) > limits::CLOCK_FAULT_MILLIS {
            *self = Self { off_millis: ahead - behind, seen_at: answered_at };
        }
    }

    /// What was proved not long ago; 0 where nothing was. A clock that was set since is forgiven the sooner.
    pub(super) const fn shown(&self, now_millis: i64) -> i64 {
        let age = now_millis - self.seen_at;
        if age >= 0 && age < limits::CLOCK_FAULT_SHOWN_MILLIS { self.off_millis } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(written_at: i64, appended_at: i64, answered_at: i64) -> i64 {
        let mut drift = Drift::default();
        drift.note(written_at, appended_at, answered_at);
        drift.shown(answered_at)
    }

    #[test]
    fn a_clock_that_is_off_shows_and_a_slow_way_does_not() {
        assert_eq!(shown(100_000, 100_010, 100_020), 0);
        assert_eq!(shown(100_000, 130_000, 160_000), 0, "half a minute each way");
        assert_eq!(shown(103_000, 100_000, 163_000), 3_000, "written after it was appended: ahead");
        assert_eq!(shown(40_000, 100_000, 90_000), -10_000, "answered before it was appended: behind");
        assert_eq!(shown(102_000, 100_000, 102_001), 0, "within the limit");
    }

    #[test]
    fn a_proof_is_forgotten_when_no_further_one_comes() {
        let mut drift = Drift::default();
        drift.note(103_000, 100_000, 103_010);
        assert_eq!(drift.shown(103_010 + limits::CLOCK_FAULT_SHOWN_MILLIS - 1), 3_000);
        assert_eq!(drift.shown(103_010 + limits::CLOCK_FAULT_SHOWN_MILLIS), 0);
        assert_eq!(drift.shown(90_000), 0, "the clock was set back");
    }
}
