//! The rulebook's topic: read to its end and for ever after, and written in one transaction.
//!
//! Both treat entries as keys and bytes; `rulebook` knows what they mean. Only committed entries are seen, so a reader meets an
//! apply whole or not at all; its last entry's offset is the version.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use super::cluster::{Cluster, Logged, log_line};
use super::fault::{Fault, FaultKind};
use super::handle::{self, Handle};
use super::topics::TopicNames;

/// How soon a reader that is dropped stops.
const TURN: Duration = Duration::from_millis(100);
/// How long after a fault the end is asked for anew.
const ASK_ANEW: Duration = Duration::from_secs(1);

/// A consumer that has faults and is answered nothing for so long is replaced: it may have lost sight of Kafka (docs/TRAPS.md). In an outage that
/// costs a client now and then.
const REPLACED_AFTER: Duration = Duration::from_secs(10);

/// What a [`RulebookReader`] hands over, in the order of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulebookItem {
    /// One entry.
    Entry {
        /// Its place; that of a commit entry is the version.
        offset: i64,
        /// Its key; bytes that are no UTF-8 are replaced, and match no kind.
        key: String,
        /// Its value; none for a tombstone.
        value: Option<Vec<u8>>,
    },
    /// All that was committed so far has been handed over. Comes again whenever the reader has caught up, and after every fault as
    /// soon as Kafka answers again.
    End,
    /// The topic was made anew, or has lost its end: its offsets, which are the versions, have gone back, and nothing that it holds now goes
    /// with what was handed over. Said once; nothing more is read.
    Anew,
    /// The copy may be stale; reading goes on.
    Fault(Fault),
}

/// Reads the rulebook on a thread of its own, from the beginning, until it is dropped. An outage of the brokers only makes it wait.
pub struct RulebookReader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RulebookReader {
    /// Begins to read. `sink` is called on the reader's thread.
    ///
    /// # Errors
    /// A lasting [`Fault`] if librdkafka refuses the configuration.
    pub fn start(
        cluster: &Cluster,
        names: &TopicNames,
        mut sink: impl FnMut(RulebookItem) + Send + 'static,
    ) -> Result<Self, Fault> {
        let topic = names.rulebook();
        let doing = format!("reading {topic}");
        let mut reading = Reading::new(cluster, topic, consumer(cluster, &doing)?, Offset::Beginning);
        reading.assign().map_err(|error| Fault::of(&error, &doing))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("rulebook-reader".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    if let Some(item) = reading.next_item(&doing) {
                        sink(item);
                    }
                }
            })
            .map_err(|error| Fault::new(FaultKind::Lasting, format!("starting the rulebook's reader: {error}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Whether the thread has ended without being told to.
    pub fn has_died(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for RulebookReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the rulebook reader's thread had panicked");
        }
    }
}

fn consumer(cluster: &Cluster, doing: &str) -> Result<Handle<BaseConsumer<Logged>>, Fault> {
    let mut config = cluster.consumer("lonewatch-rulebook", "lonewatch-rulebook");
    // The end is told by the broker's EOF: with transactions the last offset never reaches the high watermark. A topic that is made later is
    // found within seconds.
    config
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "50")
        .set("topic.metadata.refresh.interval.ms", "5000");
    Handle::open(&config, Logged).map_err(|error| Fault::of(&error, doing))
}

/// How far the reader has come.
struct Reading {
    cluster: Cluster,
    topic: Arc<str>,
    consumer: Handle<BaseConsumer<Logged>>,
    next: Offset,
    /// When to ask for the end anew; none while no fault has come since the last.
    ask_at: Option<Instant>,
    /// When to replace the consumer; none while it is answered.
    replace_at: Option<Instant>,
    is_over: bool,
}

impl Reading {
    fn new(cluster: &Cluster, topic: Arc<str>, consumer: Handle<BaseConsumer<Logged>>, next: Offset) -> Self {
        Self { cluster: cluster.clone(), topic, consumer, next, ask_at: None, replace_at: None, is_over: false }
    }

