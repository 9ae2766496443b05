//! `JournalReader`: a member of the detectors' consumer group that hands the journal's records to one thread.
//!
//! Contract: [`JournalReader::poll`] yields `Assigned` before the first record of a partition and `Revoked` after its last;
//! between `Revoked` and the next `poll` the group still knows the partition as ours, so that its offset can be committed.
//! Each partition is read from the beginning of the log, because this version keeps no checkpoints and replays; or from where
//! its owner asked for with [`JournalReader::continue_at`], if the log still reaches there. Offsets of a partition never go back.
//! No partition waits for another: what has to be asked of Kafka before one is read is asked on threads of their own.
//!
//! A `BaseConsumer` polled by its owner's thread, no split queues and no streams, which can miss a wake-up; the classic group protocol, for
//! librdkafka's new one still stalls; a static member, so that a restart within the session moves nothing; positions are assigned, never
//! taken from a default (docs/TRAPS.md).

mod events;
mod look_ups;
mod stranded;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Message as _, Timestamp};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use self::events::{Change, Events};
use self::look_ups::{Bounds, LOOK_UP, LookUps};
use self::stranded::Stranded;
use super::cluster::Cluster;
use super::fault::{Fault, FaultKind};
use super::handle::{self, Handle};
use crate::journal::Partition;
use crate::limits;
use crate::time::AppendMillis;

/// The least time between two consumers under one name.
const REJOIN: Duration = Duration::from_secs(2);
/// How long an answer about a new partition may lie before it is heard.
const ANSWER: Duration = Duration::from_millis(10);
/// How long librdkafka may take to go to a place: a word between its own threads.
const SEEK: Duration = Duration::from_millis(500);

/// What the log says when a member of the group was stranded, and joins it anew.
pub const JOINS_ANEW: &str = "Kafka answers, and this member hears nothing of its group: joining it anew";

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
    /// The group has given this member nothing new: if it owns no partition it is a spare.
    Joined,
    /// A partition is ours now; its records follow.
    Assigned {
        /// Which.
        partition: Partition,
        /// The first offset that the log still holds.
        log_start: i64,
        /// The group's committed offset: the next record to act upon; none if the group never committed.
        committed: Option<i64>,
        /// The offset after the newest record, as of now.
        end: i64,
        /// Where its records begin, as asked for with [`JournalReader::continue_at`]; none where they begin at `log_start`, because nobody
        /// asked, or because the log does not reach there.
        continues_at: Option<i64>,
    },
    /// Partitions are no longer ours, those among them that were not announced yet; none of their records follows.
    Revoked {
        /// Which.
        partitions: Vec<Partition>,
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
    /// Reading goes on for a passing fault; a lasting one needs somebody.
    Fault {
        /// The partition that is not read for it, until its next record, or until it is announced. None where it is not known which, or where
        /// it concerns them all.
        partition: Option<Partition>,
        /// What happened.
        fault: Fault,
    },
}

/// Reads the journal; see the module.
pub struct JournalReader {
    consumer: Arc<Handle<BaseConsumer<Events>>>,
    topic: String,
    embedded: bool,
    /// Of partitions that the group has assigned, which are paused until these are answered; and of those that may no longer be in the log.
    look_ups: LookUps,
    /// Ours, and announced as such; with the least offset that the next record may have.
    announced: BTreeMap<Partition, i64>,
    paused: BTreeSet<Partition>,
    /// All are paused.
    all_paused: bool,
    /// Where to read on in partitions that come back.
    continue_at: BTreeMap<Partition, i64>,
    /// The newest offsets committed that the broker has not been asked about.
    commits: BTreeMap<Partition, i64>,
    /// Given up by the group, announced to the owner, not yet let go.
    leaving: Option<TopicPartitionList>,
    waiting: VecDeque<ReaderItem>,
    /// To join again with, when this consumer is spent.
    config: ClientConfig,
    joined_at: Instant,
    spent: bool,
    stranded: Stranded,
}

impl JournalReader {
    /// Joins the group. Does not wait for the brokers. `topic` is the journal's name.
    ///
    /// # Errors
    /// A lasting [`Fault`] if librdkafka refuses the configuration.
    pub fn join(cluster: &Cluster, topic: &str, member: &GroupMember) -> Result<Handle<Self>, Fault> {
        let mut config = cluster.consumer(&format!("{}-{}", member.group, member.name), &member.group);
        config
            .set("group.instance.id", &member.name)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", limits::GROUP_SESSION_MILLIS.to_string())
            .set("heartbeat.interval.ms", (limits::GROUP_SESSION_MILLIS / 4).to_string())
            .set("isolation.level", "read_uncommitted");
        Ok(Handle::new(Self {
            consumer: Arc::new(open(&config, topic)?),
            topic: topic.to_owned(),
            embedded: cluster.is_embedded(),
            look_ups: LookUps::default(),
            announced: BTreeMap::new(),
            paused: BTreeSet::new(),
            all_paused: false,
            continue_at: BTreeMap::new(),
            commits: BTreeMap::new(),
            leaving: None,
            waiting: VecDeque::new(),
            config,
            joined_at: instant(),
            spent: false,
            stranded: Stranded::new(),
        }))
    }

