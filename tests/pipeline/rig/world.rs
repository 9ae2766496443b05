//! What a test lives in: Kafka, Mosquitto, and names of its own.

use std::sync::{Arc, OnceLock};

use super::kafka::Kafka;
use super::mosquitto::{Mosquitto, MosquittoOptions};

/// A test's world.
pub struct World {
    /// The Kafka that all tests share, or one of the test's own.
    pub kafka: Arc<Kafka>,
    /// The test's own Mosquitto.
    pub mosquitto: Mosquitto,
    /// What the names of the test's Kafka topics, consumer groups and transactional ids begin with.
    pub prefix: String,
}

impl World {
    /// The shared Kafka and a fresh Mosquitto. The name becomes the prefix; each test has its own.
    pub fn new(name: &str) -> Self {
        Self::with(name, shared_kafka(), &MosquittoOptions::default())
    }

    /// A Kafka of the test's own (about 10 s), for tests that stop, kill or freeze it.
    pub fn with_own_kafka(name: &str) -> Self {
        Self::with(name, Arc::new(Kafka::start()), &MosquittoOptions::default())
    }

    /// The shared Kafka and a Mosquitto configured otherwise.
    pub fn with_mosquitto(name: &str, options: &MosquittoOptions) -> Self {
        Self::with(name, shared_kafka(), options)
    }

    fn with(name: &str, kafka: Arc<Kafka>, options: &MosquittoOptions) -> Self {
        Self { kafka, mosquitto: Mosquitto::start_with(options), prefix: name.to_owned() }
    }

    /// A Kafka topic of this test.
    pub fn kafka_topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }
}

/// One Kafka for all tests of the binary. Statics are never dropped: the watchdog ends it when this process ends.
fn shared_kafka() -> Arc<Kafka> {
    static SHARED: OnceLock<Arc<Kafka>> = OnceLock::new();
    SHARED.get_or_init(|| Arc::new(Kafka::start())).clone()
}