    /// (Re)begins at the next entry.
    fn assign(&self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, 0, self.next)?;
        self.consumer.assign(&list)
    }

    /// A new consumer goes on where this one is.
    fn replace(&mut self, doing: &str) -> Result<(), Fault> {
        let spent = std::mem::replace(&mut self.consumer, consumer(&self.cluster, doing)?);
        drop(handle::close(spent));
        (self.ask_at, self.replace_at) = (Some(instant()), Some(instant() + REPLACED_AFTER));
        Ok(())
    }

    fn next_item(&mut self, doing: &str) -> Option<RulebookItem> {
        if self.is_over {
            drop(self.consumer.poll(TURN));
            return None;
        }
        if self.replace_at.take_if(|at| *at <= instant()).is_some()
            && let Err(fault) = self.replace(doing)
        {
            return Some(self.faulty(fault));
        }
        if self.ask_at.take_if(|at| *at <= instant()).is_some()
            && let Err(error) = self.assign()
        {
            return Some(self.faulty(Fault::of(&error, doing)));
        }
        let polled = self.consumer.poll(TURN)?;
        if matches!(polled, Ok(_) | Err(KafkaError::PartitionEOF(_))) {
            self.replace_at = None;
        }
        Some(match polled {
            Ok(message) => {
                self.next = Offset::Offset(message.offset() + 1);
                RulebookItem::Entry {
                    offset: message.offset(),
                    key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
                    value: message.payload().map(<[u8]>::to_vec),
                }
            }
            Err(KafkaError::PartitionEOF(_)) => RulebookItem::End,
            Err(error) if error.rdkafka_error_code() == Some(Code::AutoOffsetReset) => {
                self.is_over = true;
                RulebookItem::Anew
            }
            Err(error) => self.faulty(Fault::of(&error, doing)),
        })
    }

    /// The end is told once for each offset, so an outage without news would never be over: beginning anew where we are brings the
    /// word again, with the first fetch that is answered.
    fn faulty(&mut self, fault: Fault) -> RulebookItem {
        self.ask_at.get_or_insert_with(|| instant() + ASK_ANEW);
        self.replace_at.get_or_insert_with(|| instant() + REPLACED_AFTER);
        RulebookItem::Fault(fault)
    }
}

/// Why an apply did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyFault {
    /// Somebody else's apply began after this one.
    #[error("another apply began meanwhile and this one was dropped whole: look at the difference again, then apply")]
    Overtaken,
    /// One entry was refused.
    #[error("entry {key:?} was refused ({reason}); nothing was applied")]
    Refused {
        /// The entry's key.
        key: String,
        /// What Kafka said.
        reason: String,
    },
    /// Kafka failed before the commit began.
    #[error("{0}; nothing was applied")]
    Failed(Fault),
    /// Kafka failed while the commit was under way.
    #[error("{0}; whether the rulebook was applied is not known: `lonewatch rules diff DIR` tells")]
    Unknown(Fault),
}

/// A key and its value; a value of none is a tombstone.
type Entry = (String, Option<Vec<u8>>);

/// Fences whoever else is applying, then asks `plan` what to write, and writes it in one transaction. Returns the offset of the last entry,
/// which by convention is the commit entry: the version; none where the plan is empty. All applies share one transactional id, so of two
/// at the same time the later wins and the earlier vanishes whole; and what the plan reads is what it will be written upon, because
/// nobody can commit between the two. Each step blocks for up to about `within`.
///
/// # Errors
/// An [`ApplyFault`] that says whether anything was applied, or what the plan said.
pub fn rulebook_apply<E: From<ApplyFault>>(
    cluster: &Cluster,
    names: &TopicNames,
    plan: impl FnOnce() -> Result<Vec<Entry>, E>,
    within: Duration,
) -> Result<Option<i64>, E> {
    let topic = names.rulebook();
    let producer = transactional(cluster, &topic).map_err(|error| failed(&error))?;
    producer.init_transactions(within).map_err(|error| failed(&error))?;
    let entries = plan()?;
    if entries.is_empty() {
        return Ok(None);
    }
    Ok(Some(write_and_commit(&producer, &topic, &entries, within)?))
}

