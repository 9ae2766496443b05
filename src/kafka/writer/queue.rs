//! What a writer still owes: one queue per topic and partition, in the order of writing, until Kafka answers.
//!
//! No Kafka client in here: the queue says what to send, and is told what came of it. A queue is *held* after a fault that
//! passes: nothing more is sent, what is under way comes home, then all of it goes out again in order. So it is while its destination
//! refuses: what is to be kept stays, and who wrote it is told once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Delivery, Keep, Outcome, Outgoing, RefusedReason, Ticket};
use crate::journal::Partition;
use crate::kafka::fault::{FaultKind, kind_of_code};
use crate::limits;

/// How long a held queue waits before it goes out again.
const HELD_FOR: Duration = Duration::from_millis(200);
/// And where the destination refuses, or calls a record invalid: somebody has to mend something first.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// Doubled each time up to this, once it is believed that it refuses.
const REFUSED_FOR_MAX: Duration = Duration::from_millis(limits::WRITER_REFUSED_TRIED_MILLIS_MAX);
/// A destination that refuses for so long is said to.
const REFUSED_SAID_AFTER: Duration = Duration::from_millis(limits::WRITER_REFUSED_MILLIS);

/// A refusal is forgotten when it was not met for so long: what comes then is waited for again.
const REFUSED_REMEMBERED: Duration = Duration::from_millis(limits::WRITER_REFUSED_REMEMBERED_MILLIS);

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
    keep: Keep,
    /// Whether its writer knows that the destination refuses.
    told: bool,
    /// Whether it went out with no other beside it: Kafka refuses a whole batch for one record of it.
    alone: bool,
    /// How often it was refused when it went alone.
    refusals: u32,
}

impl Entry {
    #[allow(clippy::disallowed_methods, reason = "ages of waiting records are measured, not decided by")]
    pub(super) fn new(ticket: Ticket, record: Outgoing, partition: Partition, now_millis: i64) -> Self {
        let Outgoing { topic, key, payload, keep, .. } = record;
        let (written_at, written_at_millis) = (Instant::now(), now_millis);
        let partition = partition.0;
        let (told, alone, refusals) = (false, false, 0);
        Self { number: 0, ticket, topic, partition, key, payload, written_at, written_at_millis, keep, told, alone, refusals }
    }

    fn delivery(&self, outcome: Outcome) -> Delivery {
        let makes_room = match outcome {
            Outcome::Held(_) => self.keep == Keep::WhileRoom,
            Outcome::Stored | Outcome::Refused(_) | Outcome::LetGo(_) => !self.is_held(),
        };
        Delivery {
            ticket: self.ticket,
            topic: Arc::clone(&self.topic),
            outcome,
            written_at: self.written_at_millis,
            makes_room: makes_room.then_some(self.payload.len()),
        }
    }

    /// Whether it waits for a destination that refuses, and counts for the limit of its topic alone.
    fn is_held(&self) -> bool {
        self.told && self.keep == Keep::WhileRoom
    }
}

/// What an error code of librdkafka means for one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The record itself is at fault.
    Refuse(RefusedReason),
    /// The destination is at fault: tried again for ever, and said after a while, because topics vanish from metadata for moments.
    Hold(RefusedReason),
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
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Verdict::Hold(RefusedReason::NotAuthorised),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            Verdict::Hold(RefusedReason::TopicGone)
        }
        other if kind_of_code(other) == FaultKind::Fatal => Verdict::Spent,
        _other => Verdict::Retry,
    }
}

/// How a destination refuses.
#[derive(Clone, Copy)]
struct Refusal {
    since: Instant,
    /// When it last did.
    last: Instant,
    reason: RefusedReason,
    /// How long the next try waits.
    wait: Duration,
}

impl Refusal {
    /// Whether it has lasted for long enough to say so.
    fn is_believed(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= REFUSED_SAID_AFTER
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
    /// Set while the destination refuses, whether or not anything waits. Only what it takes, or time, forgets it: a fault that passes says
    /// nothing of it.
    refused: Option<Refusal>,
    /// Entries below this number go one by one: one of them is refused, and it is not known which.
    alone_below: usize,
    /// When Kafka last settled a record of it.
    settled_at: Option<Instant>,
}

impl Queue {
    fn hold(&mut self, until: Instant) {
        self.held_until.get_or_insert(until);
    }

