//! A lane between an MQTT broker that does as it is told and a Kafka whose partitions lose their leader.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use bytes::BytesMut;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, SubAck, SubscribeReasonCode};

use super::super::probe::Probe;
use super::*;
use crate::alert::Lane;
use crate::config::Settings;
use crate::ids::{CentreName, Incarnation, IngesterName};
use crate::kafka::{Cluster, TopicNames};
use crate::shutdown::Shutdown;
use crate::time::ProbeMillis;

const ALERTS: &str = "lonewatch.alerts.north";
const INCARNATION: Incarnation = Incarnation(7);
const SOON: Duration = Duration::from_secs(30);

#[allow(clippy::disallowed_methods, reason = "a test measures how long it waits")]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < SOON, "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// The broker's end of a lane's connection.
struct Broker {
    stream: TcpStream,
    input: BytesMut,
    packet_id: u16,
    /// Packets that the lane lets the broker send before it acknowledges any.
    receive_maximum: u16,
}

impl Broker {
    /// Accepts the lane and grants its filters.
    fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut broker = Self { stream, input: BytesMut::new(), packet_id: 0, receive_maximum: 0 };
        let Packet::Connect(connect, ..) = broker.next() else { panic!("a lane introduces itself first") };
        broker.receive_maximum = connect.properties.and_then(|asked| asked.receive_maximum).unwrap_or(u16::MAX);
        broker.put(&Packet::ConnAck(ConnAck { session_present: true, code: ConnectReturnCode::Success, properties: None }));
        let Packet::Subscribe(subscribe) = broker.next() else { panic!("a lane subscribes first") };
        let return_codes = subscribe.filters.iter().map(|_| SubscribeReasonCode::Success(QoS::AtLeastOnce)).collect();
        broker.put(&Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes, properties: None }));
        broker
    }

    fn put(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    fn next(&mut self) -> Packet {
        let mut bytes = [0; 4096];
        loop {
            if let Ok(packet) = Packet::read(&mut self.input, None) {
                return packet;
            }
            let count = self.stream.read(&mut bytes).expect("the lane is heard");
            assert!(count > 0, "the connection was given up");
            self.input.extend_from_slice(&bytes[..count]);
        }
    }

    fn publish(&mut self, mqtt_topic: &str, qos: QoS, payload: &[u8]) {
        let mut publish = Publish::new(mqtt_topic, qos, payload.to_vec(), None);
        if qos != QoS::AtMostOnce {
            self.packet_id += 1;
            assert!(self.packet_id <= self.receive_maximum, "the broker may hand over no more");
            publish.pkid = self.packet_id;
        }
        self.put(&Packet::Publish(publish));
    }

    fn probe(&mut self, number: u64) {
        let probe = Probe { incarnation: INCARNATION, number, sent_at: ProbeMillis::new(clock::wall_millis()) };
        self.publish("lw/v1/_probe-a/duress", QoS::AtLeastOnce, probe.to_string().as_bytes());
    }

    /// The packet id of the next acknowledgement.
    fn acknowledged(&mut self) -> u16 {
        loop {
            if let Packet::PubAck(answer) = self.next() {
                return answer.pkid;
            }
        }
    }
}

/// A lane at work for one feed, whose fallback centre is `north`.
struct Rig {
    mock: crate::kafka::MockKafka,
    listener: TcpListener,
    health: Health,
    shutdown: Shutdown,
    lane: std::thread::JoinHandle<()>,
}

pub(super) fn kafka() -> crate::kafka::MockKafka {
    let mock = crate::kafka::mock(1);
    for topic in ["lonewatch.journal", "lonewatch.quarantine", ALERTS] {
        mock.create_topic(topic, 2, 1).unwrap();
    }
    mock
}

