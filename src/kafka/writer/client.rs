//! The writer's hold on librdkafka: one producer, one thread that serves it, and a new producer when the old one is spent.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Message as _, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Statistics};
use tokio::sync::mpsc::UnboundedSender;

use super::drift::Drift;
use super::queue::{Entry, Queues};
use super::sight::Look;
use super::{Delivery, RefusedReason, Urgency};
use crate::clock;
use crate::kafka::cluster::{Cluster, log_line};
use crate::kafka::fault::{Fault, FaultKind, kind_of_code};
use crate::kafka::handle::{self, Handle};
use crate::limits;

/// How long the thread serves the producer before it looks at held queues and at the stop sign. Not shorter: rdkafka's `poll` spins through
/// the last millisecond of each call (docs/TRAPS.md).
const TURN: Duration = Duration::from_millis(250);
/// And while the producer is spent: its successor must not wait.
const SPENT_TURN: Duration = Duration::from_millis(10);
/// How often a flush looks whether anything is awaited still.
const FLUSH_LOOK: Duration = Duration::from_millis(50);
/// A partition of which Kafka settles nothing for so long makes us look whether the producer sees Kafka at all.
const SILENT: Duration = Duration::from_millis(limits::KAFKA_SILENT_MILLIS.unsigned_abs());
/// The least time between two producers: a fault at birth must not spin.
const REBIRTH: Duration = Duration::from_secs(1);

/// No timeout of ours fails a record, order holds through retries, presses wait for no batch, and a broker that is gone is known in seconds.
pub(super) fn config(cluster: &Cluster, client_id: &str, urgency: Urgency) -> ClientConfig {
    let (linger_ms, socket_timeout_ms) = match urgency {
        Urgency::Duress => ("0", "5000"),
        // They have gathered before they are read; this is for one request instead of two.
        Urgency::Reports => ("0.5", "30000"),
    };
    let mut config = cluster.client(client_id);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("linger.ms", linger_ms)
        .set("socket.timeout.ms", socket_timeout_ms)
        .set("queue.buffering.max.messages", (2 * limits::WRITER_PENDING_MAX).to_string())
        .set("topic.metadata.propagation.max.ms", "5000");
    config
}

pub(super) type Producer = Handle<BaseProducer<Answers, NoCustomPartitioner>>;
/// When Kafka appended the record, if it said so; or why it did not.
type Answer = Result<Option<i64>, Code>;

/// What the writer's caller, its thread and librdkafka's callbacks share.
pub(super) struct Shared {
    state: Mutex<State>,
    emptied: Condvar,
    config: ClientConfig,
    outcomes: UnboundedSender<Delivery>,
    /// The embedded broker of the demonstration stamps no append time worth the name.
    keeps_time: bool,
}

struct State {
    queues: Queues,
    producer: Option<Arc<Producer>>,
    /// Counts producers; answers of an earlier one are not heard.
    generation: u64,
    spent: bool,
    /// Set when the producer says that it has no broker, until somebody looks.
    had_no_broker: bool,
    closed: bool,
    trouble: Option<Fault>,
    drift: Drift,
}

/// When Kafka appended a record, by its own clock; none where the topic bears the writer's time.
const fn append_time(timestamp: Timestamp) -> Option<i64> {
    match timestamp {
        Timestamp::LogAppendTime(at) => Some(at),
        Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
    }
}

/// librdkafka's callbacks for one producer.
pub(super) struct Answers {
    shared: Weak<Shared>,
    generation: u64,
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(shared) = self.shared.upgrade() {
            shared.client_error(self.generation, &error, reason);
        }
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let Some(shared) = self.shared.upgrade() else { return };
        let (message, answer) = match result {
            Ok(message) => (message, Ok(append_time(message.timestamp()))),
            Err((error, message)) => (message, Err(error.rdkafka_error_code().unwrap_or(Code::Fail))),
        };
        let Ok(partition) = u32::try_from(message.partition()) else { return };
        shared.answered(self.generation, (message.topic(), partition), number, answer);
    }
}

impl Shared {
    pub(super) fn open(config: ClientConfig, outcomes: UnboundedSender<Delivery>, keeps_time: bool) -> Result<Arc<Self>, Fault> {
        let state = State {
            queues: Queues::default(),
            producer: None,
            generation: 0,
            spent: false,
            had_no_broker: false,
            closed: false,
            trouble: None,
            drift: Drift::default(),
        };
        let shared = Arc::new(Self { state: Mutex::new(state), emptied: Condvar::new(), config, outcomes, keeps_time });
        let producer = shared.new_producer(0).map_err(|error| Fault::of(&error, "opening a Kafka producer"))?;
        shared.lock().producer = Some(Arc::new(producer));
        Ok(shared)
    }

