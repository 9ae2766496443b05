//! `TopicTail`: reads one Kafka topic as it stands and goes on, outside any group: for `alerts follow`, exports and tests.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::cluster::{Cluster, Logged};
use super::fault::{Fault, FaultKind};
use super::handle::{self, Handle};

/// How long the bounds of one partition may take.
const BOUNDS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether the topic has other partitions by now. Only where nothing waits to be read.
const LOOK: Duration = Duration::from_secs(15);
/// And how long that may take: nothing is read meanwhile.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the oldest record that the topic still holds.
    Beginning,
    /// With the first record written from now on.
    End,
}

/// What [`TopicTail::poll`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailItem {
    /// The next record of a partition.
    Record {
        /// Which partition.
        partition: u32,
        /// Its place there.
        offset: i64,
        /// Kafka's timestamp, of whichever kind the topic keeps; milliseconds since the epoch.
        timestamp: Option<i64>,
        /// Its key.
        key: Vec<u8>,
        /// Its value; none for a tombstone.
        payload: Option<Vec<u8>>,
    },
    /// The newest record of this partition has been read, for the moment.
    End {
        /// Which partition.
        partition: u32,
    },
    /// The topic has other partitions than before, or Kafka no longer holds what was to be read next: it was made anew, or its oldest
    /// records were deleted before they were read. Reading goes on with the oldest that was not read.
    Anew,
    /// Nothing within the timeout.
    Idle,
    /// Reading goes on unless the fault is fatal.
    Fault(Fault),
}

/// Reads all partitions of one topic; see the module.
pub struct TopicTail {
    config: ClientConfig,
    consumer: Handle<BaseConsumer<Logged>>,
    topic: String,
    /// Where to begin in a partition of which nothing is known.
    start: Offset,
    behind: BTreeSet<u32>,
    /// Of each partition, the offset that is read next, as far as it is known.
    next: BTreeMap<i32, Option<i64>>,
    /// Set while a partition must begin anew.
    lost: bool,
    look_at: Instant,
}

impl TopicTail {
    /// Looks up the topic's partitions, waiting up to `within` for the brokers, and begins to read. Committed records only.
    ///
    /// # Errors
    /// A [`Fault`]: no broker answered in time, no such topic, not authorised.
    pub fn open(cluster: &Cluster, topic: &str, start: StartAt, within: Duration) -> Result<Self, Fault> {
        let doing = || format!("reading {topic}");
        let mut config = cluster.consumer("lonewatch-tail", "lonewatch-tail");
        // A topic that is made anew is found within seconds.
        config
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "50")
            .set("topic.metadata.refresh.interval.ms", "5000");
        let consumer = consumer(&config).map_err(|error| Fault::of(&error, &doing()))?;
        let partitions = partitions(&consumer, topic, within).map_err(|error| Fault::of(&error, &doing()))?;
        if partitions.is_empty() {
            return Err(Fault::new(FaultKind::Lasting, format!("{}: no such Kafka topic (`lonewatch topics create`)", doing())));
        }
        let start = match start {
            StartAt::Beginning => Offset::Beginning,
            StartAt::End => Offset::End,
        };
        let behind = partitions.iter().map(|partition| number(*partition)).collect();
        let next = partitions.into_iter().map(|partition| (partition, None)).collect();
        let look_at = instant() + LOOK;
        let tail = Self { config, consumer, topic: topic.to_owned(), start, behind, next, lost: false, look_at };
        tail.assign(&tail.consumer).map_err(|error| Fault::of(&error, &doing()))?;
        Ok(tail)
    }

    /// Has this consumer read what was not read yet.
    fn assign(&self, consumer: &BaseConsumer<Logged>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in &self.next {
            list.add_partition_offset(&self.topic, *partition, next.map_or(self.start, Offset::Offset))?;
        }
        consumer.assign(&list)
    }

    /// The next thing, waited for up to `timeout`.
    pub fn poll(&mut self, timeout: Duration) -> TailItem {
        if self.lost {
            return self.begin_anew();
        }
        let is_due = self.look_at <= instant();
        match self.consumer.poll(timeout) {
            None if is_due => self.look(),
            None => TailItem::Idle,
            Some(Ok(message)) => {
                self.next.insert(message.partition(), Some(message.offset() + 1));
                TailItem::Record {
                    partition: number(message.partition()),
                    offset: message.offset(),
                    timestamp: message.timestamp().to_millis(),
                    key: message.key().unwrap_or_default().to_vec(),
                    payload: message.payload().map(<[u8]>::to_vec),
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                if self.next.get(&partition).is_none_or(Option::is_none) {
                    let bounds = self.consumer.fetch_watermarks(&self.topic, partition, BOUNDS_WITHIN);
                    self.next.insert(partition, bounds.ok().map(|(_, end)| end));
                }
                let partition = number(partition);
                self.behind.remove(&partition);
                TailItem::End { partition }
            }
            // librdkafka stops to read the partition then, and does not say which it is.
            Some(Err(error)) if error.rdkafka_error_code() == Some(Code::AutoOffsetReset) => self.begin_anew(),
            Some(Err(_)) if is_due => self.look(),
            Some(Err(error)) => self.fault(&error),
        }
    }

    fn fault(&self, error: &KafkaError) -> TailItem {
        TailItem::Fault(Fault::of(error, &format!("reading {}", self.topic)))
    }

    /// Tried until the brokers tell the bounds: nobody else would begin to read again.
    fn begin_anew(&mut self) -> TailItem {
        let begun = self.seek_within_bounds();
        self.lost = begun.is_err();
        begun.map_or_else(|error| self.fault(&error), |()| TailItem::Anew)
    }

    /// Goes on with the oldest record wherever the next one is out of bounds, and in partitions that are new.
    fn seek_within_bounds(&mut self) -> Result<(), KafkaError> {
        let there = partitions(&self.consumer, &self.topic, BOUNDS_WITHIN)?;
        if there.is_empty() {
            return Err(KafkaError::MetadataFetch(Code::UnknownTopicOrPartition));
        }
        self.next.retain(|partition, _| there.contains(partition));
        self.behind.retain(|partition| there.iter().any(|there| number(*there) == *partition));
        for partition in there {
            if let Entry::Vacant(new) = self.next.entry(partition) {
                new.insert(None);
                self.behind.insert(number(partition));
            }
        }
        let (mut list, mut told) = (TopicPartitionList::new(), Err(KafkaError::NoMessageReceived));
        for (partition, next) in &mut self.next {
            // One that nobody leads must not keep the others from being read.
            told = match self.consumer.fetch_watermarks(&self.topic, *partition, BOUNDS_WITHIN) {
                Ok((oldest, end)) => {
                    *next = next.filter(|next| (oldest..=end).contains(next)).or(Some(oldest));
                    Ok(())
                }
                Err(error) => told.map_err(|_| error),
            };
            list.add_partition_offset(&self.topic, *partition, next.map_or(Offset::Beginning, Offset::Offset))?;
        }
        told?;
        self.consumer.assign(&list)
    }

    /// Looks whether the topic has other partitions than those that are read. One that is gone has none: reading says so.
    fn look(&mut self) -> TailItem {
        self.look_at = instant() + LOOK;
        match partitions(&self.consumer, &self.topic, LOOK_WITHIN) {
            Ok(there) if !there.is_empty() && !there.iter().eq(self.next.keys()) => self.begin_anew(),
            Ok(_) => TailItem::Idle,
            Err(_) => self.replace().map_or_else(|error| self.fault(&error), |()| TailItem::Idle),
        }
    }

    /// A new consumer goes on where this one is: in an outage neither is answered, and after one this may have lost sight of Kafka
    /// (docs/TRAPS.md).
    fn replace(&mut self) -> Result<(), KafkaError> {
        let fresh = consumer(&self.config)?;
        self.assign(&fresh)?;
        drop(handle::close(std::mem::replace(&mut self.consumer, fresh)));
        Ok(())
    }

    /// Whether the end of every partition has been met once.
    pub fn has_caught_up(&self) -> bool {
        self.behind.is_empty()
    }

    /// The partitions whose end has not been met yet.
    pub fn behind(&self) -> &BTreeSet<u32> {
        &self.behind
    }

    /// How many partitions the topic has.
    pub fn partition_count(&self) -> usize {
        self.consumer.assignment().map_or(0, |list| list.count())
    }
}