/// What the lane is made of whose MQTT broker is at this port.
pub(super) fn parts(brokers: &str, port: u16, health: &Health, ending: Ending) -> Parts {
    let text = format!(
        "[kafka]\nbrokers = \"k:1\"\n[ingest]\nname = \"a\"\n[[ingest.feeds]]\nname = \"main\"\nurl = \"mqtt://127.0.0.1:{port}\"\n"
    );
    let feed = Settings::load(&text, []).unwrap().ingest().unwrap().feeds[0].clone();
    let partitions = PartitionCount::new(2).unwrap();
    let (writer, deliveries) = Writer::open(&Cluster::embedded(brokers), "lane", Lane::Duress.urgency(), partitions).unwrap();
    Parts {
        endpoint: Endpoint { host: feed.host.clone(), port: feed.port, credentials: None },
        post: Post {
            feed,
            lane: Lane::Duress,
            ingester: IngesterName::parse("a").unwrap(),
            incarnation: INCARNATION,
            topics: Arc::new(TopicNames::new("lonewatch")),
            fallback_centre: CentreName::parse("north").unwrap(),
        },
        writer,
        deliveries,
        rulebook: watch::channel(Arc::new(Rulebook::empty())).1,
        receipts: mpsc::channel(10).0,
        probes_sent: ProbesSent::default(),
        twin: Twin::new(Now::read()),
        partitions,
        health: health.clone(),
        ending,
    }
}

impl Rig {
    fn start() -> Self {
        let (mock, health) = (kafka(), Health::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (shutdown, ending) = Shutdown::new();
        let parts = parts(&mock.bootstrap_servers(), listener.local_addr().unwrap().port(), &health, ending);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lane = std::thread::spawn(move || runtime.block_on(LaneTask::new(parts).run()));
        Self { mock, listener, health, shutdown, lane }
    }

    fn says(&self, start: &str) -> bool {
        self.health.report().1.iter().any(|line| line.starts_with(start))
    }

    /// How many records a partition holds.
    fn stored(&self, topic: &str, partition: i32) -> i64 {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.mock.bootstrap_servers()).set("group.id", "test");
        let consumer: BaseConsumer = config.create().unwrap();
        let (low, high) = consumer.fetch_watermarks(topic, partition, SOON).unwrap();
        high - low
    }
}

/// A device of each of the two partitions.
fn devices() -> [String; 2] {
    let partitions = PartitionCount::new(2).unwrap();
    [0, 1].map(|partition| {
        let names = (0..).map(|n| format!("dev-{n}"));
        names.into_iter().find(|name| partitions.of(name) == Partition(partition)).unwrap()
    })
}

#[test]
fn a_press_whose_partition_has_no_leader_holds_up_no_other_and_nobody_looks_ready() {
    let rig = Rig::start();
    rig.mock.partition_leader(ALERTS, 0, None).unwrap();
    let mut broker = Broker::accept(&rig.listener);
    let [waits, alerts] = devices().map(|device| format!("lw/v1/{device}/duress"));
    broker.publish(&waits, QoS::AtLeastOnce, b"{}");
    for number in 1..=1_100 {
        broker.probe(number);
    }
    broker.publish(&alerts, QoS::AtLeastOnce, b"{}");
    wait_until("the press of the other partition", || rig.stored(ALERTS, 1) == 1);
    assert!(rig.says("feed main lane duress: NOT READY"), "its probes are back, and prove nothing before they are acknowledged");
    wait_until("Kafka's silence to be said", || rig.says("feed main lane duress to Kafka: NOT READY"));
    rig.mock.partition_leader(ALERTS, 0, Some(1)).unwrap();
    for packet_id in 1..=1_102 {
        assert_eq!(broker.acknowledged(), packet_id);
    }
    wait_until("readiness", || rig.health.report().0);
    rig.shutdown.end();
    wait_until("the end", || rig.lane.is_finished());
    assert_eq!(rig.stored(ALERTS, 0), 1);
}

#[test]
fn a_journal_partition_without_a_leader_is_owed_one_observation() {
    let rig = Rig::start();
    rig.mock.partition_leader("lonewatch.journal", 0, None).unwrap();
    let mut broker = Broker::accept(&rig.listener);
    for number in 1..=100 {
        broker.probe(number);
        assert_eq!(u64::from(broker.acknowledged()), number);
    }
    rig.mock.partition_leader("lonewatch.journal", 0, Some(1)).unwrap();
    wait_until("the observations of both partitions", || rig.stored("lonewatch.journal", 0) > 1);
    rig.shutdown.end();
    wait_until("the end", || rig.lane.is_finished());
    assert_eq!(rig.stored("lonewatch.journal", 0), 2, "the first, and one for all that came meanwhile");
}