    fn new_producer(self: &Arc<Self>, generation: u64) -> KafkaResult<Producer> {
        Handle::open(&self.config, Answers { shared: Arc::downgrade(self), generation })
    }

    /// A panic elsewhere leaves the queues whole: each change of them is complete before anything that could panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, entry: Entry) {
        let mut state = self.lock();
        let (topic, partition) = state.queues.push(entry);
        self.send_from(&mut state, &topic, partition);
    }

    pub(super) fn pending(&self) -> usize {
        self.lock().queues.pending()
    }

    pub(super) fn clock_off(&self, now_millis: i64) -> i64 {
        self.lock().drift.shown(now_millis)
    }

    pub(super) fn silent_for(&self) -> Option<Duration> {
        let state = self.lock();
        state.queues.silent_since().map(|(since, _)| instant().saturating_duration_since(since))
    }

    /// A look at the producer, begun because it had no broker for a moment, or because Kafka has settled nothing of a partition for too long.
    fn look(&self) -> Option<Look> {
        let mut state = self.lock();
        let silent = state.queues.silent_since().filter(|(since, _)| instant().saturating_duration_since(*since) >= SILENT);
        let topic = silent.map(|(_, topic)| topic).or_else(|| state.queues.topic().filter(|_| state.had_no_broker)).cloned()?;
        state.had_no_broker = false;
        let producer = state.producer.clone().filter(|_| !state.spent)?;
        Some(Look::begin(&self.config, &topic, producer))
    }

    /// The producer is of no use any more.
    pub(super) fn spend(&self) {
        self.lock().spent = true;
    }

    pub(super) fn refusing(&self) -> Vec<(Arc<str>, RefusedReason)> {
        self.lock().queues.refusing(instant())
    }

    pub(super) fn trouble(&self) -> Option<Fault> {
        self.lock().trouble.clone()
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    pub(super) fn wait_until_empty(&self, within: Duration) -> bool {
        let began = instant();
        let mut state = self.lock();
        while state.queues.awaited() > 0 {
            let left = within.saturating_sub(instant().saturating_duration_since(began));
            if left.is_zero() {
                break;
            }
            // Nobody says so when the last that is awaited turns out to be refused: looked at now and then.
            let waited = self.emptied.wait_timeout(state, left.min(FLUSH_LOOK));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.queues.pending() == 0
    }

    /// Hands the producer all of this queue that may go out. Called with the lock held, so that no later record passes by.
    fn send_from(&self, state: &mut State, topic: &str, partition: u32) {
        let Some(producer) = state.producer.clone() else { return };
        while !state.spent {
            let Some(entry) = state.queues.next_to_send(topic, partition) else { return };
            let number = entry.number;
            let record = BaseRecord::with_opaque_to(topic, number)
                .partition(i32::try_from(partition).unwrap_or(i32::MAX))
                .key(entry.key.as_bytes())
                .payload(entry.payload.as_slice());
            if let Err((error, _)) = producer.send(record) {
                let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                self.settle(state, (topic, partition), number, Err(code));
            }
        }
    }

    fn answered(&self, generation: u64, place: (&str, u32), number: usize, answer: Answer) {
        let mut state = self.lock();
        if state.generation == generation {
            self.settle(&mut state, place, number, answer);
            // Where records go one by one, the next has waited for this.
            self.send_from(&mut state, place.0, place.1);
        }
    }

    fn settle(&self, state: &mut State, place: (&str, u32), number: usize, answer: Answer) {
        state.trouble = match answer {
            Ok(_) => None,
            Err(code) => Some(Fault::new(kind_of_code(code), format!("writing {}: {code}", place.0))),
        };
        state.spent |= answer.is_err_and(|code| kind_of_code(code) == FaultKind::Fatal);
        if let Some(delivery) = state.queues.answered(place, number, answer.map(|_| ()), instant()) {
            if self.keeps_time
                && let Ok(Some(appended_at)) = answer
            {
                state.drift.note(delivery.written_at, appended_at, clock::wall_millis());
            }
            self.tell(state, delivery);
        }
    }

    fn tell(&self, state: &State, delivery: Delivery) {
        // The receiver goes first only when the whole lane is torn down; then nobody waits for outcomes.
        let _torn_down = self.outcomes.send(delivery);
        if state.queues.pending() == 0 {
            self.emptied.notify_all();
        }
    }

    fn client_error(&self, generation: u64, error: &KafkaError, reason: &str) {
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        let fault =
            Fault::new(error.rdkafka_error_code().map_or(FaultKind::Passing, kind_of_code), format!("{error} ({reason})"));
        state.spent |= fault.kind == FaultKind::Fatal;
        state.had_no_broker |= error.rdkafka_error_code() == Some(Code::AllBrokersDown);
        // Once for each trouble: librdkafka repeats itself every second of an outage.
        if state.trouble.is_none() || fault.kind == FaultKind::Fatal {
            tracing::warn!(target: "kafka", kind = fault.kind.as_str(), "producer: {fault}");
        }
        state.trouble = Some(fault);
    }

    /// One turn of the thread; false when the writer is closed.
    fn turn(self: &Arc<Self>) -> bool {
        let (producer, turn) = {
            let state = self.lock();
            (state.producer.clone(), if state.spent { SPENT_TURN } else { TURN })
        };
        if let Some(producer) = producer {
            producer.poll(turn);
        }
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        self.release(&mut state);
        true
    }

    /// Sends what is held and due.
    fn release(&self, state: &mut State) {
        let (released, refused) = state.queues.release(instant());
        for delivery in refused {
            self.tell(state, delivery);
        }
        for (topic, partition) in released {
            self.send_from(state, &topic, partition);
        }
    }

    /// Puts a new producer in the place of a spent one and sends all that is unacknowledged again, in order.
    fn renew(self: &Arc<Self>) -> KafkaResult<()> {
        let (generation, spent) = {
            let state = self.lock();
            (state.generation + 1, state.producer.clone())
        };
        let fresh = Arc::new(self.new_producer(generation)?);
        // What the old one still has must not be stored after what the new one sends. Nobody gives it more: it is spent.
        if let Some(spent) = spent {
            spent.purge(PurgeConfig::default().queue().inflight().non_blocking());
        }
        let mut state = self.lock();
        let spent = state.producer.replace(fresh);
        state.generation = generation;
        state.spent = false;
        state.queues.send_all_again(instant());
        tracing::warn!(target: "kafka", client = self.client_id(), pending = state.queues.pending(), "the producer was spent: a new one sends what is unacknowledged");
        // At once: a press may be among it.
        self.release(&mut state);
        drop(state);
        // It calls back for all that was purged, and takes its time: nobody waits for it.
        drop(spent.map(handle::close));
        Ok(())
    }

    fn client_id(&self) -> &str {
        self.config.get("client.id").unwrap_or_default()
    }

    fn is_spent(&self) -> bool {
        self.lock().spent
    }
}

/// The thread that serves the producer. It ends when the writer is closed.
pub(super) fn start_thread(shared: &Arc<Shared>) -> Result<JoinHandle<()>, Fault> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("kafka-writer".into())
        .spawn(move || serve(&shared))
        .map_err(|error| Fault::new(FaultKind::Lasting, format!("starting the writer's thread: {error}")))
}