    /// The next thing that happened, waited for up to `timeout`. Call it at least every few seconds: it also serves the group.
    pub fn poll(&mut self, timeout: Duration) -> ReaderItem {
        if let Some(item) = self.next_change() {
            return item;
        }
        if self.spent {
            return self.join_again(timeout);
        }
        // An answer wakes nobody who waits for records.
        let polled = self.poll_once(if self.look_ups.are_under_way() { timeout.min(ANSWER) } else { timeout });
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
            return of_all(fault);
        }
        self.spend();
        let name = self.config.get("group.instance.id").unwrap_or_default();
        let text = format!("{fault}; joining the group again as {name}: if this repeats, another detector bears that name");
        of_all(Fault::new(FaultKind::Passing, text))
    }

    /// There was no broker for a moment. What an owner loses by that is told; of a spare it shows only in what it hears of its group.
    fn had_no_broker(&mut self) {
        self.stranded.unheard |= self.announced.is_empty() && self.look_ups.is_empty();
    }

    /// Looks, once a second or so, whether this member is stranded: it lost its partitions, or had neither any nor a broker, and Kafka, by
    /// what its owner's other clients hear of it, has answered for a while without a word of its group. Then it joins anew.
    pub fn look(&mut self, kafka_answers: bool) {
        if self.stranded.is_over(instant(), kafka_answers) {
            tracing::warn!(target: "kafka", "{JOINS_ANEW}");
            self.spend();
        }
    }

    /// The consumer is of no use any more: everything is given up as lost.
    fn spend(&mut self) {
        self.spent = true;
        self.leaving = None;
        let mut lost: BTreeSet<Partition> = std::mem::take(&mut self.look_ups).give_up().collect();
        lost.extend(self.announced.keys());
        self.gone(lost.into_iter().collect(), true);
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
            Err(fault) => return of_all(fault),
        };
        self.consumer.context().close();
        let spent = std::mem::replace(&mut self.consumer, Arc::new(consumer));
        self.spent = false;
        drop(handle::close(spent));
        ReaderItem::Idle
    }

    /// One look at the consumer: a record, a fault, or nothing.
    fn poll_once(&mut self, timeout: Duration) -> Option<ReaderItem> {
        let message = match self.consumer.poll(timeout)? {
            Ok(message) => message,
            Err(error) => {
                match error.rdkafka_error_code() {
                    // It does not say which one.
                    Some(Code::AutoOffsetReset) => self.announced.keys().for_each(|partition| self.look_ups.ask(*partition)),
                    Some(Code::AllBrokersDown) => self.had_no_broker(),
                    _other => {}
                }
                return Some(self.fault(Fault::of(&error, &format!("reading {}", self.topic))));
            }
        };
        let partition = Partition(u32::try_from(message.partition()).ok()?);
        let (offset, item) = (message.offset(), record(partition, &message, self.embedded));
        drop(message);
        let next = self.announced.get_mut(&partition)?;
        if offset < *next {
            // An answer to where the log begins, on its way while we went elsewhere, takes librdkafka back there.
            return None;
        }
        if let ReaderItem::Fault { .. } = item {
            // A record that cannot be used is a stop, never a skip: nothing after it is yielded.
            if let Err(fault) = self.pause(partition) {
                self.waiting.push_back(of_one(partition, fault));
            }
        } else {
            *next = offset + 1;
        }
        Some(item)
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

    /// Stops yielding records until [`JournalReader::resume_all`]; the group is served. What was fetched already is fetched again.
    ///
    /// # Errors
    /// A [`Fault`] if not all could be paused.
    pub fn pause_all(&mut self) -> Result<(), Fault> {
        if std::mem::replace(&mut self.all_paused, true) {
            return Ok(());
        }
        self.announced.keys().try_for_each(|partition| self.pause_raw(*partition))
    }

    /// Goes on where [`JournalReader::pause_all`] stopped, but for what is paused by itself.
    ///
    /// # Errors
    /// A [`Fault`] if not all could be resumed.
    pub fn resume_all(&mut self) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.all_paused, false) {
            // Resumed without having been paused, librdkafka fetches all anew.
            return Ok(());
        }
        let paused = |partition: &&Partition| !self.paused.contains(partition);
        self.announced.keys().filter(paused).try_for_each(|partition| self.resume_raw(*partition))
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
        if self.all_paused { Ok(()) } else { self.resume_raw(partition) }
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
    /// whoever else read it meanwhile. Without this call an outage longer than the session costs a replay. Good until it is announced again:
    /// `Assigned` says what came of it.
    pub fn continue_at(&mut self, partition: Partition, next_offset: i64) {
        self.continue_at.insert(partition, next_offset);
    }

    /// The next thing to say that is not fresh from a poll: what waits, then the group's changes, then what was looked up.
    fn next_change(&mut self) -> Option<ReaderItem> {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                return Some(item);
            }
            if self.spent {
                // What its group said last to that consumer concerns nobody any more.
                return None;
            }
            self.let_go();
            let Some(change) = self.consumer.context().next() else { break };
            match change {
                Change::Failed(fault) => return Some(of_all(fault)),
                Change::Assign(partitions) if partitions.is_empty() => {
                    self.stranded.unheard = false;
                    return Some(ReaderItem::Joined);
                }
                Change::Assign(partitions) => {
                    self.stranded = Stranded::new();
                    for partition in partitions {
                        self.look_ups.ask(partition);
                    }
                }
                Change::Revoke { partitions, lost } => self.revoke(partitions, lost),
            }
        }
        while let Some((partition, found)) = self.look_ups.next(&self.consumer, &self.topic) {
            let item = match found {
                Ok(bounds) => self.found(partition, bounds),
                Err(fault) => Err(fault),
            };
            match item {
                Ok(None) => {}
                Ok(Some(item)) => return Some(item),
                Err(fault) => {
                    self.look_ups.ask_again(partition);
                    return Some(of_one(partition, fault));
                }
            }
        }
        None
    }

    /// Lets go of what was announced as revoked at the poll before.
    fn let_go(&mut self) {
        let Some(list) = self.leaving.take() else { return };
        for partition in partitions_of(&list) {
            self.commits.remove(&partition);
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            // Lost in the meantime: then the group has unassigned them already.
            tracing::warn!(target: "kafka", %error, "giving up partitions");
        }
    }

    fn revoke(&mut self, revoked: TopicPartitionList, lost: bool) {
        self.gone(partitions_of(&revoked), lost);
        if !lost {
            self.leaving = Some(revoked);
        }
    }

    /// Forgets partitions, and says so.
    fn gone(&mut self, partitions: Vec<Partition>, lost: bool) {
        if partitions.is_empty() {
            return;
        }
        for partition in &partitions {
            self.look_ups.forget(*partition);
            self.announced.remove(partition);
            self.paused.remove(partition);
            if lost {
                self.commits.remove(partition);
            }
        }
        self.stranded.lost |= lost;
        self.waiting.push_back(ReaderItem::Revoked { partitions, lost });
    }

    /// What a look-up has found: a new partition's records may flow, or an old one's cannot.
    fn found(&mut self, partition: Partition, bounds: Bounds) -> Result<Option<ReaderItem>, Fault> {
        let Bounds { log_start, end, committed } = bounds;
        let within = log_start..=end;
        if let Some(next) = self.announced.get(&partition) {
            let text = format!(
                "the journal's partition {partition} no longer holds offset {next}, the next to be read: it holds {log_start} to {end}. Restart \
                 this detector, which then reads what is there"
            );
            return Ok((!within.contains(next)).then(|| of_one(partition, Fault::new(FaultKind::Lasting, text))));
        }
        let continues_at = self.continue_at.get(&partition).copied().filter(|offset| within.contains(offset));
        let place = continues_at.map_or(Offset::Beginning, Offset::Offset);
        let doing = || format!("going to offset {} of {} {partition}", continues_at.unwrap_or(log_start), self.topic);
        self.consumer.seek(&self.topic, raw(partition), place, SEEK).map_err(|error| Fault::of(&error, &doing()))?;
        if !self.all_paused {
            self.resume_raw(partition)?;
        }
        self.continue_at.remove(&partition);
        // Where it begins at the beginning, that may have moved since.
        self.announced.insert(partition, continues_at.unwrap_or(log_start));
        Ok(Some(ReaderItem::Assigned { partition, log_start, committed, end, continues_at }))
    }
}

