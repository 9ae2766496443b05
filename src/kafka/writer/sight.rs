//! Whether a producer has lost sight of Kafka: Kafka answers a new client, and not that one.
//!
//! After an outage from which no broker was back yet, librdkafka 2.12 may forget them all and look for none again (docs/TRAPS.md). From
//! within that looks like the outage, so a new client is asked first. What asks may wait: it has a thread of its own.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::{Producer, instant};
use crate::kafka::cluster::bare_client;
use crate::limits;

/// How long a new client waits for Kafka's answer; and the least time from one look to the next.
const ANSWER: Duration = Duration::from_millis(limits::KAFKA_SILENT_MILLIS.unsigned_abs());
/// How long the producer has then.
const SIGHT: Duration = Duration::from_millis(limits::KAFKA_SIGHT_MILLIS);
/// A Kafka that names no broker yet is asked again after this.
const AGAIN: Duration = Duration::from_millis(200);

/// A look at one producer.
pub(super) struct Look {
    began: Instant,
    thread: Option<JoinHandle<bool>>,
}

impl Look {
    /// Begins to ask Kafka about `topic`: first a new client of this `config`, then the producer.
    pub(super) fn begin(config: &ClientConfig, topic: &str, producer: Arc<Producer>) -> Self {
        let (config, topic) = (config.clone(), topic.to_owned());
        let look = move || kafka_answers(&config, &topic) && has_no_broker(&producer, &topic);
        let thread = std::thread::Builder::new().name("kafka-sight".to_owned()).spawn(look);
        if let Err(fault) = &thread {
            tracing::warn!(target: "kafka", %fault, "cannot look whether a producer sees Kafka");
        }
        Self { began: instant(), thread: thread.ok() }
    }

    /// Whether it has shown that the producer does not see Kafka. Said once.
    pub(super) fn shows_blindness(&mut self) -> bool {
        let ended = self.thread.take_if(|thread| thread.is_finished());
        // One that panicked has shown nothing, and has said so itself; the next looks again.
        ended.is_some_and(|thread| thread.join().is_ok_and(|is_blind| is_blind))
    }

    /// Whether the next may begin.
    pub(super) fn is_over(&self) -> bool {
        self.thread.is_none() && instant().saturating_duration_since(self.began) >= ANSWER
    }
}

/// Whether the producer finds nobody to ask. An answer that is only late may stand behind its own records: nothing is gained by a new one.
fn has_no_broker(producer: &Producer, topic: &str) -> bool {
    let told = producer.client().fetch_metadata(Some(topic), SIGHT);
    told.is_err_and(|error| error.rdkafka_error_code() == Some(Code::BrokerTransportFailure))
}

/// Whether Kafka tells a new client of a broker.
fn kafka_answers(config: &ClientConfig, topic: &str) -> bool {
    let client = match bare_client(config) {
        Ok(client) => client,
        Err(fault) => {
            tracing::warn!(target: "kafka", %fault, "cannot open a client that looks whether Kafka answers");
            return false;
        }
    };
    let deadline = instant() + ANSWER;
    loop {
        let left = deadline.saturating_duration_since(instant());
        match client.fetch_metadata(Some(topic), left) {
            Ok(told) if !told.brokers().is_empty() => return true,
            Ok(_) if left > AGAIN => std::thread::park_timeout(AGAIN),
            Ok(_) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
impl Look {
    /// What it shows.
    pub(super) fn wait(self) -> bool {
        self.thread.unwrap().join().unwrap()
    }
}