    /// The destination refuses, once more: tried again, ever less often.
    fn refuse(&mut self, reason: RefusedReason, now: Instant) {
        let refusal = self.refused.get_or_insert(Refusal { since: now, last: now, reason, wait: REFUSED_FOR });
        (refusal.last, refusal.reason) = (now, reason);
        if self.held_until.is_none() {
            self.held_until = Some(now + refusal.wait);
            if refusal.is_believed(now) {
                refusal.wait = (refusal.wait * 2).min(REFUSED_FOR_MAX);
            }
        }
    }

    /// Why the destination refuses, if it has for long enough to say so.
    fn refuses(&self, now: Instant) -> Option<RefusedReason> {
        self.refused.filter(|refusal| refusal.is_believed(now)).map(|refusal| refusal.reason)
    }

    /// Since when Kafka has settled nothing of what waits here. One that refuses is not silent.
    fn silent_since(&self) -> Option<Instant> {
        let oldest = self.entries.front().filter(|_| self.refused.is_none())?;
        Some(self.settled_at.map_or(oldest.written_at, |settled_at| settled_at.max(oldest.written_at)))
    }

    /// Whether a further entry may go out: one that goes alone waits until nothing is under way, and so does the one behind it. To a
    /// destination that refuses one goes at a time: each costs an epoch of the producer (docs/TRAPS.md).
    fn may_send(&self) -> bool {
        let Some(next) = self.entries.get(self.sent).filter(|_| self.held_until.is_none()) else { return false };
        let behind_one_alone = self.sent > 0 && self.entries[self.sent - 1].alone;
        self.under_way == 0 || !(self.refused.is_some() || next.number < self.alone_below || behind_one_alone)
    }

