//! Where Kafka is, and the settings that every client of ours shares. Role by role, the other files add theirs on top.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaType;
use rdkafka::{ClientContext, Statistics};

use super::fault::Fault;
use super::handle::Handle;

/// A Kafka cluster, as the configuration names it.
#[derive(Clone)]
pub struct Cluster {
    brokers: String,
    options: BTreeMap<String, String>,
    embedded: bool,
}

/// Options hold secrets: their names are shown, their values never.
impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.options.keys().collect();
        f.debug_struct("Cluster").field("brokers", &self.brokers).field("options", &options).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster behind `brokers` (`host:port`, separated by commas). `options` are librdkafka properties of the operator:
    /// how to reach the brokers (TLS, SASL), never what we must own (`config` refuses those).
    pub fn new(brokers: &str, options: BTreeMap<String, String>) -> Self {
        Self { brokers: brokers.to_owned(), options, embedded: false }
    }

    /// librdkafka's mock cluster, for `demo` and tests. It stamps no append time, so the producer's stamp counts as one; and it
    /// holds every fetch for the full wait, so the wait is short.
    pub fn embedded(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned(), options: BTreeMap::new(), embedded: true }
    }

    /// Whether this is the embedded mock cluster.
    pub fn is_embedded(&self) -> bool {
        self.embedded
    }

    /// The brokers as configured, for messages to the operator.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Whether Kafka's client takes the options at all. Asks nobody.
    ///
    /// # Errors
    /// A lasting [`Fault`] that names the property: no waiting helps.
    pub fn try_options(&self) -> Result<(), Fault> {
        let opened = bare_client(&self.client("lonewatch-options"));
        opened.map(drop).map_err(|error| Fault::of(&error, "kafka.options"))
    }

    /// What all clients share. The reconnect and connection times are a tenth of librdkafka's: a press waits for them.
    pub(super) fn client(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("retry.backoff.ms", "50");
        for (key, value) in &self.options {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers).set("client.id", client_id);
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// What all consumers share: no position is ever taken or stored behind our back, and no fetch backs off for a second.
    pub(super) fn consumer(&self, client_id: &str, group: &str) -> ClientConfig {
        let mut config = self.client(client_id);
        config
            .set("group.id", group)
            .set("allow.auto.create.topics", "false")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", if self.embedded { "5" } else { "500" })
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "50");
        config
    }
}

/// A client that neither reads nor writes: it only asks.
pub(super) fn bare_client(config: &ClientConfig) -> KafkaResult<Handle<Client<Logged>>> {
    let native = config.create_native_config()?;
    Client::new(config, native, RDKafkaType::RD_KAFKA_PRODUCER, Logged).map(Handle::new)
}

/// The callbacks of clients that need no more than a log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Logged;

/// Passes librdkafka's own log on, under one target. It repeats itself in an outage, so it stays below what an operator reads by
/// default; the roles say once what a fault means.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::debug!(target: "kafka", facility, "{line}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::trace!(target: "kafka", facility, "{line}");
        }
    }
}

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // The same comes back from `poll`, to who knows what it means.
        tracing::debug!(target: "kafka", %error, "{reason}");
    }
}

impl rdkafka::consumer::ConsumerContext for Logged {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::FaultKind;

    #[test]
    fn options_that_no_client_takes_are_named_and_their_values_are_not() {
        let tried = |property: &str, value: &str| {
            let options = BTreeMap::from([(property.to_owned(), value.to_owned())]);
            Cluster::new("127.0.0.1:1", options).try_options()
        };
        assert_eq!(tried("security.protocol", "plaintext"), Ok(()));
        for (property, value) in [
            ("securty.protocol", "plaintext"),
            ("security.protocol", "ssl"),
            ("sasl.passwrd", "s3cret"),
            ("socket.timeout.ms", "x"),
        ] {
            let fault = tried(property, value).expect_err(property);
            assert_eq!(fault.kind, FaultKind::Lasting);
            assert!(fault.text.contains(property) && !fault.text.contains("s3cret"), "{fault}");
        }
    }
}
