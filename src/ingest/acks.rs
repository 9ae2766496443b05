//! Acknowledgements in receive order, each only after Kafka has everything of its message (MQTT-4.6.0-2, TRAPS R4).
//!
//! The ring belongs to one connection and dies with it: an acknowledgement never crosses to another.

use std::collections::VecDeque;

use crate::kafka::Ticket;

/// What waits for Kafka, in the order in which it was received.
#[derive(Debug)]
pub(super) struct AckRing<T> {
    entries: VecDeque<Entry<T>>,
    /// The ticket of the first entry.
    first: u64,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    outstanding: u32,
}

impl<T> AckRing<T> {
    /// An empty ring whose tickets begin at `first`: beyond all of an earlier ring, so that its late outcomes fit nothing here.
    pub(super) const fn new(first: u64) -> Self {
        Self { entries: VecDeque::new(), first }
    }

    /// The ticket that the next entry gets.
    pub(super) fn next_ticket(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Adds what was received; it is done after so many records are stored.
    pub(super) fn push(&mut self, item: T, outstanding: u32) -> Ticket {
        let ticket = Ticket(self.next_ticket());
        self.entries.push_back(Entry { item, outstanding });
        ticket
    }

    /// One record of this ticket is stored. A ticket of an earlier ring is passed over.
    pub(super) fn stored(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entry(ticket) {
            debug_assert!(entry.outstanding > 0, "more records stored than written");
            entry.outstanding = entry.outstanding.saturating_sub(1);
        }
    }

    /// What waits under this ticket.
    pub(super) fn get(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.entry(ticket).map(|entry| &mut entry.item)
    }

    fn entry(&mut self, ticket: Ticket) -> Option<&mut Entry<T>> {
        let at = ticket.0.checked_sub(self.first)?;
        self.entries.get_mut(usize::try_from(at).ok()?)
    }

    /// The next in receive order that is done.
    pub(super) fn pop_done(&mut self) -> Option<T> {
        if self.entries.front()?.outstanding > 0 {
            return None;
        }
        self.first += 1;
        self.entries.pop_front().map(|entry| entry.item)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_leaves_in_receive_order() {
        let mut ring = AckRing::new(0);
        let (a, b, c) = (ring.push("a", 2), ring.push("b", 1), ring.push("c", 0));
        ring.stored(b);
        assert_eq!(ring.pop_done(), None, "a is not done");
        ring.stored(a);
        assert_eq!(ring.pop_done(), None, "a has one record left");
        ring.stored(a);
        assert_eq!((ring.pop_done(), ring.pop_done(), ring.pop_done(), ring.pop_done()), (Some("a"), Some("b"), Some("c"), None));
        assert_eq!(c, Ticket(2));
    }

    #[test]
    fn outcomes_of_an_earlier_connection_fit_nothing() {
        let mut old = AckRing::new(0);
        let late = old.push("old", 1);
        let mut ring = AckRing::new(old.next_ticket());
        ring.push("new", 1);
        ring.stored(late);
        assert_eq!(ring.pop_done(), None);
        assert!(ring.get(late).is_none());
    }
}
