//! `Writer`: puts records on Kafka topics in order and never gives up on a fault that passes.
//!
//! What was written stays here until Kafka acknowledges it (acks=all), in one queue per topic and partition. librdkafka itself
//! retries for ever (`message.timeout.ms=0`) and keeps order by idempotence; what it hands back all the same is held, and
//! that queue is sent again in order. When the producer object is spent (a fatal error, or sight of Kafka lost) a new one takes its place and gets
//! all that is unacknowledged, in order: so a record may be stored twice, never lost, and readers go by event id. A record that
//! Kafka will not have (too large, invalid) comes back to the caller, as [`Outcome::Refused`]. Where the destination refuses (not
//! authorised, topic gone), what is to be kept is tried again, the caller is told once ([`Outcome::Held`]), and no other topic waits.
//!
//! Outcomes are taken from [`Deliveries`], by awaiting (lanes) or by polling (the detector's thread).

mod client;
mod drift;
mod queue;
mod sight;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use self::client::Shared;
use self::queue::Entry;
use super::cluster::Cluster;
use super::fault::Fault;
use crate::clock;
use crate::journal::{Partition, PartitionCount};
use crate::limits;
use crate::priority;

/// The caller's own number for a record; comes back with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One record to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The Kafka topic.
    pub topic: Arc<str>,
    /// Where in the topic; where absent, the key's partition by the configured count.
    pub partition: Option<Partition>,
    /// The record's key: a device's id or a feed's name.
    pub key: String,
    /// The record's value.
    pub payload: Vec<u8>,
    /// For how long it is kept where its destination refuses.
    pub keep: Keep,
}

/// For how long a record is kept that its destination refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Not at all: it is given up, as [`Outcome::Refused`].
    No,
    /// While there is room: what brings it about again is in the journal. It does not count for [`Writer::has_room`] while it is held; past
    /// [`limits::WRITER_HELD_MAX`] of its topic the oldest are let go, as [`Outcome::LetGo`].
    WhileRoom,
    /// For ever: nothing else knows of it.
    Always,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The ticket under which it was written.
    pub ticket: Ticket,
    /// Where to.
    pub topic: Arc<str>,
    /// What became of it.
    pub outcome: Outcome,
    /// When it was handed to the writer, by our clock; milliseconds since the epoch.
    pub written_at: i64,
    /// How many bytes count for the writer's limit no more; none where the record goes on counting.
    makes_room: Option<usize>,
}

/// Stored, refused for good, held, or let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All replicas in sync have it.
    Stored,
    /// Kafka will not have it, now or later; nothing was stored. The caller quarantines it, or goes unready and says so.
    Refused(RefusedReason),
    /// Its destination refuses; it is kept and tried again, and its end comes later. Said once.
    Held(RefusedReason),
    /// It was held, and newer ones of its topic have taken its room; nothing was stored.
    LetGo(RefusedReason),
}

/// Why Kafka will not have a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedReason {
    /// The record: larger than the topic allows.
    TooLarge,
    /// The record: the broker calls it invalid, or a policy of the broker forbids it.
    Invalid,
    /// The destination: our principal may not write there. Said after [`limits::WRITER_REFUSED_MILLIS`].
    NotAuthorised,
    /// The destination: no such topic or partition. Said after [`limits::WRITER_REFUSED_MILLIS`].
    TopicGone,
}

impl RefusedReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::TooLarge, Self::Invalid, Self::NotAuthorised, Self::TopicGone];

    /// One word, for logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::NotAuthorised => "not_authorised",
            Self::TopicGone => "topic_gone",
        }
    }
}

/// What a writer is tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Presses, alerts, heartbeats: each record leaves at once, a silent broker is given up after 5 s.
    Duress,
    /// Reports: half a millisecond's wait for company makes one request of many records.
    Reports,
}

/// Writes records; see the module. Dropping it abandons what is unacknowledged: [`Writer::flush`] first.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    occupied: Arc<Occupied>,
    partitions: PartitionCount,
}

