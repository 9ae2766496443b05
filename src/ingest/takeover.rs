//! Two clients under one MQTT client id: the broker gives the session to the newer one, and if the older came straight back they would
//! throw each other out for ever. So whoever was thrown out stays away, longer each time, and says so.
//!
//! It is never for good: the other one may be no ingester at all, and then nobody reads what waits in the session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::probe::Now;
use crate::limits;

/// What a connection remembers of its take-overs.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    recent: u32,
    last_at: Option<i64>,
    /// When accepted connections were closed without a word, the newest last.
    closed_at: VecDeque<i64>,
}

impl Takeovers {
    /// It happened, now (milliseconds on the steady clock); gives how many milliseconds to stay away.
    pub(super) fn happened(&mut self, now_millis: i64) -> u64 {
        self.recent = if self.is_shown(now_millis) { self.recent + 1 } else { 1 };
        self.last_at = Some(now_millis);
        let doubled = limits::TAKEN_OVER_AWAY_MILLIS_MIN << (self.recent - 1).min(8);
        doubled.min(limits::TAKEN_OVER_AWAY_MILLIS_MAX)
    }

    /// The broker closed, now, a connection that it had accepted, and did not say why; true where that is a take-over by all we know.
    pub(super) fn closed(&mut self, now_millis: i64) -> bool {
        self.closed_at.push_back(now_millis);
        while self.closed_at.front().is_some_and(|at| now_millis - at >= limits::CLOSED_WITHIN_MILLIS) {
            self.closed_at.pop_front();
        }
        self.closed_at.len() >= limits::CLOSED_WITHOUT_A_WORD
    }

    /// Whether it happened not long ago: reason enough to look for the other client, though we are connected again.
    pub(super) fn is_shown(&self, now_millis: i64) -> bool {
        self.last_at.is_some_and(|at| now_millis - at < limits::TAKEN_OVER_SHOWN_MILLIS)
    }
}

/// Another process that bears our name, known by its probes: they are ours by their MQTT topic, and not of this run.
#[derive(Clone, Debug)]
pub(super) struct Twin(Arc<TwinSeen>);

#[derive(Debug)]
struct TwinSeen {
    /// When this run began, by the wall clock: what an earlier one sent may still wait in the broker.
    began_at: i64,
    /// When one was seen, on the steady clock; 0 before.
    seen_at: AtomicI64,
}

impl Twin {
    /// Of a run that begins now.
    pub(super) fn new(began: Now) -> Self {
        Self(Arc::new(TwinSeen { began_at: began.wall_millis, seen_at: AtomicI64::new(0) }))
    }

    /// A probe under our name and of another run came. One from the future proves nothing: `check` sends such.
    pub(super) fn saw(&self, sent_at: i64, now: Now) {
        let since_we_run = self.0.began_at.saturating_add(limits::CLOCK_FAULT_MILLIS);
        if sent_at > since_we_run && sent_at <= now.wall_millis.saturating_add(limits::CLOCK_FAULT_MILLIS) {
            self.0.seen_at.store(now.steady_millis.max(1), Ordering::Relaxed);
        }
    }

    /// Whether it was there a moment ago.
    pub(super) fn is_near(&self, steady_millis: i64) -> bool {
        let seen_at = self.0.seen_at.load(Ordering::Relaxed);
        seen_at > 0 && steady_millis - seen_at < limits::CLOSED_WITHIN_MILLIS
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

    #[test]
    fn a_broker_that_restarts_is_no_take_over_and_one_that_closes_again_and_again_is() {
        let mut takeovers = Takeovers::default();
        assert!(!takeovers.closed(0) && !takeovers.closed(15_000));
        assert!(!takeovers.closed(30_000), "the first is half a minute ago");
        assert!(takeovers.closed(31_000));
    }

    #[test]
    fn a_twin_is_known_by_probes_that_were_sent_while_we_run() {
        let at = |millis: i64| Now { wall_millis: 1_000_000 + millis, steady_millis: millis };
        let twin = Twin::new(at(0));
        twin.saw(1_000_000 + 1_000, at(5_000));
        twin.saw(i64::MAX, at(5_000));
        assert!(!twin.is_near(5_000), "of the run before us, which the broker kept; and what `check` sends");
        twin.saw(1_000_000 + 4_000, at(5_000));
        assert!(twin.is_near(34_999) && !twin.is_near(35_000));
    }
}