fn consumer(config: &ClientConfig) -> Result<Handle<BaseConsumer<Logged>>, KafkaError> {
    Handle::open(config, Logged)
}

/// The topic's partitions, in order; none where there is no such topic.
fn partitions(consumer: &BaseConsumer<Logged>, topic: &str, within: Duration) -> Result<Vec<i32>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), within)?;
    let found = metadata.topics().first().map_or(&[][..], rdkafka::metadata::MetadataTopic::partitions);
    let mut numbers: Vec<i32> = found.iter().map(rdkafka::metadata::MetadataPartition::id).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn number(partition: i32) -> u32 {
    u32::try_from(partition).unwrap_or_default()
}

#[allow(clippy::disallowed_methods, reason = "a wait is measured on the monotonic clock")]
fn instant() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PartitionCount;
    use crate::kafka::{Keep, Outgoing, Ticket, Urgency, Writer};

    const WITHIN: Duration = Duration::from_secs(20);

    /// After an outage librdkafka had forgotten every broker: whoever followed the alerts saw none any more.
    #[test]
    fn a_consumer_that_has_lost_sight_of_kafka_is_replaced_and_reads_on() {
        let mock = crate::kafka::mock(1);
        mock.create_topic("t", 1, 1).unwrap();
        let cluster = Cluster::embedded(&mock.bootstrap_servers());
        let (writer, _deliveries) = Writer::open(&cluster, "w", Urgency::Duress, PartitionCount::new(1).unwrap()).unwrap();
        let write = |n: u64| {
            let payload = n.to_string().into_bytes();
            let outgoing = Outgoing { topic: "t".into(), partition: None, key: "k".into(), payload, keep: Keep::Always };
            writer.write(Ticket(n), outgoing);
            assert!(writer.flush(WITHIN));
        };
        let mut tail = TopicTail::open(&cluster, "t", StartAt::Beginning, WITHIN).unwrap();
        let next = |tail: &mut TopicTail| {
            let deadline = instant() + WITHIN;
            loop {
                match tail.poll(Duration::from_millis(100)) {
                    TailItem::Record { payload, .. } => return String::from_utf8(payload.unwrap()).unwrap(),
                    TailItem::Anew => panic!("the topic is the same"),
                    TailItem::End { .. } | TailItem::Idle | TailItem::Fault(_) => assert!(instant() < deadline),
                }
            }
        };
        write(0);
        assert_eq!(next(&mut tail), "0");
        let mut nowhere = tail.config.clone();
        nowhere.set("bootstrap.servers", "127.0.0.1:1");
        (tail.consumer, tail.look_at) = (consumer(&nowhere).unwrap(), instant());
        write(1);
        assert_eq!(next(&mut tail), "1");
    }
}
