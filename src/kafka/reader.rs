//! `JournalReader`: a member of the detectors' consumer group that hands the journal's records to one thread.
//!
//! Contract: [`JournalReader::poll`] yields `Assigned` before the first record of a partition and `Revoked` after its last;
//! between `Revoked` and the next `poll` the group still knows the partition as ours, so that its offset can be committed.
//! Each partition is read from the beginning of the log, because this version keeps no checkpoints and replays; or from where
//! its owner asked for with [`JournalReader::continue_at`].
//!
//! A `BaseConsumer` polled by its owner's thread, no split queues and no streams, which can miss a wake-up; the classic group protocol, for
//! librdkafka's new one still stalls; a static member, so that a restart within the session moves nothing; positions are assigned, never
//! taken from a default (docs/TRAPS.md).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Message as _, Timestamp};
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use super::cluster::{Cluster, log_line};
use super::fault::{Fault, FaultKind};
use crate::journal::Partition;
use crate::limits;
use crate::time::AppendMillis;

/// How long one look-up of a new partition's bounds may hold up the others. A failed one is repeated at the next poll.
const LOOK_UP: Duration = Duration::from_secs(2);
/// The least time between two consumers under one name.
const REJOIN: Duration = Duration::from_secs(2);

/// Who reads, in which group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The consumer group: all detectors of the installation.
    pub group: String,
    /// This detector's name: its static identity in the group, unique in it.
    pub name: String,
}

/// What [`JournalReader::poll`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderItem {
    /// A partition is ours now; its records follow, from `log_start` (or see [`JournalReader::continue_at`]).
    Assigned {
        /// Which.
        partition: Partition,
        /// The first offset that the log still holds.
        log_start: i64,
        /// The group's committed offset: the next record to act upon; none if the group never committed.
        committed: Option<i64>,
        /// The offset after the newest record, as of now.
        end: i64,
    },
    /// A partition is no longer ours; none of its records follows.
    Revoked {
        /// Which.
        partition: Partition,
        /// Taken without notice, for an outage of Kafka longer than the session or by another member. Do not commit: the
        /// coordinator may be away, and a commit that waits for it waits long.
        lost: bool,
    },
    /// The next record of a partition.
    Record {
        /// Which.
        partition: Partition,
        /// Its place in the partition.
        offset: i64,
        /// Kafka's append time.
        appended_at: AppendMillis,
        /// Its key.
        key: Vec<u8>,
        /// Its value.
        payload: Vec<u8>,
    },
    /// Nothing within the timeout.
    Idle,
    /// Reading goes on for a passing fault; a lasting one needs somebody, and its partition yields nothing more.
    Fault(Fault),
}

/// Reads the journal; see the module. Dropping it closes the consumer and waits for that.
pub struct JournalReader {
    consumer: BaseConsumer<Events>,
    topic: String,
    embedded: bool,
    /// Assigned by the group, paused until their bounds are looked up.
    arriving: VecDeque<Partition>,
    /// Ours, and announced as such.
    announced: BTreeSet<Partition>,
    paused: BTreeSet<Partition>,
    /// The newest offsets committed that the broker has not been asked about.
    commits: BTreeMap<Partition, i64>,
    /// Given up by the group, announced to the owner, not yet let go.
    leaving: Option<TopicPartitionList>,
    waiting: VecDeque<ReaderItem>,
    /// The last look-up failed: the group and the other partitions are served before the next one.
    look_up_later: bool,
    /// To join again with, when this consumer is spent.
    config: ClientConfig,
    joined_at: Instant,
    spent: bool,
    stranded: Stranded,
}

/// A member that lost its partitions to an outage and does not get them back. Seen with Kafka 4.1 and librdkafka 2.12, after outages of
/// 18 s and of 6 minutes: Kafka answered other clients, and the member did not ask to join its group again for a minute and more.
struct Stranded {
    /// Set while partitions are lost and none has come back.
    lost: bool,
    /// Since when Kafka has answered all the time.
    answers_since: Option<Instant>,
    patience: Duration,
}

impl Stranded {
    fn new() -> Self {
        Self { lost: false, answers_since: None, patience: Duration::from_millis(limits::REJOIN_MILLIS_MIN) }
    }

