//! The floor: the same hops with the same libraries and settings, and nothing in between. Two processes, as ours.
//!
//! `null-ingest` reads MQTT, writes each message to its Kafka topics as it is, and acknowledges in receive order once Kafka has it.
//! `null-detect` reads the journal and forwards, unread, what devices with a marked name have sent. Nothing is decoded, decided,
//! retried, counted or logged; whatever goes wrong ends the process, and with it the run.
#![allow(clippy::disallowed_methods, reason = "clients as rdkafka opens them: a floor has no more")]

use std::collections::VecDeque;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, ProducerContext, ThreadedProducer};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::marks::MARKED;
use crate::{clock, say};

/// How long one look at Kafka may take.
const TURN: Duration = Duration::from_millis(50);
/// Mosquitto 2.0.11 hands out a backlog past the receive maximum, and the client sends one acknowledgement for every ten messages that it
/// reads meanwhile: the floor has room for all of them.
const REQUESTS_MAX: usize = 10_000_000;
/// As our detector commits.
const COMMIT: Duration = Duration::from_secs(1);

/// Where the brokers are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct IngestOpts {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    kafka: String,
    #[arg(long)]
    journal: String,
    #[arg(long)]
    alerts: String,
}

/// Where Kafka is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DetectOpts {
    #[arg(long)]
    kafka: String,
    #[arg(long)]
    journal: String,
    #[arg(long)]
    alerts: String,
}

/// One lane of the null ingest.
struct Lane {
    name: &'static str,
    filter: &'static str,
    linger_ms: &'static str,
    /// Where each message goes.
    topics: Vec<String>,
}

pub(crate) fn ingest(opts: &IngestOpts) {
    let presses = vec![opts.alerts.clone(), opts.journal.clone()];
    let lanes = [
        Lane { name: "reports", filter: "lw/v1/+/report", linger_ms: "2", topics: vec![opts.journal.clone()] },
        Lane { name: "duress", filter: "lw/v1/+/duress", linger_ms: "0", topics: presses },
    ];
    let threads = lanes.map(|lane| {
        let opts = opts.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        std::thread::Builder::new()
            .name(lane.name.to_owned())
            .spawn(move || runtime.block_on(serve(&opts, lane)))
            .expect("a thread")
    });
    for thread in threads {
        thread.join().expect("a lane of the null pipeline ended");
    }
}

/// A message that waits for Kafka.
struct Waiting {
    publish: Publish,
    outstanding: usize,
}

async fn serve(opts: &IngestOpts, lane: Lane) {
    let (sender, mut answers) = unbounded_channel();
    let producer: ThreadedProducer<Answers> =
        producer_config(&opts.kafka, lane.linger_ms).create_with_context(Answers(sender)).expect("a producer");
    let (client, mut event_loop) = connect(opts.port, lane.name);
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    let mut first = 0;
    loop {
        tokio::select! {
            biased;
            answered = answers.recv() => {
                let number = answered.expect("the producer lives");
                waiting[number - first].outstanding -= 1;
                while waiting.front().is_some_and(|waiting| waiting.outstanding == 0) {
                    let done = waiting.pop_front().expect("there is one");
                    first += 1;
                    client.try_ack(&done.publish).expect("room for an acknowledgement");
                }
            }
            event = event_loop.poll() => match event.expect("the MQTT connection holds") {
                Event::Incoming(Packet::ConnAck(_)) => client.try_subscribe(lane.filter, QoS::AtLeastOnce).expect("room"),
                Event::Incoming(Packet::SubAck(_)) => say(&format!("{} subscribed", lane.name)),
                Event::Incoming(Packet::Publish(publish)) => {
                    let number = first + waiting.len();
                    for topic in &lane.topics {
                        send(&producer, topic, &publish, number);
                    }
                    waiting.push_back(Waiting { publish, outstanding: lane.topics.len() });
                }
                Event::Incoming(_) | Event::Outgoing(_) => {}
            },
        }
    }
}

fn send(producer: &ThreadedProducer<Answers>, topic: &str, publish: &Publish, number: usize) {
    let device = publish.topic.split(|byte| *byte == b'/').nth(2).expect("the filter has a third level");
    let record = BaseRecord::with_opaque_to(topic, number).key(device).payload(publish.payload.as_ref());
    producer.send(record).map_err(|(fault, _)| fault).expect("room in the producer");
}

fn connect(port: u16, name: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(format!("null-{name}"), "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(5));
    options.set_manual_acks(true);
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(lonewatch::limits::SESSION_EXPIRY_SECONDS));
    options.set_receive_maximum(Some(lonewatch::limits::RECEIVE_MAXIMUM));
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    AsyncClient::new(options, REQUESTS_MAX)
}

/// Hands the number of a stored record to the lane.
struct Answers(UnboundedSender<usize>);

impl ClientContext for Answers {}

impl ProducerContext<NoCustomPartitioner> for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        assert!(result.is_ok(), "Kafka has every record");
        let _lane_ended = self.0.send(number);
    }
}

pub(crate) fn detect(opts: &DetectOpts) {
    let (sender, answers) = unbounded_channel();
    let producer: ThreadedProducer<Answers> =
        producer_config(&opts.kafka, "0").create_with_context(Answers(sender)).expect("a producer");
    let consumer: BaseConsumer = consumer_config(&opts.kafka, &opts.journal).create().expect("a consumer");
    consumer.subscribe(&[opts.journal.as_str()]).expect("a subscription");
    forward(&consumer, &producer, answers, &opts.alerts);
}

fn forward(
    consumer: &BaseConsumer,
    producer: &ThreadedProducer<Answers>,
    mut answers: UnboundedReceiver<usize>,
    alerts: &str,
) -> ! {
    let mut ready = false;
    let mut commit_at = clock::now();
    loop {
        if let Some(message) = consumer.poll(TURN) {
            let message = message.expect("the journal can be read");
            let key = message.key().expect("every record has a key");
            if key.starts_with(MARKED.as_bytes()) {
                let record = BaseRecord::with_opaque_to(alerts, 0).key(key).payload(message.payload().unwrap_or_default());
                producer.send(record).map_err(|(fault, _)| fault).expect("room in the producer");
            }
        }
        while answers.try_recv().is_ok() {}
        if !ready && consumer.assignment().is_ok_and(|list| list.count() > 0) {
            ready = true;
            say("assigned");
        }
        if clock::now() >= commit_at {
            commit_at += COMMIT;
            // Nothing read yet is no fault.
            let _nothing_yet = consumer.commit_consumer_state(CommitMode::Async);
        }
    }
}

/// Our own client's settings, see `kafka::Cluster` and the writer's `config`.
fn client_config(kafka: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka).set("socket.nagle.disable", "true");
    config
}

fn producer_config(kafka: &str, linger_ms: &str) -> ClientConfig {
    let mut config = client_config(kafka);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", linger_ms)
        // Kafka's own way to a partition, which ours computes.
        .set("partitioner", "murmur2_random");
    config
}

pub(crate) fn consumer_config(kafka: &str, group: &str) -> ClientConfig {
    let mut config = client_config(kafka);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("isolation.level", "read_uncommitted")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.queue.backoff.ms", "10");
    config
}
