//! What can be learnt of Kafka without leaving anything that anybody reads: who answers, how topics are kept, what we may do.
//!
//! Whether we may write is asked with a record that is larger than its topic allows. Kafka looks at the right to write first and at
//! the size second, so it refuses every such record, and the word of its refusal is the answer. Nothing is stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};

use super::cluster::{Cluster, Logged, log_line};
use super::fault::{Fault, FaultKind};
use super::handle::Handle;
use super::tail::{StartAt, TailItem, TopicTail};
use super::topics;
use crate::clock;
use crate::limits;

/// Between two looks at what has come.
const TURN: Duration = Duration::from_millis(50);

/// Kafka, as its metadata describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// `host:port` of each broker, by its number.
    pub brokers: BTreeMap<i32, String>,
    /// The partitions of each topic.
    pub topics: BTreeMap<String, Vec<PartitionKept>>,
}

/// How one partition is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionKept {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it; none where nobody does.
    pub leader: Option<i32>,
    /// Copies that there should be.
    pub replicas: usize,
    /// Copies that are up to date.
    pub in_sync: usize,
}

/// Whether we may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Kafka lets us.
    Granted,
    /// Kafka does not let us; its word.
    Denied(String),
    /// Kafka's answer says neither; what it said.
    Unknown(String),
}

/// One reading of a broker's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Our clock as the record left, in milliseconds since the epoch.
    pub before_millis: i64,
    /// The broker's clock as it appended the record.
    pub appended_millis: i64,
    /// Our clock as the answer came.
    pub after_millis: i64,
}

impl ClockReading {
    /// By how much our clock is certainly ahead of the broker's (negative: behind), whatever the ways took; 0 where the reading fits
    /// between the two of ours.
    pub const fn ahead_millis(&self) -> i64 {
        if self.before_millis > self.appended_millis {
            self.before_millis - self.appended_millis
        } else if self.after_millis < self.appended_millis {
            self.after_millis - self.appended_millis
        } else {
            0
        }
    }
}

/// Asks who is there, and how every topic is kept.
///
/// # Errors
/// A [`Fault`] if no broker answered `within`.
pub fn reach(cluster: &Cluster, within: Duration) -> Result<Reached, Fault> {
    let doing = format!("asking Kafka at {}", cluster.brokers());
    let consumer: Handle<BaseConsumer<Logged>> = Handle::open(&cluster.consumer("lonewatch-check", "lonewatch-check"), Logged)
        .map_err(|error| Fault::of(&error, &doing))?;
    let metadata = consumer.fetch_metadata(None, within).map_err(|error| Fault::of(&error, &doing))?;
    let kept = |partition: &rdkafka::metadata::MetadataPartition| PartitionKept {
        partition: partition.id(),
        leader: (partition.leader() >= 0).then_some(partition.leader()),
        replicas: partition.replicas().len(),
        in_sync: partition.isr().len(),
    };
    Ok(Reached {
        brokers: metadata.brokers().iter().map(|broker| (broker.id(), format!("{}:{}", broker.host(), broker.port()))).collect(),
        topics: metadata
            .topics()
            .iter()
            .map(|topic| (topic.name().to_owned(), topic.partitions().iter().map(kept).collect()))
            .collect(),
    })
}

