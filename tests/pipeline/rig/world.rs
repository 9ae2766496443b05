//! What a test lives in: Kafka, Mosquitto, and names of its own.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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
    /// Held for the test's life.
    _turn: Turn,
}

/// Tests run beside each other, except those that measure time.
#[allow(dead_code, reason = "guards are held, not used")]
pub enum Turn {
    /// Beside others.
    Shared(RwLockReadGuard<'static, ()>),
    /// While no other test has a turn.
    Alone(RwLockWriteGuard<'static, ()>),
}

static TURNS: RwLock<()> = RwLock::new(());

impl Turn {
    /// For what is measured and needs no world.
    pub fn alone() -> Self {
        Self::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn shared() -> Self {
        Self::Shared(TURNS.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl World {
    /// The shared Kafka and a fresh Mosquitto. The name becomes the prefix; each test has its own.
    pub fn new(name: &str) -> Self {
        Self::with(name, shared_kafka, &MosquittoOptions::default())
    }

    /// A Kafka of the test's own (about 10 s), for tests that stop, kill or freeze it.
    pub fn with_own_kafka(name: &str) -> Self {
        Self::with(name, || Arc::new(Kafka::start()), &MosquittoOptions::default())
    }

    /// A Kafka of the test's own and a Mosquitto configured otherwise.
    pub fn with_own_brokers(name: &str, options: &MosquittoOptions) -> Self {
        Self::with(name, || Arc::new(Kafka::start()), options)
    }

    /// The shared Kafka and a Mosquitto configured otherwise.
    pub fn with_mosquitto(name: &str, options: &MosquittoOptions) -> Self {
        Self::with(name, shared_kafka, options)
    }

    /// As [`World::new`], while no other test has a world: for what is measured. A thread never holds two worlds.
    pub fn alone(name: &str) -> Self {
        let turn = Turn::alone();
        Self { kafka: shared_kafka(), mosquitto: Mosquitto::start(), prefix: name.to_owned(), _turn: turn }
    }

    /// These brokers, for a caller that keeps several worlds beside each other.
    pub fn of(kafka: Arc<Kafka>, mosquitto: Mosquitto, name: &str) -> Self {
        let turn = Turn::shared();
        Self { kafka, mosquitto, prefix: name.to_owned(), _turn: turn }
    }

    fn with(name: &str, kafka: impl FnOnce() -> Arc<Kafka>, options: &MosquittoOptions) -> Self {
        // Before Kafka is started: that loads the machine as well.
        let turn = Turn::shared();
        Self { kafka: kafka(), mosquitto: Mosquitto::start_with(options), prefix: name.to_owned(), _turn: turn }
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
