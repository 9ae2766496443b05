//! Which messages were seen before. Two memories: a small one per device for reports, and one of the partition for presses.
//!
//! Neither may hide news: the device's memory goes by event ids, which differ when the bytes do. A window of sequence numbers finds the
//! event of a copy that is too old for the ring; a number alone proves nothing, for a device may count from the start again. A press id
//! that comes back much later is a new press.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::EventId;
use crate::limits;
use crate::time::{AppendMillis, ProbeMillis};

use super::digest::StateHasher;

/// Sequence numbers behind the highest whose events a device's memory holds.
const WINDOW: usize = 64;

/// A device's memory: its last event ids, and the beginnings of those in a window of sequence numbers behind the highest.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    ring: VecDeque<EventId>,
    boot: u32,
    highest: u64,
    /// By sequence number modulo [`WINDOW`]; made for devices that count. 0 where there was none.
    window: Option<Box<[u32; WINDOW]>>,
}

impl Repeats {
    /// Remembers a message; true where it was seen before.
    pub(super) fn seen(&mut self, event: EventId, boot_and_sequence: Option<(u32, u64)>) -> bool {
        let by_sequence = boot_and_sequence.is_some_and(|(boot, sequence)| self.in_window(event, boot, sequence));
        if self.ring.contains(&event) {
            return true;
        }
        if self.ring.len() == limits::EVENT_RING_LEN {
            self.ring.pop_front();
        }
        self.ring.push_back(event);
        by_sequence
    }

    /// Whether a report of this number comes after one that its device made later.
    pub(super) fn is_overtaken(&self, (boot, sequence): (u32, u64)) -> bool {
        (boot, sequence) < (self.boot, self.highest)
    }