    /// Whether to give the consumer up, now.
    fn is_over(&mut self, now: Instant, kafka_answers: bool) -> bool {
        if !(self.lost && kafka_answers) {
            self.answers_since = None;
            return false;
        }
        let since = *self.answers_since.get_or_insert(now);
        let over = now.saturating_duration_since(since) >= self.patience;
        if over {
            self.answers_since = None;
            self.patience = (self.patience * 2).min(Duration::from_millis(limits::REJOIN_MILLIS_MAX));
        }
        over
    }
}

/// What the group coordinator decided, in order.
enum Change {
    Assign(Vec<Partition>),
    Revoke { partitions: TopicPartitionList, lost: bool },
    Failed(Fault),
}

/// librdkafka's callbacks. They only queue: the owner's thread acts on them at its next poll.
#[derive(Default)]
struct Events {
    inner: Mutex<EventsInner>,
}

#[derive(Default)]
struct EventsInner {
    changes: VecDeque<Change>,
    /// Where to read on in partitions that come back.
    continue_at: BTreeMap<Partition, i64>,
    closing: bool,
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, EventsInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, change: Change) {
        self.lock().changes.push_back(change);
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // The same comes back from `poll`, as a `Fault`.
        tracing::debug!(target: "kafka", %error, "consumer: {reason}");
    }
}

impl ConsumerContext for Events {
    /// Takes new partitions at their positions, paused until their bounds are known. Lets go of revoked ones only at
    /// the owner's next poll, so that it can commit, unless they are lost or the consumer is closing (a `Drop` that waits for
    /// an `incremental_unassign` which never comes hangs).
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                let lost = consumer.assignment_lost();
                if (lost || self.lock().closing)
                    && let Err(error) = consumer.incremental_unassign(partitions)
                {
                    self.push(Change::Failed(Fault::of(&error, "giving up partitions")));
                }
                self.push(Change::Revoke { partitions: partitions.clone(), lost });
            }
            other => {
                let code = Code::from(other);
                self.push(Change::Failed(Fault::new(FaultKind::Passing, format!("rebalance: {code}"))));
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            // Nothing to commit is no fault; it happens when two commits fall together.
            Ok(()) | Err(KafkaError::ConsumerCommit(Code::NoOffset)) => {}
            Err(error) => self.push(Change::Failed(Fault::of(&error, "committing"))),
        }
    }
}

impl Events {
    fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let mut positions = TopicPartitionList::new();
        let mut partitions = Vec::new();
        for element in list.elements() {
            let Ok(partition) = u32::try_from(element.partition()).map(Partition) else { continue };
            partitions.push(partition);
            let offset = self.lock().continue_at.remove(&partition).map_or(Offset::Beginning, Offset::Offset);
            if let Err(error) = positions.add_partition_offset(element.topic(), element.partition(), offset) {
                self.push(Change::Failed(Fault::of(&error, "taking partitions")));
            }
        }
        let taken = consumer.incremental_assign(&positions).and_then(|()| consumer.pause(&positions));
        if let Err(error) = taken {
            self.push(Change::Failed(Fault::of(&error, "taking partitions")));
        }
        self.push(Change::Assign(partitions));
    }
}

impl JournalReader {
    /// Joins the group. Does not wait for the brokers. `topic` is the journal's name.
    ///
    /// # Errors
    /// A lasting [`Fault`] if librdkafka refuses the configuration.
    pub fn join(cluster: &Cluster, topic: &str, member: &GroupMember) -> Result<Self, Fault> {
        let mut config = cluster.consumer(&format!("{}-{}", member.group, member.name), &member.group);
        config
            .set("group.instance.id", &member.name)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", limits::GROUP_SESSION_MILLIS.to_string())
            .set("heartbeat.interval.ms", (limits::GROUP_SESSION_MILLIS / 4).to_string())
            .set("isolation.level", "read_uncommitted");
        Ok(Self {
            consumer: open(&config, topic)?,
            topic: topic.to_owned(),
            embedded: cluster.is_embedded(),
            arriving: VecDeque::new(),
            announced: BTreeSet::new(),
            paused: BTreeSet::new(),
            commits: BTreeMap::new(),
            leaving: None,
            waiting: VecDeque::new(),
            look_up_later: false,
            config,
            joined_at: instant(),
            spent: false,
            stranded: Stranded::new(),
        })
    }

