//! That the embedded brokers do what the demonstration needs of real ones.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

#[allow(clippy::disallowed_methods, reason = "a test's deadline")]
fn instant() -> Instant {
    Instant::now()
}

fn client(port: u16, id: &str, clean: bool) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_clean_start(clean).set_session_expiry_interval(Some(limits::SESSION_EXPIRY_SECONDS));
    options.set_receive_maximum(Some(limits::RECEIVE_MAXIMUM)).set_manual_acks(true);
    options.set_keep_alive(Duration::from_secs(limits::KEEP_ALIVE_SECONDS.into()));
    AsyncClient::new(options, limits::CLIENT_REQUESTS_MAX)
}

/// Polls until `wanted` finds what it looks for.
async fn until<T>(events: &mut EventLoop, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
    let find = async {
        loop {
            if let Event::Incoming(packet) = events.poll().await.unwrap()
                && let Some(found) = wanted(packet)
            {
                return found;
            }
        }
    };
    tokio::time::timeout(DEADLINE, find).await.expect("the broker answers in time")
}

async fn subscribe(client: &AsyncClient, events: &mut EventLoop, filter: &str) -> bool {
    client.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
    let mut present = false;
    let codes = until(events, |packet| match packet {
        Packet::ConnAck(connack) => {
            present = connack.session_present;
            None
        }
        Packet::SubAck(suback) => Some(suback.return_codes),
        _ => None,
    })
    .await;
    assert_eq!(codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    present
}

fn publish_of(packet: Packet) -> Option<Publish> {
    if let Packet::Publish(publish) = packet { Some(publish) } else { None }
}

#[tokio::test]
async fn mqtt_hands_every_message_over_in_order_and_keeps_a_session() {
    let port = EmbeddedMqtt::start().await.unwrap().port();
    let (lane, mut heard) = client(port, "lane", false);
    assert!(!subscribe(&lane, &mut heard, "lw/v1/+/report").await, "a first connection finds no session");

    let (device, mut events) = client(port, "unit-001", true);
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
    for n in 0..300_u32 {
        device.publish("lw/v1/unit-001/report", QoS::AtLeastOnce, false, n.to_string()).await.unwrap();
    }
    for n in 0..300_u32 {
        let publish = until(&mut heard, publish_of).await;
        assert_eq!((&publish.payload[..], publish.qos), (n.to_string().as_bytes(), QoS::AtLeastOnce));
        lane.try_ack(&publish).unwrap();
    }

    // The lane goes away; what is published meanwhile waits for it. The event loop sends the last acknowledgements first.
    lane.try_subscribe("lw/v1/+/duress", QoS::AtLeastOnce).unwrap();
    until(&mut heard, |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    drop((lane, heard));
    for n in 300..310_u32 {
        device.publish("lw/v1/unit-001/report", QoS::AtLeastOnce, false, n.to_string()).await.unwrap();
    }
    let (lane, mut heard) = client(port, "lane", false);
    assert!(until(&mut heard, |packet| if let Packet::ConnAck(ack) = packet { Some(ack.session_present) } else { None }).await);
    for n in 300..310_u32 {
        let publish = until(&mut heard, publish_of).await;
        assert_eq!(publish.payload, n.to_string());
        lane.try_ack(&publish).unwrap();
    }
}

fn kafka_client<C: rdkafka::config::FromClientConfig>(kafka: &EmbeddedKafka, more: &[(&str, &str)]) -> C {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap_servers());
    for (key, value) in more {
        config.set(*key, *value);
    }
    C::from_config(&config).unwrap()
}

fn group_member(kafka: &EmbeddedKafka, instance: &str) -> BaseConsumer {
    let consumer: BaseConsumer = kafka_client(
        kafka,
        &[
            ("group.id", "detect"),
            ("group.instance.id", instance),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", "6000"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("fetch.wait.max.ms", "5"),
        ],
    );
    consumer.subscribe(&["journal"]).unwrap();
    consumer
}

/// Reads until `count` records came.
fn read(consumer: &BaseConsumer, count: usize) -> Vec<(i32, Vec<u8>)> {
    let end = instant() + DEADLINE;
    let mut records = Vec::new();
    while records.len() < count {
        assert!(instant() < end, "{} of {count} records came", records.len());
        if let Some(record) = consumer.poll(Duration::from_millis(50)) {
            let record = record.unwrap();
            records.push((record.partition(), record.payload().unwrap_or_default().to_vec()));
        }
    }
    records
}

fn produce(producer: &BaseProducer, partition: i32, payload: &str) {
    producer
        .send(BaseRecord::<(), str>::to("journal").partition(partition).payload(payload))
        .map_err(|(fault, _)| fault)
        .unwrap();
    producer.flush(DEADLINE).unwrap();
}

#[test]
fn kafka_has_the_topics_and_serves_a_group_with_static_members() {
    let kafka = EmbeddedKafka::start(&[("journal".to_owned(), 4)]).unwrap();
    let producer: BaseProducer = kafka_client(&kafka, &[("acks", "all"), ("enable.idempotence", "true"), ("linger.ms", "0")]);
    let metadata = producer.client().fetch_metadata(Some("journal"), DEADLINE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 4);
    for partition in 0..4 {
        produce(&producer, partition, "first");
    }
    let member = group_member(&kafka, "detect-0");
    let mut partitions: Vec<_> = read(&member, 4).into_iter().map(|(partition, _)| partition).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2, 3]);
    member.commit_consumer_state(CommitMode::Sync).unwrap();
    let committed = member.committed(DEADLINE).unwrap();
    assert_eq!(committed.elements_for_topic("journal").len(), 4);
    assert!(committed.elements().iter().all(|partition| partition.offset() == rdkafka::Offset::Offset(1)), "{committed:?}");
}

/// The mock takes transactions but hides nothing: a reader of committed records sees aborted and open ones too. So the demonstration
/// must not abort, and proves nothing about transactions. Should librdkafka learn it, this test says so.
#[test]
fn kafka_takes_transactions_and_does_not_isolate_them() {
    let kafka = EmbeddedKafka::start(&[("journal".to_owned(), 1)]).unwrap();
    let producer: BaseProducer = kafka_client(&kafka, &[("transactional.id", "rules")]);
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), str>::to("journal").payload("committed")).map_err(|(fault, _)| fault).unwrap();
    producer.commit_transaction(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), str>::to("journal").payload("aborted")).map_err(|(fault, _)| fault).unwrap();
    producer.flush(DEADLINE).unwrap();
    producer.abort_transaction(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), str>::to("journal").payload("open")).map_err(|(fault, _)| fault).unwrap();
    producer.flush(DEADLINE).unwrap();
    let reader: BaseConsumer =
        kafka_client(&kafka, &[("group.id", "r"), ("isolation.level", "read_committed"), ("fetch.wait.max.ms", "5")]);
    let mut from_start = rdkafka::TopicPartitionList::new();
    from_start.add_partition_offset("journal", 0, rdkafka::Offset::Beginning).unwrap();
    reader.assign(&from_start).unwrap();
    let seen: Vec<_> = read(&reader, 3).into_iter().map(|(_, payload)| String::from_utf8(payload).unwrap()).collect();
    assert_eq!(seen, ["committed", "aborted", "open"]);
}
