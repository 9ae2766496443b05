//! Acknowledgements in receive order, each only after Kafka has everything of its message (MQTT-4.6.0-2).
//!
//! The ring belongs to one connection and dies with it: an acknowledgement never crosses to another.

use std::collections::VecDeque;
use std::sync::Arc;

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
    /// The Kafka topics of its records that are not stored yet.
    outstanding: Vec<Arc<str>>,
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

    /// Adds what was received; it is done after its records in these Kafka topics are.
    pub(super) fn push(&mut self, item: T, outstanding: Vec<Arc<str>>) -> Ticket {
        let ticket = Ticket(self.next_ticket());
        self.entries.push_back(Entry { item, outstanding });
        ticket
    }

    /// Nobody waits any more for the record of this ticket in that topic. A ticket of an earlier ring is passed over, and so is a record
    /// that was done before.
    pub(super) fn done(&mut self, ticket: Ticket, topic: &str) {
        if let Some(entry) = self.entry(ticket)
            && let Some(at) = entry.outstanding.iter().position(|outstanding| **outstanding == *topic)
        {
            entry.outstanding.swap_remove(at);
        }
    }

    /// This ticket waits for a record in that topic too.
    pub(super) fn await_too(&mut self, ticket: Ticket, topic: &Arc<str>) {
        if let Some(entry) = self.entry(ticket) {
            entry.outstanding.push(Arc::clone(topic));
        }
    }

    /// What waits under this ticket and for no record any more: only for those before it.
    pub(super) fn get_done(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.entry(ticket).filter(|entry| entry.outstanding.is_empty()).map(|entry| &mut entry.item)
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
        if !self.entries.front()?.outstanding.is_empty() {
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

    fn topics<const N: usize>(names: [&str; N]) -> Vec<Arc<str>> {
        names.map(Arc::from).into()
    }

    #[test]
    fn what_is_done_leaves_in_receive_order() {
        let mut ring = AckRing::new(0);
        let (a, b, c) = (ring.push("a", topics(["x", "y"])), ring.push("b", topics(["x"])), ring.push("c", Vec::new()));
        ring.done(b, "x");
        assert_eq!(ring.pop_done(), None, "a is not done");
        ring.done(a, "y");
        assert_eq!(ring.pop_done(), None, "a has one record left");
        ring.done(a, "x");
        assert_eq!(ring.get_done(b), Some(&mut "b"));
        assert_eq!(ring.get_done(Ticket(9)), None);
        assert_eq!((ring.pop_done(), ring.pop_done(), ring.pop_done(), ring.pop_done()), (Some("a"), Some("b"), Some("c"), None));
        assert_eq!(c, Ticket(2));
    }

    #[test]
    fn a_record_that_is_awaited_in_the_place_of_another_does_not_count_for_it() {
        let mut ring = AckRing::new(0);
        let press = ring.push("press", topics(["refuses", "journal"]));
        ring.done(press, "refuses");
        ring.await_too(press, &Arc::from("fallback"));
        ring.done(press, "journal");
        ring.done(press, "refuses");
        assert_eq!(ring.pop_done(), None, "the fallback has it not");
        ring.done(press, "fallback");
        assert_eq!(ring.pop_done(), Some("press"));
    }

    #[test]
    fn outcomes_of_an_earlier_connection_fit_nothing() {
        let mut old = AckRing::new(0);
        let late = old.push("old", topics(["x"]));
        let mut ring = AckRing::new(old.next_ticket());
        ring.push("new", topics(["x"]));
        ring.done(late, "x");
        assert_eq!(ring.pop_done(), None);
        assert!(ring.get(late).is_none());
    }
}
