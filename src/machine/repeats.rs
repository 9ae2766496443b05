//! Which reports of a device were seen before.
//!
//! It may not hide news, so it goes by event ids, which differ when the bytes do. A window of sequence numbers finds the event of a copy
//! that is too old for the ring; a number alone proves nothing, for a device may count from the start again.

use std::collections::VecDeque;

use crate::ids::EventId;
use crate::limits;
use crate::time::ProbeMillis;

use super::digest::StateHasher;

/// Sequence numbers behind the highest whose events a device's memory holds.
const WINDOW: usize = 64;

/// A device's memory: its last event ids, and the beginnings of those in a window of sequence numbers behind the highest.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    /// With when each came: those of a burst stay until its copies by another ingester have come as well.
    ring: VecDeque<(ProbeMillis, EventId)>,
    boot: u32,
    highest: u64,
    /// By sequence number modulo [`WINDOW`]; made for devices that count. 0 where there was none.
    window: Option<Box<[u32; WINDOW]>>,
}

impl Repeats {
    /// Remembers a message; true where it was seen before.
    pub(super) fn seen(&mut self, event: EventId, arrived: ProbeMillis, boot_and_sequence: Option<(u32, u64)>) -> bool {
        let by_sequence = boot_and_sequence.is_some_and(|(boot, sequence)| self.in_window(event, boot, sequence));
        if self.ring.iter().any(|(_, known)| *known == event) {
            return true;
        }
        while let Some((at, _)) = self.ring.front().filter(|_| self.ring.len() >= limits::EVENT_RING_LEN) {
            let of_a_burst = arrived.since(*at) < limits::EVENT_BURST_MILLIS && self.ring.len() < limits::EVENT_RING_LEN_MAX;
            if of_a_burst {
                break;
            }
            self.ring.pop_front();
        }
        if self.ring.len() < limits::EVENT_RING_LEN {
            self.ring.shrink_to(limits::EVENT_RING_LEN);
        }
        self.ring.push_back((arrived, event));
        by_sequence
    }

    /// Whether a report of this number comes after one that its device made later.
    pub(super) fn is_overtaken(&self, (boot, sequence): (u32, u64)) -> bool {
        (boot, sequence) < (self.boot, self.highest)
    }

    /// Whether a message was seen before; remembers nothing.
    pub(super) fn knows(&self, event: EventId, boot_and_sequence: Option<(u32, u64)>) -> bool {
        let in_window = |(boot, sequence): (u32, u64)| {
            let near = boot == self.boot && self.highest.checked_sub(sequence).is_some_and(|behind| behind < WINDOW as u64);
            near && self.window.as_ref().is_some_and(|window| window[slot(sequence)] == beginning(event))
        };
        self.ring.iter().any(|(_, known)| *known == event) || boot_and_sequence.is_some_and(in_window)
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
        for (at, event) in &self.ring {
            hash.int(at.get()).bytes(&event.0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MINUTE_MILLIS;

    const AT: ProbeMillis = ProbeMillis::new(0);

    fn event(n: u8) -> EventId {
        EventId([n; 16])
    }

    #[test]
    fn copies_are_seen_and_news_is_not() {
        let mut repeats = Repeats::default();
        assert!(!repeats.seen(event(1), AT, None));
        assert!(repeats.seen(event(1), AT, None));
        assert!(!repeats.seen(event(2), AT, None));
    }

    #[test]
    fn a_device_whose_counter_stands_still_is_still_heard() {
        let mut repeats = Repeats::default();
        for n in 0..200 {
            assert!(!repeats.seen(event(n), AT, Some((0, 7))), "message {n} has other bytes: it is news");
        }
    }

    #[test]
    fn the_window_knows_copies_that_the_ring_has_forgotten() {
        let mut repeats = Repeats::default();
        let minute = |n: u8| AT.plus(i64::from(n) * MINUTE_MILLIS);
        for n in 0..60_u8 {
            assert!(!repeats.seen(event(n), minute(n), Some((1, n.into()))));
        }
        assert!(repeats.seen(event(20), minute(60), Some((1, 20))));
        assert!(!repeats.seen(event(200), minute(61), Some((0, 20))), "an older start's messages are not judged by the window");
        assert!(!repeats.seen(event(201), minute(62), Some((2, 20))), "a new start counts anew");
        for n in 100..130_u8 {
            assert!(!repeats.seen(event(n), minute(n), Some((2, u64::from(n) * 1_000))), "so does a counter that leaps");
        }
        assert!(
            !repeats.seen(event(201), minute(130), Some((2, 128_980))),
            "and what stood in the place of a number before is forgotten"
        );
    }

    #[test]
    fn a_device_that_counts_from_the_start_again_is_heard() {
        let mut repeats = Repeats::default();
        for n in 0..61_u8 {
            assert!(!repeats.seen(event(n), AT, Some((1, n.into()))));
        }
        for n in 0..61_u8 {
            assert!(!repeats.seen(event(100 + n), AT, Some((1, n.into()))), "message {n} after the restart has other bytes");
        }
        for n in 0..61_u8 {
            assert!(repeats.seen(event(100 + n), AT, Some((1, n.into()))), "a copy of message {n} after the restart");
        }
    }

    #[test]
    fn a_burst_is_remembered_until_its_copies_have_come() {
        let mut repeats = Repeats::default();
        let later = AT.plus(limits::EVENT_BURST_MILLIS);
        for n in 0..200 {
            assert!(!repeats.seen(event(n), AT, None));
        }
        for n in 0..200 {
            assert!(repeats.seen(event(n), AT, None), "a copy of message {n}");
        }
        assert!(!repeats.seen(event(200), later, None));
        assert_eq!(repeats.ring.len(), limits::EVENT_RING_LEN, "the burst is over");
    }
}