    /// The next thing that happened, waited for up to `timeout` (look-ups of a new partition may take 2 s more). Call it at
    /// least every few seconds: it also serves the group.
    pub fn poll(&mut self, timeout: Duration) -> ReaderItem {
        if let Some(item) = self.next_change() {
            return item;
        }
        if self.spent {
            return self.join_again(timeout);
        }
        let polled = self.poll_once(timeout);
        match (polled, self.next_change()) {
            (None, None) => ReaderItem::Idle,
            (Some(item), None) | (None, Some(item)) => item,
            // A callback ran before the poll came to a record: its word goes first.
            (Some(item), Some(change)) => {
                self.waiting.push_back(item);
                change
            }
        }
    }

    /// Seen with Kafka 4.1: a coordinator that comes back from an outage may fence a static member that joins twice meanwhile.
    /// That spends the consumer, not the member: everything is given up as lost, and it joins again under its name.
    fn fault(&mut self, fault: Fault) -> ReaderItem {
        if fault.kind != FaultKind::Fatal {
            return ReaderItem::Fault(fault);
        }
        self.spend();
        let name = self.config.get("group.instance.id").unwrap_or_default();
        let text = format!("{fault}; joining the group again as {name}: if this repeats, another detector bears that name");
        ReaderItem::Fault(Fault::new(FaultKind::Passing, text))
    }

    /// Looks, once a second or so, whether this member is stranded: it lost its partitions, and Kafka, by what its owner's other clients
    /// hear of it, has answered for a while without giving any back. Then it joins anew.
    pub fn look(&mut self, kafka_answers: bool) {
        if self.stranded.is_over(instant(), kafka_answers) {
            tracing::warn!(target: "kafka", "Kafka answers, and the group has given no partition back: joining it anew");
            self.spend();
        }
    }

    /// The consumer is of no use any more: everything is given up as lost.
    fn spend(&mut self) {
        self.spent = true;
        self.arriving.clear();
        self.paused.clear();
        self.leaving = None;
        let lost = std::mem::take(&mut self.announced);
        self.stranded.lost |= !lost.is_empty();
        self.waiting.extend(lost.into_iter().map(|partition| ReaderItem::Revoked { partition, lost: true }));
    }

    fn join_again(&mut self, timeout: Duration) -> ReaderItem {
        let since = instant().saturating_duration_since(self.joined_at);
        if since < REJOIN {
            std::thread::park_timeout(timeout.min(REJOIN.saturating_sub(since)));
            return ReaderItem::Idle;
        }
        self.joined_at = instant();
        let consumer = match open(&self.config, &self.topic) {
            Ok(consumer) => consumer,
            Err(fault) => return ReaderItem::Fault(fault),
        };
        let continue_at = {
            let mut events = self.consumer.context().lock();
            events.closing = true;
            std::mem::take(&mut events.continue_at)
        };
        consumer.context().lock().continue_at = continue_at;
        let spent = std::mem::replace(&mut self.consumer, consumer);
        self.spent = false;
        // Closing waits for what a broker owes, maybe for long: by itself, unless there is no thread to be had.
        let closing = std::thread::Builder::new().name("kafka-closing".to_owned()).spawn(move || drop(spent));
        if let Err(fault) = closing {
            tracing::warn!(target: "kafka", %fault, "closed a spent consumer without a thread of its own");
        }
        ReaderItem::Idle
    }

    /// One look at the consumer: a record, a fault, or nothing.
    fn poll_once(&mut self, timeout: Duration) -> Option<ReaderItem> {
        match self.consumer.poll(timeout)? {
            Ok(message) => {
                let item = record(&message, self.embedded);
                // A record that cannot be used is a stop, never a skip: nothing after it is yielded.
                let stopped =
                    matches!(item, ReaderItem::Fault(_)).then(|| u32::try_from(message.partition()).ok().map(Partition));
                if let Some(Err(fault)) = stopped.flatten().map(|partition| self.pause(partition)) {
                    self.waiting.push_back(ReaderItem::Fault(fault));
                }
                Some(item)
            }
            Err(error) => Some(self.fault(Fault::of(&error, &format!("reading {}", self.topic)))),
        }
    }

