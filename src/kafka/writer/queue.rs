//! What a writer still owes: one queue per topic and partition, in the order of writing, until Kafka answers.
//!
//! No Kafka client in here: the queue says what to send, and is told what came of it. A queue is *held* after a fault that
//! passes: nothing more is sent, what is under way comes home, then all of it goes out again in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Delivery, Outcome, Outgoing, RefusedReason, Ticket};
use crate::journal::Partition;
use crate::limits;

/// How long a held queue waits before it goes out again.
const HELD_FOR: Duration = Duration::from_millis(200);

/// One record that Kafka has not answered for.
pub(super) struct Entry {
    pub(super) number: usize,
    ticket: Ticket,
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    pub(super) key: String,
    pub(super) payload: Vec<u8>,
    written_at: Instant,
    /// By the wall clock; milliseconds since the epoch.
    written_at_millis: i64,
}

impl Entry {
    #[allow(clippy::disallowed_methods, reason = "ages of waiting records are measured, not decided by")]
    pub(super) fn new(ticket: Ticket, record: Outgoing, partition: Partition, now_millis: i64) -> Self {
        let Outgoing { topic, key, payload, .. } = record;
        let (written_at, written_at_millis) = (Instant::now(), now_millis);
        Self { number: 0, ticket, topic, partition: partition.0, key, payload, written_at, written_at_millis }
    }
}

/// What an error code of librdkafka means for one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The record itself is at fault.
    Refuse(RefusedReason),
    /// The destination is at fault: tried again for a while, because topics vanish from metadata for moments (K6).
    RefuseLater(RefusedReason),
    /// Goes by itself.
    Retry,
    /// The producer is spent.
    Spent,
}

/// Sorts librdkafka's answers. What is not known to last is tried again: giving up loses a record.
pub(super) fn verdict(code: Code) -> Verdict {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => Verdict::Refuse(RefusedReason::TooLarge),
        Code::InvalidRecord | Code::InvalidTimestamp | Code::PolicyViolation | Code::InvalidArgument => {
            Verdict::Refuse(RefusedReason::Invalid)
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Verdict::RefuseLater(RefusedReason::NotAuthorised),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            Verdict::RefuseLater(RefusedReason::TopicGone)
        }
        Code::Fatal | Code::GaplessGuarantee | Code::Fenced => Verdict::Spent,
        _other => Verdict::Retry,
    }
}

/// One partition's records, in order.
#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// The first so many entries were handed to the producer.
    sent: usize,
    /// So many of them are still under way; fewer than `sent` only while the queue is held.
    under_way: usize,
    /// While set: nothing more goes out until that time, and until nothing is under way.
    held_until: Option<Instant>,
    /// Since when the destination refuses.
    refused_since: Option<Instant>,
}

impl Queue {
    fn hold(&mut self, now: Instant) {
        self.held_until.get_or_insert(now + HELD_FOR);
    }
}

/// All queues of a writer.
#[derive(Default)]
pub(super) struct Queues {
    topics: BTreeMap<Arc<str>, BTreeMap<u32, Queue>>,
    next_number: usize,
    pending: usize,
}

impl Queues {
    /// Adds a record at the end of its queue.
    pub(super) fn push(&mut self, mut entry: Entry) -> (Arc<str>, u32) {
        entry.number = self.next_number;
        self.next_number += 1;
        self.pending += 1;
        let place = (Arc::clone(&entry.topic), entry.partition);
        self.topics.entry(Arc::clone(&entry.topic)).or_default().entry(entry.partition).or_default().entries.push_back(entry);
        place
    }

    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.queues().filter_map(|queue| queue.entries.front()).map(|entry| entry.written_at).min()
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.topics.values().flat_map(BTreeMap::values)
    }

    fn queue(&mut self, topic: &str, partition: u32) -> Option<&mut Queue> {
        self.topics.get_mut(topic)?.get_mut(&partition)
    }

    /// The next record of this queue that may go out; counts as sent from here on.
    pub(super) fn next_to_send(&mut self, topic: &str, partition: u32) -> Option<&Entry> {
        let queue = self.queue(topic, partition)?;
        if queue.held_until.is_some() || queue.sent >= queue.entries.len() {
            return None;
        }
        queue.sent += 1;
        queue.under_way += 1;
        queue.entries.get(queue.sent - 1)
    }

    /// Takes an answer for one sent record. A delivery if it is settled; none if it will go out again.
    pub(super) fn answered(
        &mut self,
        (topic, partition): (&str, u32),
        number: usize,
        answer: Result<(), Code>,
        now: Instant,
    ) -> Option<Delivery> {
        let queue = self.queue(topic, partition)?;
        let at = queue.entries.binary_search_by_key(&number, |entry| entry.number).ok()?;
        queue.under_way = queue.under_way.saturating_sub(1);
        let refused = match answer.map_err(verdict) {
            Ok(()) => {
                queue.refused_since = None;
                None
            }
            Err(Verdict::Refuse(reason)) => Some(reason),
            Err(Verdict::RefuseLater(reason)) => {
                let since = *queue.refused_since.get_or_insert(now);
                if now.duration_since(since) < Duration::from_millis(limits::WRITER_REFUSED_MILLIS) {
                    queue.hold(now);
                    return None;
                }
                Some(reason)
            }
            Err(Verdict::Retry | Verdict::Spent) => {
                queue.hold(now);
                return None;
            }
        };
        let entry = queue.entries.remove(at)?;
        queue.sent = queue.sent.saturating_sub(1);
        self.pending -= 1;
        let outcome = refused.map_or(Outcome::Stored, Outcome::Refused);
        Some(Delivery { ticket: entry.ticket, outcome, written_at: entry.written_at_millis })
    }

    /// Lets go of what is held and due, and names those queues so that they are sent again.
    pub(super) fn release(&mut self, now: Instant) -> Vec<(Arc<str>, u32)> {
        let mut released = Vec::new();
        for (topic, partitions) in &mut self.topics {
            for (partition, queue) in partitions {
                if queue.held_until.is_some_and(|until| until <= now && queue.under_way == 0) {
                    queue.held_until = None;
                    queue.sent = 0;
                    released.push((Arc::clone(topic), *partition));
                }
            }
        }
        released
    }

    /// The producer is gone and answers for nothing any more: everything goes out again.
    pub(super) fn send_all_again(&mut self, now: Instant) {
        for queue in self.topics.values_mut().flat_map(BTreeMap::values_mut) {
            queue.under_way = 0;
            queue.held_until = Some(now);
        }
    }
}