/// Whether we may write to these topics; see the module. Blocks for up to about `within`.
///
/// # Errors
/// A [`Fault`] if Kafka did not answer at all.
pub async fn may_write(cluster: &Cluster, topics: &[Arc<str>], within: Duration) -> Result<Vec<Permission>, Fault> {
    let sizes = sizes(cluster, topics, within).await?;
    let producer = producer(cluster, within)?;
    let mut answers: BTreeMap<usize, Permission> = BTreeMap::new();
    for (number, (topic, size)) in topics.iter().zip(&sizes).enumerate() {
        let Some(size) = size else {
            let why = "Kafka does not tell how large a record the topic allows";
            answers.insert(number, Permission::Unknown(why.to_owned()));
            continue;
        };
        let payload = vec![0; size + limits::CHECK_BEYOND_BYTES];
        let record = BaseRecord::with_opaque_to(topic, number).partition(0).key("_check").payload(&payload);
        if let Err((error, _)) = producer.send(record) {
            answers.insert(number, Permission::Unknown(error.to_string()));
        }
    }
    wait(&producer, within);
    for (number, answer) in producer.context().take() {
        answers.insert(
            number,
            match answer {
                Err(Code::MessageSizeTooLarge) => Permission::Granted,
                Err(code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed)) => {
                    Permission::Denied(code.to_string())
                }
                Err(code) => Permission::Unknown(code.to_string()),
                Ok(_) => Permission::Unknown("Kafka stored a record that is larger than the topic allows".to_owned()),
            },
        );
    }
    Ok((0..topics.len())
        .map(|number| answers.remove(&number).unwrap_or_else(|| Permission::Unknown("no answer in time".to_owned())))
        .collect())
}

/// The largest record that each topic allows; none where Kafka does not tell, or where it is more than a check should send.
async fn sizes(cluster: &Cluster, names: &[Arc<str>], within: Duration) -> Result<Vec<Option<usize>>, Fault> {
    if cluster.is_embedded() {
        return Ok(vec![None; names.len()]);
    }
    let admin = topics::admin(cluster)?;
    let asked: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(within));
    let answers = match admin.describe_configs(&asked, &options).await {
        Ok(answers) => answers,
        Err(KafkaError::AdminOp(_)) => return Ok(vec![None; names.len()]),
        Err(error) => return Err(Fault::of(&error, "asking for the settings of Kafka topics")),
    };
    let size = |resource: &rdkafka::admin::ConfigResource| -> Option<usize> {
        let size = resource.get("max.message.bytes")?.value.as_ref()?.parse().ok()?;
        (size <= limits::CHECK_RECORD_BYTES_MAX).then_some(size)
    };
    Ok(answers.iter().map(|answer| answer.as_ref().ok().and_then(size)).collect())
}

/// Whether we may read a topic: its ends are read, and none of its records.
pub fn may_read(cluster: &Cluster, topic: &str, within: Duration) -> Permission {
    let mut tail = match TopicTail::open(cluster, topic, StartAt::End, within) {
        Ok(tail) => tail,
        Err(fault) if fault.kind == FaultKind::Lasting => return Permission::Denied(fault.text),
        Err(fault) => return Permission::Unknown(fault.text),
    };
    let deadline = instant() + within;
    while !tail.has_caught_up() {
        match tail.poll(TURN) {
            TailItem::Fault(fault) if fault.kind == FaultKind::Lasting => return Permission::Denied(fault.text),
            TailItem::Fault(fault) if instant() > deadline => return Permission::Unknown(fault.text),
            TailItem::Idle if instant() > deadline => return Permission::Unknown("no answer in time".to_owned()),
            TailItem::Fault(_) | TailItem::Idle | TailItem::Record { .. } | TailItem::End { .. } | TailItem::Anew => {}
        }
    }
    Permission::Granted
}

/// Whether we may know a consumer group. Nobody joins it: its members would have to begin anew.
pub fn may_know_group(cluster: &Cluster, group: &str, topic: &str, within: Duration) -> Permission {
    let doing = format!("asking for the group {group}");
    let unknown = |error: &KafkaError| Permission::Unknown(Fault::of(error, &doing).text);
    let consumer: Handle<BaseConsumer<Logged>> = match Handle::open(&cluster.consumer("lonewatch-check", group), Logged) {
        Ok(consumer) => consumer,
        Err(error) => return unknown(&error),
    };
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(topic, 0);
    match consumer.committed_offsets(wanted, within) {
        Ok(_) => Permission::Granted,
        Err(error) => match error.rdkafka_error_code() {
            Some(code @ (Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed)) => {
                Permission::Denied(code.to_string())
            }
            Some(_) | None => unknown(&error),
        },
    }
}