impl Drop for JournalReader {
    fn drop(&mut self) {
        self.let_go();
        self.consumer.context().close();
        while let Some(change) = self.consumer.context().next() {
            if let Change::Revoke { partitions, lost: false } = change {
                self.leaving = Some(partitions);
                self.let_go();
            }
        }
        self.look_ups.wait();
    }
}

fn open(config: &ClientConfig, topic: &str) -> Result<Handle<BaseConsumer<Events>>, Fault> {
    let doing = || format!("joining the group of {topic}");
    let consumer: Handle<BaseConsumer<Events>> =
        Handle::open(config, Events::default()).map_err(|error| Fault::of(&error, &doing()))?;
    consumer.subscribe(&[topic]).map_err(|error| Fault::of(&error, &doing()))?;
    Ok(consumer)
}

#[allow(clippy::disallowed_methods, reason = "a wait is measured on the monotonic clock")]
fn instant() -> Instant {
    Instant::now()
}

fn of_all(fault: Fault) -> ReaderItem {
    ReaderItem::Fault { partition: None, fault }
}

fn of_one(partition: Partition, fault: Fault) -> ReaderItem {
    ReaderItem::Fault { partition: Some(partition), fault }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).map(Partition).collect()
}

fn raw(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

fn record(partition: Partition, message: &rdkafka::message::BorrowedMessage<'_>, embedded: bool) -> ReaderItem {
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
            return of_one(partition, Fault::new(FaultKind::Lasting, text));
        }
    };
    ReaderItem::Record {
        partition,
        offset: message.offset(),
        appended_at: AppendMillis::new(appended_at),
        key: message.key().unwrap_or_default().to_vec(),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}

#[cfg(test)]
mod tests;