/// What counts for the limits: records, and the bytes of their payloads.
#[derive(Debug, Default)]
struct Occupied {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

impl Occupied {
    fn free(&self, outcomes: &[Delivery]) {
        for bytes in outcomes.iter().filter_map(|delivery| delivery.makes_room) {
            self.records.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// Where outcomes arrive: in order per topic and partition, not between them.
pub struct Deliveries {
    receiver: UnboundedReceiver<Delivery>,
    occupied: Arc<Occupied>,
}

impl Writer {
    /// A writer with a producer and a thread of its own. Does not wait for the brokers: they may be away.
    /// `partitions` is the journal's count, which every topic keyed by device shares.
    ///
    /// # Errors
    /// A lasting [`Fault`] if librdkafka refuses the configuration.
    pub fn open(
        cluster: &Cluster,
        client_id: &str,
        urgency: Urgency,
        partitions: PartitionCount,
    ) -> Result<(Self, Deliveries), Fault> {
        let (sender, receiver) = unbounded_channel();
        let open = || {
            let shared = Shared::open(client::config(cluster, client_id, urgency), sender, !cluster.is_embedded())?;
            let thread = client::start_thread(&shared)?;
            Ok((shared, thread))
        };
        let (shared, thread) = match urgency {
            Urgency::Duress => open()?,
            // On a thread that gives way, for its threads to do so too.
            Urgency::Reports => std::thread::scope(|scope| {
                let opening = scope.spawn(|| {
                    priority::give_way();
                    open()
                });
                opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })?,
        };
        let occupied = Arc::<Occupied>::default();
        let deliveries = Deliveries { receiver, occupied: Arc::clone(&occupied) };
        Ok((Self { shared, thread: Some(thread), occupied, partitions }, deliveries))
    }

    /// Takes a record; returns at once. Its outcome arrives in [`Deliveries`]. Records of one topic and partition are stored in
    /// the order of these calls. Ask [`Writer::has_room`] first; past the limit a record is still taken.
    pub fn write(&self, ticket: Ticket, record: Outgoing) {
        let partition = record.partition.unwrap_or_else(|| self.partitions.of(&record.key));
        self.occupied.records.fetch_add(1, Ordering::Relaxed);
        self.occupied.bytes.fetch_add(record.payload.len(), Ordering::Relaxed);
        self.shared.write(Entry::new(ticket, record, partition, clock::wall_millis()));
    }

    /// Whether another record fits the limits: [`limits::WRITER_PENDING_MAX`] records, and [`limits::WRITER_BYTES_MAX`] of their payloads, whose
    /// outcomes the caller has not yet taken. What is held while there is room ([`Keep::WhileRoom`]) has a limit of its own: one topic that
    /// refuses must not stop the others.
    pub fn has_room(&self) -> bool {
        self.occupied.records.load(Ordering::Relaxed) < limits::WRITER_PENDING_MAX
            && self.occupied.bytes.load(Ordering::Relaxed) < limits::WRITER_BYTES_MAX
    }

    /// Records that Kafka has not answered for yet.
    pub fn pending(&self) -> usize {
        self.shared.pending()
    }

    /// By how many milliseconds our clock is ahead of Kafka's (behind where negative), at least, as records that it stored in the
    /// last [`limits::CLOCK_FAULT_SHOWN_MILLIS`] have proved; 0 where none did.
    pub fn clock_off(&self) -> i64 {
        self.shared.clock_off(clock::wall_millis())
    }

    /// For how long Kafka has settled nothing of a partition that records wait for; the longest of all partitions. Those that refuse are
    /// not silent.
    pub fn silent_for(&self) -> Option<Duration> {
        self.shared.silent_for()
    }

    /// Topics that refuse what is written there, and why: those that did so lately, whether or not anything waits.
    pub fn refusing(&self) -> Vec<(Arc<str>, RefusedReason)> {
        self.shared.refusing()
    }

    /// Whether the writer's thread has died: nothing is stored any more.
    pub fn has_died(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What keeps records from being stored at this moment, in words for the operator; none when the newest answer was good.
    pub fn trouble(&self) -> Option<Fault> {
        self.shared.trouble()
    }

    /// Waits until Kafka has answered for every record, but for those whose destination refuses; false if that took longer than `within`, or
    /// where any is left.
    pub fn flush(&self, within: Duration) -> bool {
        self.shared.wait_until_empty(within)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer's thread had panicked");
        }
    }
}

impl Deliveries {
    /// The next outcome, awaited; none once the writer is dropped and everything is taken.
    pub async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.receiver.recv().await;
        self.taken(delivery)
    }

    /// The next outcomes, awaited, in order: as many as are there, up to `limit`. 0 once the writer is dropped and everything is taken.
    /// Cancel-safe.
    pub async fn next_many(&mut self, outcomes: &mut Vec<Delivery>, limit: usize) -> usize {
        let before = outcomes.len();
        let count = self.receiver.recv_many(outcomes, limit).await;
        self.occupied.free(&outcomes[before..]);
        count
    }

    /// The next outcome, if one is there.
    pub fn try_next(&mut self) -> Option<Delivery> {
        let delivery = self.receiver.try_recv().ok();
        self.taken(delivery)
    }

    /// The next outcome, waited for by blocking this thread. Not inside a runtime.
    pub fn blocking_next(&mut self) -> Option<Delivery> {
        let delivery = self.receiver.blocking_recv();
        self.taken(delivery)
    }

    fn taken(&self, delivery: Option<Delivery>) -> Option<Delivery> {
        self.occupied.free(delivery.as_slice());
        delivery
    }
}

#[cfg(test)]
mod tests;