    /// Notes for the group that everything of the partition below `next_offset` is done. Returns at once, and nothing tells of a
    /// failure: the next commit makes up for it, and [`JournalReader::wait_for_commits`] asks the broker.
    ///
    /// # Errors
    /// A [`Fault`] if it could not even be queued.
    pub fn commit(&mut self, partition: Partition, next_offset: i64) -> Result<(), Fault> {
        let doing = || format!("committing {} {partition}", self.topic);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, raw(partition), Offset::Offset(next_offset))
            .and_then(|()| self.consumer.commit(&list, CommitMode::Async))
            .map_err(|error| Fault::of(&error, &doing()))?;
        self.commits.insert(partition, next_offset);
        Ok(())
    }

    /// Waits until the broker has every offset that was committed, up to `within`: before giving up a partition, and at the end.
    /// False if it has not. It asks, because librdkafka tells nothing of asynchronous commits, and waits for a broker without end in
    /// synchronous ones.
    pub fn wait_for_commits(&mut self, within: Duration) -> bool {
        let deadline = instant() + within;
        while !self.commits.is_empty() {
            let left = deadline.saturating_duration_since(instant());
            if left.is_zero() {
                return false;
            }
            self.settle_commits(left.min(LOOK_UP));
        }
        true
    }

    /// Gives the consumer up without closing it, for a process that ends: closing waits, without end, for offsets that a broker who is
    /// away has not taken. The group finds out by the session's end, as after a crash.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// Asks once what the broker has.
    fn settle_commits(&mut self, within: Duration) {
        let mut list = TopicPartitionList::new();
        for partition in self.commits.keys() {
            list.add_partition(&self.topic, raw(*partition));
        }
        let Ok(committed) = self.consumer.committed_offsets(list, within) else { return };
        for element in committed.elements() {
            let (Ok(partition), Offset::Offset(offset)) = (u32::try_from(element.partition()), element.offset()) else {
                continue;
            };
            if self.commits.get(&Partition(partition)).is_some_and(|wanted| *wanted <= offset) {
                self.commits.remove(&Partition(partition));
            }
        }
    }

    /// Stops yielding this partition's records until [`JournalReader::resume`]; the others go on.
    ///
    /// # Errors
    /// A [`Fault`] if the partition is not ours.
    pub fn pause(&mut self, partition: Partition) -> Result<(), Fault> {
        self.paused.insert(partition);
        self.pause_raw(partition)
    }

    /// Goes on where [`JournalReader::pause`] stopped.
    ///
    /// # Errors
    /// A [`Fault`] if the partition is not ours.
    pub fn resume(&mut self, partition: Partition) -> Result<(), Fault> {
        self.paused.remove(&partition);
        self.resume_raw(partition)
    }

    fn pause_raw(&self, partition: Partition) -> Result<(), Fault> {
        self.consumer.pause(&self.list_of(partition)).map_err(|error| Fault::of(&error, "pausing a partition"))
    }

    fn resume_raw(&self, partition: Partition) -> Result<(), Fault> {
        self.consumer.resume(&self.list_of(partition)).map_err(|error| Fault::of(&error, "resuming a partition"))
    }

    fn list_of(&self, partition: Partition) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, raw(partition));
        list
    }

    /// After `Revoked`: should the partition come back to this reader, its records follow from `next_offset` instead of from the
    /// log's start. For an owner that keeps the machine in memory: a machine is a function of the journal before that offset,
    /// whoever else read it meanwhile. Without this call an outage longer than the session costs a replay. Good for one return.
    pub fn continue_at(&self, partition: Partition, next_offset: i64) {
        self.consumer.context().lock().continue_at.insert(partition, next_offset);
    }

    /// The next thing to say that is not fresh from a poll: what waits, then arrivals, then the group's changes.
    fn next_change(&mut self) -> Option<ReaderItem> {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                return Some(item);
            }
            self.let_go();
            let Some(change) = self.consumer.context().lock().changes.pop_front() else { break };
            match change {
                Change::Failed(fault) => return Some(ReaderItem::Fault(fault)),
                Change::Assign(partitions) => {
                    if !partitions.is_empty() {
                        self.stranded = Stranded::new();
                    }
                    self.arriving.extend(partitions);
                }
                Change::Revoke { partitions, lost } => self.revoke(partitions, lost),
            }
        }
        if std::mem::take(&mut self.look_up_later) { None } else { self.arrive() }
    }

    /// Lets go of what was announced as revoked at the poll before.
    fn let_go(&mut self) {
        let Some(list) = self.leaving.take() else { return };
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            // Lost in the meantime: then the group has unassigned them already.
            tracing::warn!(target: "kafka", %error, "giving up partitions");
        }
    }

    fn revoke(&mut self, revoked: TopicPartitionList, lost: bool) {
        for partition in revoked.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).map(Partition) {
            self.arriving.retain(|other| *other != partition);
            self.paused.remove(&partition);
            if self.announced.remove(&partition) {
                self.waiting.push_back(ReaderItem::Revoked { partition, lost });
                self.stranded.lost |= lost;
            }
        }
        if !lost {
            self.leaving = Some(revoked);
        }
    }

    /// Looks up the bounds of one new partition and lets its records flow.
    fn arrive(&mut self) -> Option<ReaderItem> {
        let partition = *self.arriving.front()?;
        match self.bounds(partition) {
            Ok(item) => {
                self.arriving.pop_front();
                self.announced.insert(partition);
                if !self.paused.contains(&partition)
                    && let Err(fault) = self.resume_raw(partition)
                {
                    self.waiting.push_back(ReaderItem::Fault(fault));
                }
                Some(item)
            }
            Err(fault) => {
                // To the back: one that cannot be looked up must not keep the others.
                self.arriving.rotate_left(1);
                self.look_up_later = true;
                Some(ReaderItem::Fault(fault))
            }
        }
    }

    fn bounds(&self, partition: Partition) -> Result<ReaderItem, Fault> {
        let doing = || format!("looking up the bounds of {} {partition}", self.topic);
        let (log_start, end) =
            self.consumer.fetch_watermarks(&self.topic, raw(partition), LOOK_UP).map_err(|error| Fault::of(&error, &doing()))?;
        let committed =
            self.consumer.committed_offsets(self.list_of(partition), LOOK_UP).map_err(|error| Fault::of(&error, &doing()))?;
        let committed = committed.elements().first().and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
        });
        Ok(ReaderItem::Assigned { partition, log_start, committed, end })
    }
}