fn write_and_commit(producer: &Transactional, topic: &str, entries: &[Entry], within: Duration) -> Result<i64, ApplyFault> {
    let deadline = instant() + within;
    let left = || deadline.saturating_duration_since(instant());
    producer.begin_transaction().map_err(|error| failed(&error))?;
    let version = match write_all(producer, topic, entries, left()) {
        Ok(version) => version,
        Err(fault) => {
            let overtaken = producer.client().fatal_error().is_some_and(|(code, _)| is_fencing(code));
            abort(producer);
            return Err(if overtaken { ApplyFault::Overtaken } else { fault });
        }
    };
    loop {
        match producer.commit_transaction(left()) {
            Ok(()) => return Ok(version),
            Err(KafkaError::Transaction(error)) if error.is_retriable() && !left().is_zero() => {}
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                abort(producer);
                return Err(failed(&KafkaError::Transaction(error)));
            }
            Err(error) => return Err(commit_fault(&error)),
        }
    }
}

type Transactional = Handle<BaseProducer<Stored, NoCustomPartitioner>>;

/// What came of each entry, by its index.
#[derive(Default)]
struct Stored {
    answers: Mutex<Vec<(usize, Result<i64, Code>)>>,
}

impl ClientContext for Stored {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "kafka", %error, "apply: {reason}");
    }
}

impl ProducerContext for Stored {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let answer = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((index, answer));
    }
}

fn transactional(cluster: &Cluster, topic: &str) -> Result<Transactional, KafkaError> {
    let mut config = cluster.client("lonewatch-rules");
    // A hanging transaction freezes every reader of committed entries: a dead apply is given up after 20 s.
    config
        .set("transactional.id", topic)
        .set("transaction.timeout.ms", "20000")
        .set("message.timeout.ms", "20000")
        .set("message.max.bytes", "1048588")
        .set("linger.ms", "5");
    Handle::open(&config, Stored::default())
}

fn write_all(producer: &Transactional, topic: &str, entries: &[Entry], within: Duration) -> Result<i64, ApplyFault> {
    let refused = |index: usize, reason: String| ApplyFault::Refused { key: entries[index].0.clone(), reason };
    for (index, (key, value)) in entries.iter().enumerate() {
        loop {
            let record = BaseRecord::with_opaque_to(topic, index).partition(0).key(key.as_bytes());
            let record = match value {
                Some(value) => record.payload(value.as_slice()),
                None => record,
            };
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) => producer.poll(TURN),
                Err((error, _)) => return Err(refused(index, error.to_string())),
            }
        }
    }
    producer.flush(within).map_err(|error| failed(&error))?;
    let answers = producer.context().answers.lock().unwrap_or_else(PoisonError::into_inner);
    for (index, answer) in answers.iter() {
        match answer {
            Err(Code::Fatal | Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => {
                return Err(ApplyFault::Overtaken);
            }
            Err(code) => return Err(refused(*index, code.to_string())),
            Ok(_) => {}
        }
    }
    let last = answers.iter().find_map(|(index, answer)| answer.ok().filter(|_| *index + 1 == entries.len()));
    last.ok_or_else(|| ApplyFault::Failed(Fault::new(FaultKind::Passing, "Kafka did not answer for every entry")))
}

fn failed(error: &KafkaError) -> ApplyFault {
    if is_fenced(error) { ApplyFault::Overtaken } else { ApplyFault::Failed(Fault::of(error, "applying the rulebook")) }
}

fn commit_fault(error: &KafkaError) -> ApplyFault {
    if is_fenced(error) { ApplyFault::Overtaken } else { ApplyFault::Unknown(Fault::of(error, "committing the rulebook")) }
}

