//! The alerts topic as a test looks at it: alerts among heartbeats, by id and revision, and who else has read how far.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use lonewatch::limits;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use super::kafka::Kafka;
use super::tools::{Follower, KafkaRecord};
use super::wait::wait_for;

/// One revision of an alert as it stands on the topic.
#[derive(Clone, Debug)]
pub struct SeenAlert {
    /// Its id.
    pub id: String,
    /// Its revision.
    pub revision: u64,
    /// The whole of it.
    pub json: Value,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl SeenAlert {
    /// Reads one.
    pub fn of(bytes: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(bytes).expect("an alert is JSON");
        Self {
            id: json["id"].as_str().expect("an alert has an id").to_owned(),
            revision: json["revision"].as_u64().expect("an alert has a revision"),
            json,
            bytes: bytes.to_vec(),
        }
    }

    /// The word at a field; empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_default()
    }

    /// Whether an ingester wrote it: revision 1 of a press.
    pub fn is_express(&self) -> bool {
        !self.json["lane"].is_null()
    }
}

/// The alerts among these records, in their order; heartbeats are left out.
pub fn alerts_among(records: &[KafkaRecord]) -> Vec<SeenAlert> {
    let alerts = records.iter().filter_map(|record| {
        let value = record.value.as_deref().expect("an alert has a value");
        (record.json()["type"] == "alert").then(|| SeenAlert::of(value))
    });
    alerts.collect()
}

/// Those about devices. A machine that stands still for 10 s makes us blind, and that is told besides.
pub fn about_devices(alerts: &[SeenAlert]) -> Vec<SeenAlert> {
    alerts.iter().filter(|alert| !alert.json["device"].is_null()).cloned().collect()
}

impl Follower {
    /// The alerts that it has read so far.
    pub fn alerts(&self) -> Vec<SeenAlert> {
        self.with_alerts(<[SeenAlert]>::to_vec)
    }

    /// The alerts of a kind that it has read so far.
    pub fn alerts_of(&self, kind: &str) -> Vec<SeenAlert> {
        self.alerts().into_iter().filter(|alert| alert.text("kind") == kind).collect()
    }

    /// The alerts about devices that it has read so far.
    pub fn device_alerts(&self) -> Vec<SeenAlert> {
        about_devices(&self.alerts())
    }

    /// The longest time between two heartbeats, by their own times.
    pub fn longest_heartbeat_gap_millis(&self) -> i64 {
        let records = self.records();
        let beats = records.iter().map(KafkaRecord::json).filter(|json| json["type"] == "heartbeat");
        let at: Vec<i64> = beats.filter_map(|json| json["at"].as_i64()).collect();
        longest_gap_millis(&at)
    }

    /// Blindness that no heartbeat explains: where they paused for as long, the machine stood still, and it is true.
    pub fn unexplained_blindness(&self) -> Vec<SeenAlert> {
        if self.longest_heartbeat_gap_millis() >= limits::BLIND_MILLIS { Vec::new() } else { self.alerts_of("blind") }
    }

    /// As [`Follower::wait_alerts`], of the alerts about devices.
    #[track_caller]
    pub fn wait_device_alerts<T>(&self, deadline: Duration, what: &str, look: impl Fn(&[SeenAlert]) -> Option<T>) -> T {
        self.wait_alerts(deadline, what, |alerts| look(&about_devices(alerts)))
    }

    /// Waits until the alerts read so far are as wanted, and gives what the look found.
    #[track_caller]
    pub fn wait_alerts<T>(&self, deadline: Duration, what: &str, look: impl Fn(&[SeenAlert]) -> Option<T>) -> T {
        wait_for(deadline, what, || {
            let found = self.with_alerts(|alerts| look(alerts).ok_or_else(|| outline(alerts)));
            found.map_err(|seen| Unseen { follower: self, seen })
        })
    }
}

/// What was seen instead. The topic is read anew for it only when it is told, at a failure.
struct Unseen<'a> {
    follower: &'a Follower,
    seen: String,
}

impl fmt::Display for Unseen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.seen, self.follower.standing())
    }
}

/// The longest time between two of these that follow each other.
pub fn longest_gap_millis(times: &[i64]) -> i64 {
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Alerts in short, for a failure's message.
pub fn outline(alerts: &[SeenAlert]) -> String {
    let line = |alert: &SeenAlert| {
        let subject = alert.text("subject");
        format!(
            "{} {} {} {subject} r{} {}",
            alert.id,
            alert.text("kind"),
            alert.text("device"),
            alert.revision,
            alert.text("state")
        )
    };
    format!("{} alerts:\n{}", alerts.len(), alerts.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// The distinct ids.
pub fn ids(alerts: &[SeenAlert]) -> BTreeSet<&str> {
    alerts.iter().map(|alert| alert.id.as_str()).collect()
}

/// The revisions seen of each id.
pub fn revisions(alerts: &[SeenAlert]) -> BTreeMap<&str, BTreeSet<u64>> {
    let mut revisions: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for alert in alerts {
        revisions.entry(&alert.id).or_default().insert(alert.revision);
    }
    revisions
}

/// The end of each partition of a Kafka topic: the offset that its next record will have.
#[track_caller]
pub fn ends(kafka: &Kafka, topic: &str, partitions: u32) -> BTreeMap<u32, i64> {
    let consumer = client(kafka, "rig");
    let end = |partition: u32| {
        let number = i32::try_from(partition).expect("few partitions");
        let marks = consumer.fetch_watermarks(topic, number, Duration::from_secs(20)).expect("the partition's ends");
        (partition, marks.1)
    };
    (0..partitions).map(end).collect()
}

fn client(kafka: &Kafka, group: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("group.id", group);
    config.create().expect("librdkafka takes these settings")
}

/// The group's committed offset of each partition; none where it has committed nothing.
#[track_caller]
pub fn committed(kafka: &Kafka, group: &str, topic: &str, partitions: u32) -> BTreeMap<u32, Option<i64>> {
    let consumer = client(kafka, group);
    let mut wanted = TopicPartitionList::new();
    for partition in 0..partitions {
        wanted.add_partition(topic, i32::try_from(partition).expect("few partitions"));
    }
    let found = consumer.committed_offsets(wanted, Duration::from_secs(20)).expect("the group's offsets");
    let offsets = found.elements().into_iter().map(|element| {
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        (u32::try_from(element.partition()).expect("a partition's number"), offset)
    });
    offsets.collect()
}
