//! `TopicTail`: reads one Kafka topic as it stands and goes on, outside any group: for `alerts follow`, exports and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::cluster::{Cluster, Logged};
use super::fault::{Fault, FaultKind};

/// How long the bounds of one partition may take.
const BOUNDS_WITHIN: Duration = Duration::from_secs(5);

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
    /// Kafka no longer holds what was to be read next: the topic was made anew, or its oldest records were deleted before they were
    /// read. Reading goes on with the oldest that it holds.
    Anew,
    /// Nothing within the timeout.
    Idle,
    /// Reading goes on unless the fault is fatal.
    Fault(Fault),
}

/// Reads all partitions of one topic; see the module.
pub struct TopicTail {
    consumer: BaseConsumer<Logged>,
    topic: String,
    behind: BTreeSet<u32>,
    /// Of each partition, the offset that is read next, as far as it is known.
    next: BTreeMap<i32, Option<i64>>,
    /// Set while a partition must begin anew.
    lost: bool,
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
        let consumer: BaseConsumer<Logged> = config.create_with_context(Logged).map_err(|error| Fault::of(&error, &doing()))?;
        let metadata = consumer.fetch_metadata(Some(topic), within).map_err(|error| Fault::of(&error, &doing()))?;
        let partitions = metadata.topics().first().map_or(&[][..], rdkafka::metadata::MetadataTopic::partitions);
        if partitions.is_empty() {
            return Err(Fault::new(FaultKind::Lasting, format!("{}: no such Kafka topic (`lonewatch topics create`)", doing())));
        }
        let offset = match start {
            StartAt::Beginning => Offset::Beginning,
            StartAt::End => Offset::End,
        };
        let mut list = TopicPartitionList::new();
        let (mut behind, mut next) = (BTreeSet::new(), BTreeMap::new());
        for partition in partitions {
            list.add_partition_offset(topic, partition.id(), offset).map_err(|error| Fault::of(&error, &doing()))?;
            behind.insert(u32::try_from(partition.id()).unwrap_or_default());
            next.insert(partition.id(), None);
        }
        consumer.assign(&list).map_err(|error| Fault::of(&error, &doing()))?;
        Ok(Self { consumer, topic: topic.to_owned(), behind, next, lost: false })
    }

    /// The next thing, waited for up to `timeout`.
    pub fn poll(&mut self, timeout: Duration) -> TailItem {
        if self.lost {
            return self.begin_anew();
        }
        match self.consumer.poll(timeout) {
            None => TailItem::Idle,
            Some(Ok(message)) => {
                self.next.insert(message.partition(), Some(message.offset() + 1));
                TailItem::Record {
                    partition: u32::try_from(message.partition()).unwrap_or_default(),
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
                let partition = u32::try_from(partition).unwrap_or_default();
                self.behind.remove(&partition);
                TailItem::End { partition }
            }
            // librdkafka stops to read the partition then, and does not say which it is.
            Some(Err(error)) if error.rdkafka_error_code() == Some(Code::AutoOffsetReset) => self.begin_anew(),
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

    /// Goes on with the oldest record wherever the next one is out of bounds.
    fn seek_within_bounds(&mut self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in &mut self.next {
            let (oldest, end) = self.consumer.fetch_watermarks(&self.topic, *partition, BOUNDS_WITHIN)?;
            *next = next.filter(|next| (oldest..=end).contains(next)).or(Some(oldest));
            list.add_partition_offset(&self.topic, *partition, next.map_or(Offset::Beginning, Offset::Offset))?;
        }
        self.consumer.assign(&list)
    }

    /// Whether the end of every partition has been met once.
    pub fn has_caught_up(&self) -> bool {
        self.behind.is_empty()
    }

    /// How many partitions the topic has.
    pub fn partition_count(&self) -> usize {
        self.consumer.assignment().map_or(0, |list| list.count())
    }
}