fn is_fenced(error: &KafkaError) -> bool {
    let code = match error {
        KafkaError::Transaction(error) => error.code(),
        other => other.rdkafka_error_code().unwrap_or(Code::Fail),
    };
    is_fencing(code)
}

fn is_fencing(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

fn abort(producer: &Transactional) {
    if let Err(error) = producer.abort_transaction(Duration::from_secs(5)) {
        // The broker gives it up at its time limit.
        tracing::debug!(target: "kafka", %error, "aborting an apply");
    }
}

#[allow(clippy::disallowed_methods, reason = "a wait is measured on the monotonic clock")]
fn instant() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc;

    use super::*;

    /// A topic that was made anew was never read again, and `/readyz` said for ever that Kafka did not answer.
    #[test]
    fn a_topic_that_was_made_anew_is_said_and_read_no_further() {
        let mock = crate::kafka::mock(1);
        let names = TopicNames::new("lonewatch");
        mock.create_topic(&names.rulebook(), 1, 1).unwrap();
        let cluster = Cluster::embedded(&mock.bootstrap_servers());
        let consumer = consumer(&cluster, "reading").unwrap();
        let mut reading = Reading::new(&cluster, names.rulebook(), consumer, Offset::Offset(2));
        reading.assign().unwrap();
        assert_eq!((0..100).find_map(|_| reading.next_item("reading")), Some(RulebookItem::Anew));
        let entries = || Ok::<_, ApplyFault>((0..5).map(|n| (format!("device/dev-{n}"), None)).collect());
        assert!(rulebook_apply(&cluster, &names, entries, Duration::from_secs(30)).unwrap().is_some());
        assert_eq!((0..20).find_map(|_| reading.next_item("reading")), None, "half of another rulebook");
    }

    /// A short outage left `/readyz` saying "the copy may be stale" until somebody changed the rules: the end comes once an offset.
    #[test]
    fn the_end_is_told_again_when_kafka_answers_again() {
        const WITHIN: Duration = Duration::from_secs(30);
        let mock = crate::kafka::mock(1);
        let names = TopicNames::new("lonewatch");
        mock.create_topic(&names.rulebook(), 1, 1).unwrap();
        let cluster = Cluster::new(&mock.bootstrap_servers(), BTreeMap::new());
        let (sender, items) = mpsc::channel();
        let _reader = RulebookReader::start(&cluster, &names, move |item| {
            let _heard_or_over = sender.send(item);
        })
        .unwrap();
        let wait = |wanted: fn(&RulebookItem) -> bool| while !wanted(&items.recv_timeout(WITHIN).unwrap()) {};
        wait(|item| *item == RulebookItem::End);
        mock.broker_down(1).unwrap();
        wait(|item| matches!(item, RulebookItem::Fault(_)));
        mock.broker_up(1).unwrap();
        wait(|item| *item == RulebookItem::End);
    }

    /// After an outage librdkafka had forgotten every broker: what was applied later was never read.
    #[test]
    fn a_consumer_that_has_lost_sight_of_kafka_is_replaced() {
        let mock = crate::kafka::mock(1);
        let names = TopicNames::new("lonewatch");
        mock.create_topic(&names.rulebook(), 1, 1).unwrap();
        let nowhere = consumer(&Cluster::embedded("127.0.0.1:1"), "reading").unwrap();
        let cluster = Cluster::embedded(&mock.bootstrap_servers());
        let mut reading = Reading::new(&cluster, names.rulebook(), nowhere, Offset::Beginning);
        reading.assign().unwrap();
        let wait = |reading: &mut Reading, wanted: fn(&RulebookItem) -> bool| {
            let deadline = instant() + 3 * REPLACED_AFTER;
            while !reading.next_item("reading").as_ref().is_some_and(wanted) {
                assert!(instant() < deadline);
            }
        };
        wait(&mut reading, |item| matches!(item, RulebookItem::Fault(_)));
        wait(&mut reading, |item| *item == RulebookItem::End);
        assert_eq!(reading.replace_at, None, "it is answered");
    }
}
