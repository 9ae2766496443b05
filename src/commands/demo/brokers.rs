//! The demonstration's brokers, inside of this process: rumqttd for MQTT, librdkafka's mock cluster for Kafka.
//!
//! Both keep everything in memory and forget it with the process: no claim about durability, retention or Kafka's own times
//! rests on them. Their threads have no way to be stopped; they end with the process.

use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use crate::limits;

/// Connections that the embedded MQTT broker takes; it drops those beyond without a word (and once panicked): stay well below.
pub const MQTT_CONNECTIONS_MAX: usize = 8_192;
/// Memory for each MQTT filter: at 50 reports a second this holds more than ten minutes, after which a reader that hangs loses the oldest.
const SEGMENT_BYTES: usize = 1024 * 1024;
const SEGMENTS: usize = 10;
/// Attempts to find a free port: between asking for one and the broker's own bind another program may take it.
const PORTS_TRIED: usize = 5;
/// How long a broker may take until it listens.
const LISTEN_POLLS: usize = 500;
const LISTEN_POLL_MILLIS: u64 = 10;
/// And until it answers.
const ANSWER: Duration = Duration::from_secs(1);

/// Why an embedded broker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum BrokerFault {
    /// No port, no thread or no listener.
    #[error("the embedded MQTT broker cannot listen on a loopback port: {0}")]
    Listen(String),
    /// The mock cluster refuses.
    #[error("the embedded Kafka cluster cannot start: {0}")]
    Kafka(#[from] KafkaError),
}

/// A MQTT 5 broker on a free loopback port, until the process ends.
#[derive(Debug)]
pub struct EmbeddedMqtt {
    port: u16,
}

impl EmbeddedMqtt {
    /// Starts the broker and returns once it listens.
    ///
    /// # Errors
    /// [`BrokerFault::Listen`] where no loopback port can be had.
    pub async fn start() -> Result<Self, BrokerFault> {
        let mut last = String::from("no port was tried");
        for _ in 0..PORTS_TRIED {
            match Self::start_on(free_port()?).await {
                Ok(broker) => return Ok(broker),
                Err(fault) => last = fault,
            }
        }
        Err(BrokerFault::Listen(last))
    }

    async fn start_on(port: u16) -> Result<Self, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut broker = Broker::new(config(address));
        let server = thread::Builder::new().name("demo-mqtt".to_owned()).spawn(move || drop(broker.start()));
        let server = server.map_err(|fault| fault.to_string())?;
        for _ in 0..LISTEN_POLLS {
            if server.is_finished() {
                return Err(format!("port {port} was taken meanwhile"));
            }
            if answers(port).await {
                return Ok(Self { port });
            }
            tokio::time::sleep(Duration::from_millis(LISTEN_POLL_MILLIS)).await;
        }
        Err(format!("nothing listens on port {port}"))
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Whether an MQTT broker answers there. A connection alone proves nothing: on a free port it may be one to itself, or another program's.
async fn answers(port: u16) -> bool {
    let options = MqttOptions::new("_start", Ipv4Addr::LOCALHOST.to_string(), port);
    let (_client, mut events) = AsyncClient::new(options, 1);
    let answer = tokio::time::timeout(ANSWER, events.poll()).await;
    matches!(answer, Ok(Ok(Event::Incoming(Packet::ConnAck(_)))))
}

fn free_port() -> Result<u16, BrokerFault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|fault| BrokerFault::Listen(fault.to_string()))
}

#[allow(clippy::disallowed_types, reason = "rumqttd asks for a HashMap; it holds one entry")]
fn config(address: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: limits::BROKER_PAYLOAD_BYTES_MAX,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings { name: "demo".to_owned(), listen: address, tls: None, next_connection_delay_ms: 0, connections };
    let router = RouterConfig {
        max_connections: MQTT_CONNECTIONS_MAX,
        // The broker's own window of messages in flight is 100, whatever a client asks for.
        max_outgoing_packet_count: 100,
        max_segment_size: SEGMENT_BYTES,
        max_segment_count: SEGMENTS,
        ..RouterConfig::default()
    };
    Config { id: 0, router, v5: Some(std::collections::HashMap::from([("demo".to_owned(), server)])), ..Config::default() }
}

/// A Kafka cluster of one broker, as far as librdkafka's mock goes, to the end of the process: taking it down has no deadline (docs/TRAPS.md).
pub struct EmbeddedKafka {
    cluster: ManuallyDrop<MockCluster<'static, DefaultProducerContext>>,
}

impl EmbeddedKafka {
    /// Starts the cluster with these Kafka topics and numbers of partitions.
    ///
    /// # Errors
    /// [`BrokerFault::Kafka`] where the mock cluster refuses.
    pub fn start(topics: &[(String, i32)]) -> Result<Self, BrokerFault> {
        let cluster = ManuallyDrop::new(MockCluster::new(1)?);
        for (name, partitions) in topics {
            cluster.create_topic(name, *partitions, 1)?;
        }
        Ok(Self { cluster })
    }

    /// `host:port` for clients.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}

#[cfg(test)]
#[path = "brokers_tests.rs"]
mod tests;