impl Drop for JournalReader {
    fn drop(&mut self) {
        self.let_go();
        let mut events = self.consumer.context().lock();
        events.closing = true;
        let unanswered: Vec<Change> = events.changes.drain(..).collect();
        drop(events);
        for change in unanswered {
            if let Change::Revoke { partitions, lost: false } = change {
                self.leaving = Some(partitions);
                self.let_go();
            }
        }
    }
}

fn open(config: &ClientConfig, topic: &str) -> Result<BaseConsumer<Events>, Fault> {
    let doing = || format!("joining the group of {topic}");
    let consumer: BaseConsumer<Events> =
        config.create_with_context(Events::default()).map_err(|error| Fault::of(&error, &doing()))?;
    consumer.subscribe(&[topic]).map_err(|error| Fault::of(&error, &doing()))?;
    Ok(consumer)
}

#[allow(clippy::disallowed_methods, reason = "a wait is measured on the monotonic clock")]
fn instant() -> Instant {
    Instant::now()
}

fn raw(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

fn record(message: &rdkafka::message::BorrowedMessage<'_>, embedded: bool) -> ReaderItem {
    let appended_at = match message.timestamp() {
        Timestamp::LogAppendTime(millis) => millis,
        Timestamp::CreateTime(millis) if embedded => millis,
        Timestamp::CreateTime(_) | Timestamp::NotAvailable => {
            let text = format!(
                "{} {} offset {} bears no append time: the topic must have message.timestamp.type=LogAppendTime from its first record",
                message.topic(),
                message.partition(),
                message.offset()
            );
            return ReaderItem::Fault(Fault::new(FaultKind::Lasting, text));
        }
    };
    ReaderItem::Record {
        partition: Partition(u32::try_from(message.partition()).unwrap_or_default()),
        offset: message.offset(),
        appended_at: AppendMillis::new(appended_at),
        key: message.key().unwrap_or_default().to_vec(),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}

#[cfg(test)]
mod tests;