    /// Notes which event bore a sequence number; true where it was this one before.
    fn in_window(&mut self, event: EventId, boot: u32, sequence: u64) -> bool {
        if boot < self.boot {
            return false;
        }
        let window = self.window.get_or_insert_with(|| Box::new([0; WINDOW]));
        if boot > self.boot || sequence > self.highest {
            let passed = if boot > self.boot { u64::MAX } else { sequence - self.highest };
            for number in (0..WINDOW as u64).take_while(|number| *number < passed) {
                window[slot(sequence.wrapping_sub(number))] = 0;
            }
            (self.boot, self.highest) = (boot, sequence);
        }
        if self.highest - sequence >= WINDOW as u64 {
            return false;
        }
        let known = &mut window[slot(sequence)];
        let this = beginning(event);
        std::mem::replace(known, this) == this
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.count(self.ring.len());
        for event in &self.ring {
            hash.bytes(&event.0);
        }
        hash.int(self.boot.into()).int(self.highest.cast_signed());
        for known in self.window.iter().flat_map(|window| window.iter()) {
            hash.int((*known).into());
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is below 64")]
const fn slot(sequence: u64) -> usize {
    (sequence % WINDOW as u64) as usize
}

/// Enough of an event id to tell it from the few others that can bear the same number; never 0.
const fn beginning(event: EventId) -> u32 {
    let [a, b, c, d, ..] = event.0;
    let beginning = u32::from_be_bytes([a, b, c, d]);
    if beginning == 0 { 1 } else { beginning }
}

/// What a partition remembers of presses.
#[derive(Clone, Debug, Default)]
pub(super) struct Presses {
    seen: BTreeMap<EventId, Seen>,
    /// By time of last sight, oldest first; entries that were seen again since are stale and are passed over.
    order: VecDeque<(AppendMillis, EventId)>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    last_copy: ProbeMillis,
    last_seen: AppendMillis,
}

/// A press, as far as telling it from a copy needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) event: EventId,
    /// Under which it alerts by itself: another than `event` where no probe tells it from a copy any more.
    pub(super) alerts_as: EventId,
    /// Under which it alerts if `event` came back long after its last copy.
    pub(super) again: EventId,
    /// On the probes' axis; none where it may have waited in the broker, nobody knows how long.
    pub(super) came_at: Option<ProbeMillis>,
    /// The latest that it can have come.
    pub(super) arrived: ProbeMillis,
}

impl Presses {
    /// Tells a new press from a copy, and remembers it. Gives the event under which a new one alerts; none for a copy.
    pub(super) fn tell(&mut self, sight: Sight, now: AppendMillis) -> Option<EventId> {
        self.forget(now);
        let known = self.seen.get(&sight.event).copied();
        let again = |seen: Seen| sight.came_at.is_some_and(|at| at.since(seen.last_copy) > limits::PRESS_AGAIN_MILLIS);
        let verdict = match known {
            _ if sight.alerts_as != sight.event => (!self.seen.contains_key(&sight.alerts_as)).then_some(sight.alerts_as),
            None => Some(sight.event),
            Some(seen) if again(seen) => Some(sight.again),
            Some(_) => None,
        };
        // A copy that may have waited for hours: when it came says nothing of when the press was last repeated.
        let last_copy = match (known, sight.came_at) {
            (Some(seen), None) => seen.last_copy,
            (Some(seen), Some(at)) => seen.last_copy.max(at),
            (None, at) => at.unwrap_or(sight.arrived),
        };
        self.remember(sight.event, Seen { last_copy, last_seen: now });
        if sight.alerts_as != sight.event {
            self.remember(sight.alerts_as, Seen { last_copy, last_seen: now });
        }
        verdict
    }

    fn remember(&mut self, event: EventId, seen: Seen) {
        self.seen.insert(event, seen);
        self.order.push_back((seen.last_seen, event));
    }

    /// Drops what is too old to return, and the oldest of too many.
    fn forget(&mut self, now: AppendMillis) {
        while let Some((at, event)) = self.order.front().copied() {
            let stale = self.seen.get(&event).is_none_or(|seen| seen.last_seen != at);
            let due = now.since(at) > limits::PRESS_MEMORY_MILLIS || self.seen.len() >= limits::PRESSES_REMEMBERED_MAX;
            let crowded = self.order.len() > 2 * limits::PRESSES_REMEMBERED_MAX;
            if !(stale || due || crowded) {
                return;
            }
            self.order.pop_front();
            if !stale {
                self.seen.remove(&event);
            }
        }
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.count(self.seen.len());
        for (event, seen) in &self.seen {
            hash.bytes(&event.0).int(seen.last_copy.get()).int(seen.last_seen.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{HOUR_MILLIS, MINUTE_MILLIS};

    fn event(n: u8) -> EventId {
        EventId([n; 16])
    }

    #[test]
    fn copies_are_seen_and_news_is_not() {
        let mut repeats = Repeats::default();
        assert!(!repeats.seen(event(1), None));
        assert!(repeats.seen(event(1), None));
        assert!(!repeats.seen(event(2), None));
    }

    #[test]
    fn a_device_whose_counter_stands_still_is_still_heard() {
        let mut repeats = Repeats::default();
        for n in 0..200 {
            assert!(!repeats.seen(event(n), Some((0, 7))), "message {n} has other bytes: it is news");
        }
    }

    #[test]
    fn the_window_knows_copies_that_the_ring_has_forgotten() {
        let mut repeats = Repeats::default();
        for n in 0..60_u8 {
            assert!(!repeats.seen(event(n), Some((1, n.into()))));
        }
        assert!(repeats.seen(event(20), Some((1, 20))));
        assert!(!repeats.seen(event(200), Some((0, 20))), "an older start's messages are not judged by the window");
        assert!(!repeats.seen(event(201), Some((2, 20))), "a new start counts anew");
        for n in 100..130_u8 {
            assert!(!repeats.seen(event(n), Some((2, u64::from(n) * 1_000))), "so does a counter that leaps");
        }
        assert!(!repeats.seen(event(201), Some((2, 128_980))), "and what stood in the place of a number before is forgotten");
    }

    #[test]
    fn a_device_that_counts_from_the_start_again_is_heard() {
        let mut repeats = Repeats::default();
        for n in 0..61_u8 {
            assert!(!repeats.seen(event(n), Some((1, n.into()))));
        }
        for n in 0..61_u8 {
            assert!(!repeats.seen(event(100 + n), Some((1, n.into()))), "message {n} after the restart has other bytes");
        }
        for n in 0..61_u8 {
            assert!(repeats.seen(event(100 + n), Some((1, n.into()))), "a copy of message {n} after the restart");
        }
    }

    /// A sight of press 1, which would be press 2 if it were new again.
    fn sight(at: i64) -> Sight {
        let arrived = ProbeMillis::new(at);
        Sight { event: event(1), alerts_as: event(1), again: event(2), came_at: Some(arrived), arrived }
    }

    fn tell(presses: &mut Presses, at: i64) -> Option<EventId> {
        presses.tell(sight(at), AppendMillis::new(at))
    }

    #[test]
    fn an_old_press_id_that_returns_is_a_new_press_once() {
        let mut presses = Presses::default();
        assert_eq!(tell(&mut presses, 0), Some(event(1)));
        assert_eq!(tell(&mut presses, 30_000), None);
        assert_eq!(tell(&mut presses, 10 * MINUTE_MILLIS), None, "within ten minutes of its last copy");
        assert_eq!(tell(&mut presses, 21 * MINUTE_MILLIS), Some(event(2)), "a new press");
        assert_eq!(tell(&mut presses, 21 * MINUTE_MILLIS), None);
    }

    #[test]
    fn what_may_have_waited_is_a_copy_and_dates_nothing() {
        let mut presses = Presses::default();
        let waited = |at| Sight { came_at: None, ..sight(at) };
        tell(&mut presses, 0);
        assert_eq!(presses.tell(waited(30 * MINUTE_MILLIS), AppendMillis::new(30 * MINUTE_MILLIS)), None);
        assert_eq!(tell(&mut presses, 31 * MINUTE_MILLIS), Some(event(2)), "that copy did not hide the next press");
    }

    #[test]
    fn what_no_probe_tells_from_a_copy_alerts_for_itself_once() {
        let mut presses = Presses::default();
        let counted = |n, at| Sight { alerts_as: event(n), again: event(n), ..sight(at) };
        tell(&mut presses, 0);
        let at = AppendMillis::new(MINUTE_MILLIS);
        assert_eq!(presses.tell(counted(7, MINUTE_MILLIS), at), Some(event(7)));
        assert_eq!(presses.tell(counted(7, MINUTE_MILLIS), at), None, "the same record again");
        assert_eq!(presses.tell(counted(8, MINUTE_MILLIS), at), Some(event(8)), "doubled rather than hidden");
        assert_eq!(tell(&mut presses, 11 * MINUTE_MILLIS), None, "a copy with a probe, within ten minutes of its last");
    }

    #[test]
    fn presses_are_forgotten_after_26_hours_and_memory_is_bounded() {
        let mut presses = Presses::default();
        tell(&mut presses, 0);
        assert_eq!(tell(&mut presses, 27 * HOUR_MILLIS), Some(event(1)));
        for at in 0..1_000 {
            tell(&mut presses, 27 * HOUR_MILLIS + at);
        }
        assert_eq!(presses.seen.len(), 1);
    }
}