/// Appends one record to each of these partitions of a topic with append time, and reads the brokers' clocks from the answers.
///
/// # Errors
/// A [`Fault`] if Kafka's client refuses its settings.
pub fn read_clocks(
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
    payload: &[u8],
    within: Duration,
) -> Result<Vec<Result<ClockReading, String>>, Fault> {
    let producer = producer(cluster, within)?;
    // The connections come first: what they take is no difference of clocks.
    if let Err(error) = producer.client().fetch_metadata(Some(topic), within) {
        return Err(Fault::of(&error, &format!("looking up {topic}")));
    }
    let mut readings = Vec::new();
    for partition in partitions {
        let before_millis = clock::wall_millis();
        let record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, 0).partition(*partition).payload(payload);
        if let Err((error, _)) = producer.send(record) {
            readings.push(Err(error.to_string()));
            continue;
        }
        wait(&producer, within);
        let after_millis = clock::wall_millis();
        readings.push(match producer.context().take().pop() {
            Some((_, Ok(Some(appended_millis)))) => Ok(ClockReading { before_millis, appended_millis, after_millis }),
            Some((_, Ok(None))) => Err("the answer bears no time".to_owned()),
            Some((_, Err(code))) => Err(code.to_string()),
            None => Err("no answer in time".to_owned()),
        });
    }
    Ok(readings)
}

/// The time that Kafka gave a record, or why it was refused.
type Answer = Result<Option<i64>, Code>;

type Asking = Handle<BaseProducer<Answers, NoCustomPartitioner>>;

/// What came of each record, by its number.
#[derive(Default)]
struct Answers(Mutex<Vec<(usize, Answer)>>);

impl Answers {
    fn take(&self) -> Vec<(usize, Answer)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "kafka", %error, "check: {reason}");
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let answer = match result {
            Ok(message) => Ok(message.timestamp().to_millis()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((number, answer));
    }
}

fn producer(cluster: &Cluster, within: Duration) -> Result<Asking, Fault> {
    let mut config = cluster.client("lonewatch-check");
    config
        .set("acks", "all")
        .set("enable.idempotence", "false")
        .set("compression.codec", "none")
        .set("linger.ms", "0")
        .set("message.max.bytes", (limits::CHECK_RECORD_BYTES_MAX + 2 * limits::CHECK_BEYOND_BYTES).to_string())
        .set("message.timeout.ms", within.as_millis().max(1_000).to_string());
    Handle::open(&config, Answers::default()).map_err(|error| Fault::of(&error, "opening a Kafka producer"))
}

/// Until every record is answered, or the time is over.
fn wait(producer: &Asking, within: Duration) {
    // What is not answered by then has no answer in the list.
    let _answered_or_not = producer.flush(within + Duration::from_secs(1));
}

#[allow(clippy::disallowed_methods, reason = "a wait is measured on the monotonic clock")]
fn instant() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_only_by_what_the_way_cannot_explain() {
        let ahead = |appended_millis| ClockReading { before_millis: 1_000, appended_millis, after_millis: 1_100 }.ahead_millis();
        assert_eq!((ahead(1_000), ahead(1_050), ahead(1_100)), (0, 0, 0));
        assert_eq!(ahead(900), 100);
        assert_eq!(ahead(4_100), -3_000);
    }

    #[test]
    fn brokers_and_partitions_are_told() {
        let mock = crate::kafka::mock(1);
        mock.create_topic("t", 2, 1).unwrap();
        let reached = reach(&Cluster::embedded(&mock.bootstrap_servers()), Duration::from_secs(20)).unwrap();
        assert_eq!(reached.brokers.len(), 1);
        let kept = &reached.topics["t"];
        assert!(kept.len() == 2 && kept.iter().all(|kept| kept.leader.is_some() && kept.replicas == 1 && kept.in_sync == 1));
    }
}