#[test]
fn a_press_at_qos_0_is_stored_although_the_end_comes_while_disconnected() {
    let rig = Rig::start();
    let mut broker = Broker::accept(&rig.listener);
    rig.mock.broker_down(1).unwrap();
    let [device, _] = devices();
    broker.publish(&format!("lw/v1/{device}/duress"), QoS::AtMostOnce, b"{}");
    broker.probe(1);
    wait_until("Kafka's silence to be said", || rig.says("feed main lane duress to Kafka: NOT READY"));
    drop(broker);
    let over = |line: &String| line.starts_with("feed main lane duress: NOT READY") && !line.contains("subscribed");
    wait_until("the connection to be over", || rig.health.report().1.iter().any(over));
    rig.shutdown.end();
    // Without a wait of its own it would be over by the next look that a connection takes.
    let began = clock::steady_millis();
    wait_until("half a second", || clock::steady_millis() - began > 500);
    assert!(!rig.lane.is_finished(), "it waits for Kafka");
    rig.mock.broker_up(1).unwrap();
    wait_until("the end", || rig.lane.is_finished());
    assert_eq!(rig.stored(ALERTS, 0), 1);
}

#[test]
fn what_leaves_no_record_is_bounded_too() {
    let (mock, ending) = (kafka(), Shutdown::new().1);
    let mut lane = LaneTask::new(parts(&mock.bootstrap_servers(), 1, &Health::default(), ending));
    let mut ring = AckRing::new(0);
    for number in 1..=limits::MESSAGES_WAITING_MAX as u64 {
        assert!(lane.reads(&ring));
        let probe = Probe { incarnation: INCARNATION, number, sent_at: ProbeMillis::new(0) };
        lane.message(Publish::new("lw/v1/_probe-b/duress", QoS::AtMostOnce, probe.to_string(), None), &mut ring);
    }
    assert!(lane.parts.writer.has_room() && !lane.reads(&ring));
}

/// A lane that nobody runs, and what waits for a press of a centre other than the fallback.
fn pressed(health: &Health) -> (crate::kafka::MockKafka, LaneTask, AckRing<Waiting>, Ticket, Arc<str>) {
    let (mock, ending) = (kafka(), Shutdown::new().1);
    let lane = LaneTask::new(parts(&mock.bootstrap_servers(), 1, health, ending));
    let topic: Arc<str> = Arc::from("lonewatch.alerts.south");
    let express = Outgoing {
        topic: Arc::clone(&topic),
        partition: None,
        key: "dev-1".into(),
        payload: b"{}".to_vec(),
        keep: Keep::WhileRoom,
    };
    let waiting = Waiting {
        publish: Publish::new("lw/v1/dev-1/duress", QoS::AtLeastOnce, "{}", None),
        device: Some(DeviceId::parse("dev-1").unwrap()),
        kept: Some(("lw/v1/dev-1/duress".into(), Excerpt::of(&"{}".into()))),
        receipt: None,
        press_received_at: Some(0),
        express: Some(express),
        heard: None,
    };
    let mut ring = AckRing::new(0);
    let ticket = ring.push(waiting, vec![Arc::clone(&topic)]);
    (mock, lane, ring, ticket, topic)
}

#[test]
fn a_press_that_is_refused_for_good_goes_to_the_fallback_centre_as_well() {
    let (_mock, lane, mut ring, ticket, topic) = pressed(&Health::default());
    lane.refused(ticket, &topic, RefusedReason::TooLarge, &mut ring);
    ring.done(ticket, "lonewatch.quarantine");
    assert!(ring.pop_done().is_none(), "the fallback centre has it not");
    ring.done(ticket, ALERTS);
    assert!(ring.pop_done().is_some_and(|waiting| waiting.receipt.is_none()));
}

/// It was held and acknowledged, or its connection had ended: nobody heard that it was lost.
#[test]
fn what_is_refused_for_good_is_said_although_no_message_waits_for_it() {
    let health = Health::default();
    let (_mock, lane, _, ticket, topic) = pressed(&health);
    lane.refused(ticket, &topic, RefusedReason::TooLarge, &mut AckRing::new(ticket.0 + 1));
    let said = |line: &String| line.starts_with("feed main lane duress refused: NOT READY: Kafka has refused a record for good");
    assert!(health.report().1.iter().any(said), "{:?}", health.report());
}