fn serve(shared: &Arc<Shared>) {
    let mut born = None::<Instant>;
    let mut look = None::<Look>;
    while shared.turn() {
        if look.as_mut().is_some_and(Look::shows_blindness) {
            tracing::warn!(target: "kafka", client = shared.client_id(), "Kafka answers a new client, and not this producer");
            shared.spend();
        }
        let is_younger = |than: Duration| born.is_some_and(|at| instant().saturating_duration_since(at) < than);
        // A new one has time to connect, however long its records have waited.
        if !is_younger(SILENT) && look.as_ref().is_none_or(Look::is_over) {
            look = shared.look();
        }
        if !shared.is_spent() || is_younger(REBIRTH) {
            continue;
        }
        born = Some(instant());
        match shared.renew() {
            // What is still looked at is the one before: it says nothing of the new one.
            Ok(()) => look = None,
            Err(error) => tracing::error!(target: "kafka", %error, "no new producer; trying again"),
        }
    }
    let last = shared.lock().producer.take();
    drop(last);
}

#[allow(clippy::disallowed_methods, reason = "waits and ages are measured on the monotonic clock")]
pub(super) fn instant() -> Instant {
    Instant::now()
}

#[cfg(test)]
impl Shared {
    /// Acts as if the producer had lost sight of Kafka: it looks where there is none.
    pub(super) fn blind(self: &Arc<Self>) {
        let mut config = self.config.clone();
        config.set("bootstrap.servers", "127.0.0.1:1");
        let mut state = self.lock();
        let answers = Answers { shared: Arc::downgrade(self), generation: state.generation };
        state.producer = Some(Arc::new(Handle::open(&config, answers).unwrap()));
    }

    /// Has the producer ask which brokers there are.
    pub(super) fn ask_for_brokers(&self, within: Duration) {
        let producer = self.lock().producer.clone().unwrap();
        producer.client().fetch_metadata(None, within).unwrap();
    }

    /// What a look at the producer shows, with the Kafka of this address.
    pub(super) fn is_blind(&self, brokers: &str) -> bool {
        let mut config = self.config.clone();
        config.set("bootstrap.servers", brokers);
        let producer = self.lock().producer.clone().unwrap();
        Look::begin(&config, "t", producer).wait()
    }

    /// How many records are with the producer.
    pub(super) fn under_way(&self) -> usize {
        self.lock().queues.under_way()
    }

    /// How many producers were spent.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }
}
