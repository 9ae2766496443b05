//! The centre's end: a consumer of the alerts topic that stamps each alert as it comes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::clock;
use crate::marks::{Arrival, MARKED};
use crate::null::consumer_config;
use crate::rig::wait_for;

const TURN: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(30);

/// Whether a record is the answer that is timed.
pub(crate) type IsAnswer = fn(&Value) -> bool;

/// Reads on a thread of its own.
pub(crate) struct Arrivals {
    count: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Arrival>>,
}

impl Arrivals {
    /// Returns once it stands at the end of every partition: what comes from now on is seen.
    pub(crate) fn start(kafka: &str, topic: &str, is_answer: IsAnswer) -> Self {
        let consumer: BaseConsumer = consumer_config(kafka, "bench-centre").create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), SOON).expect("the alerts topic");
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            let (_, end) = consumer.fetch_watermarks(topic, partition.id(), SOON).expect("a partition's end");
            list.add_partition_offset(topic, partition.id(), Offset::Offset(end)).expect("a partition of the topic");
        }
        consumer.assign(&list).expect("an assignment");
        let (count, ending) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (count, ending) = (Arc::clone(&count), Arc::clone(&ending));
            std::thread::Builder::new().name("arrivals".into()).spawn(move || read(&consumer, is_answer, &count, &ending))
        };
        Self { count, ending, thread: thread.expect("a thread") }
    }

    /// Waits until so many answers have come, and gives them.
    pub(crate) fn finish(self, wanted: usize, within: Duration) -> Vec<Arrival> {
        wait_for(within, "the alerts of all marks", || {
            let count = self.count.load(Ordering::Relaxed);
            if count >= wanted { Ok(()) } else { Err(format!("{count} of {wanted}")) }
        });
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().expect("the thread of the arrivals")
    }
}

fn read(consumer: &BaseConsumer, is_answer: IsAnswer, count: &AtomicUsize, ending: &AtomicBool) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut seen = BTreeSet::new();
    while !ending.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(TURN) else { continue };
        let at = clock::now();
        let message = message.expect("the alerts topic can be read");
        let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        let Some(device) = key.strip_prefix(MARKED).and_then(|number| number.parse().ok()) else { continue };
        let json: Value = serde_json::from_slice(message.payload().unwrap_or_default()).expect("a centre reads JSON");
        // Delivery is at least once: the first copy counts.
        if is_answer(&json) && seen.insert((device, json["id"].to_string())) {
            let produced_at = message.timestamp().to_millis().expect("Kafka keeps the producer's time on alerts topics");
            arrivals.push(Arrival { device, at, produced_at });
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    arrivals
}