    /// Tells who waits that the destination refuses, once; what is not to be kept is given up. Nothing is under way.
    fn tell_refused(&mut self, reason: RefusedReason, said: &mut Vec<Delivery>) {
        self.entries.retain_mut(|entry| {
            let kept = entry.keep != Keep::No;
            if !entry.told {
                said.push(entry.delivery(if kept { Outcome::Held(reason) } else { Outcome::Refused(reason) }));
            }
            entry.told = true;
            kept
        });
    }
}

/// Lets the oldest of a topic go that may be, where more are held than its limit.
fn let_go(partitions: &mut BTreeMap<u32, Queue>, reason: RefusedReason, said: &mut Vec<Delivery>) {
    let held = partitions.values().flat_map(|queue| &queue.entries).filter(|entry| entry.is_held());
    let mut numbers: Vec<usize> = held.map(|entry| entry.number).collect();
    let Some(excess) = numbers.len().checked_sub(limits::WRITER_HELD_MAX) else { return };
    numbers.sort_unstable();
    let Some(oldest_kept) = numbers.get(excess) else { return };
    // Where something is under way its turn comes when that is home.
    for queue in partitions.values_mut().filter(|queue| queue.under_way == 0 && queue.sent == 0) {
        queue.entries.retain(|entry| {
            let goes = entry.is_held() && entry.number < *oldest_kept;
            if goes {
                said.push(entry.delivery(Outcome::LetGo(reason)));
            }
            !goes
        });
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

    /// The topic of which a partition has been silent for longest, and since when.
    pub(super) fn silent_since(&self) -> Option<(Instant, &Arc<str>)> {
        let of_topic =
            |(topic, queues): (_, &BTreeMap<u32, Queue>)| Some((queues.values().filter_map(Queue::silent_since).min()?, topic));
        self.topics.iter().filter_map(of_topic).min()
    }

    /// A topic that was written to.
    pub(super) fn topic(&self) -> Option<&Arc<str>> {
        self.topics.keys().next()
    }

    /// Topics that refuse what is written there, and why.
    pub(super) fn refusing(&self, now: Instant) -> Vec<(Arc<str>, RefusedReason)> {
        let why = |queues: &BTreeMap<u32, Queue>| queues.values().find_map(|queue| queue.refuses(now));
        self.topics.iter().filter_map(|(topic, queues)| Some((Arc::clone(topic), why(queues)?))).collect()
    }

    /// Records that Kafka may settle at any moment: those whose destination does not refuse.
    pub(super) fn awaited(&self) -> usize {
        self.queues().filter(|queue| queue.refused.is_none()).map(|queue| queue.entries.len()).sum()
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
        if !queue.may_send() {
            return None;
        }
        queue.sent += 1;
        queue.under_way += 1;
        let entry = queue.entries.get_mut(queue.sent - 1)?;
        entry.alone = entry.number < queue.alone_below;
        Some(entry)
    }

    /// Takes an answer for one sent record. A delivery if it is settled; none if it will go out again.
    pub(super) fn answered(
        &mut self,
        (topic, partition): (&str, u32),
        number: usize,
        answer: Result<(), Code>,
        now: Instant,
    ) -> Option<Delivery> {
        let next_number = self.next_number;
        let queue = self.queue(topic, partition)?;
        let at = queue.entries.binary_search_by_key(&number, |entry| entry.number).ok()?;
        queue.under_way = queue.under_way.saturating_sub(1);
        let verdict = answer.map_err(verdict);
        let entry = queue.entries.get_mut(at)?;
        if let Err(Verdict::Hold(reason)) = verdict {
            queue.refuse(reason, now);
            return None;
        }
        let mended = verdict.is_ok() && queue.refused.take().is_some();
        let outcome = match verdict {
            Ok(()) => Outcome::Stored,
            Err(Verdict::Refuse(reason)) => {
                let wait = if entry.alone && reason == RefusedReason::Invalid { REFUSED_FOR } else { HELD_FOR };
                entry.refusals += u32::from(entry.alone);
                let believed = if reason == RefusedReason::Invalid { limits::WRITER_INVALID_TRIES } else { 1 };
                if entry.refusals < believed {
                    queue.alone_below = next_number;
                    queue.hold(now + wait);
                    return None;
                }
                Outcome::Refused(reason)
            }
            Err(Verdict::Retry | Verdict::Spent | Verdict::Hold(_)) => {
                queue.hold(now + HELD_FOR);
                return None;
            }
        };
        queue.settled_at = Some(now);
        let entry = queue.entries.remove(at)?;
        queue.sent = queue.sent.saturating_sub(1);
        self.pending -= 1;
        if mended {
            self.mended(topic, now);
        }
        Some(entry.delivery(outcome))
    }

    /// One partition of a topic that refused has taken a record: the others are tried at once, and are forgiven where nothing waits.
    fn mended(&mut self, topic: &str, now: Instant) {
        let partitions = self.topics.get_mut(topic).into_iter().flat_map(BTreeMap::values_mut);
        for queue in partitions.filter(|queue| queue.refused.is_some()) {
            if queue.entries.is_empty() {
                queue.refused = None;
            } else if let Some(until) = &mut queue.held_until {
                *until = now.min(*until);
            }
        }
    }

    /// Lets go of what is held and due, and names those queues so that they are sent again; and says what their destinations refuse.
    pub(super) fn release(&mut self, now: Instant) -> (Vec<(Arc<str>, u32)>, Vec<Delivery>) {
        let (mut released, mut said) = (Vec::new(), Vec::new());
        for (topic, partitions) in &mut self.topics {
            for queue in partitions.values_mut() {
                queue.refused.take_if(|refusal| now.duration_since(refusal.last) >= REFUSED_REMEMBERED);
            }
            // What one partition has shown for long enough, the others need not show anew.
            let known = partitions.values().find_map(|queue| queue.refuses(now));
            let waited: usize = partitions.values().map(|queue| queue.entries.len()).sum();
            for (partition, queue) in partitions.iter_mut() {
                let Some(until) = queue.held_until.filter(|_| queue.under_way == 0) else { continue };
                queue.sent = 0;
                // Said before it is due: a press does not wait for that.
                if let Some(reason) = known.filter(|_| queue.refused.is_some()) {
                    queue.tell_refused(reason, &mut said);
                }
                if until <= now {
                    queue.held_until = None;
                    released.push((Arc::clone(topic), *partition));
                }
            }
            if let Some(reason) = known {
                let_go(partitions, reason, &mut said);
            }
            self.pending -= waited - partitions.values().map(|queue| queue.entries.len()).sum::<usize>();
        }
        (released, said)
    }

    /// The producer is gone and answers for nothing any more: everything goes out again.
    pub(super) fn send_all_again(&mut self, now: Instant) {
        for queue in self.topics.values_mut().flat_map(BTreeMap::values_mut) {
            queue.under_way = 0;
            queue.held_until = Some(now);
        }
    }

    /// How many records are with the producer.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.queues().map(|queue| queue.under_way).sum()
    }
}
