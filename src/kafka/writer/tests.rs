//! The writer against the mock cluster, and its queues by themselves.

use std::time::Instant;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaErrorCode as Code, RDKafkaRespErr};

use super::queue::{Queues, Verdict, verdict};
use super::*;
use crate::kafka::{StartAt, TailItem, TopicTail};

const WITHIN: Duration = Duration::from_secs(20);

fn mock() -> (MockCluster<'static, DefaultProducerContext>, Cluster) {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("t", 3, 1).unwrap();
    let cluster = Cluster::embedded(&mock.bootstrap_servers());
    (mock, cluster)
}

fn open(cluster: &Cluster) -> (Writer, Deliveries) {
    Writer::open(cluster, "test", Urgency::Duress, PartitionCount::new(3).unwrap()).unwrap()
}

fn outgoing(topic: &str, partition: u32, payload: &[u8]) -> Outgoing {
    Outgoing { topic: Arc::from(topic), partition: Some(Partition(partition)), key: "dev-1".into(), payload: payload.to_vec() }
}

/// What the topic holds, per partition in order.
fn stored(cluster: &Cluster) -> Vec<Vec<String>> {
    let mut tail = TopicTail::open(cluster, "t", StartAt::Beginning, WITHIN).unwrap();
    let mut found = vec![Vec::new(); 3];
    while !tail.has_caught_up() {
        if let TailItem::Record { partition, payload, .. } = tail.poll(WITHIN) {
            found[partition as usize].push(String::from_utf8(payload.unwrap()).unwrap());
        }
    }
    found
}

fn drain(deliveries: &mut Deliveries) -> Vec<Delivery> {
    std::iter::from_fn(|| deliveries.try_next()).collect()
}

#[test]
fn records_are_stored_in_order_and_answered_for() {
    let (_mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    for n in 0..300_u64 {
        writer.write(Ticket(n), outgoing("t", (n % 3) as u32, n.to_string().as_bytes()));
    }
    assert!(writer.flush(WITHIN));
    assert_eq!((writer.pending(), writer.oldest_pending_age(), writer.trouble()), (0, None, None));
    assert_eq!(writer.clock_off(), 0, "the embedded broker's time is none");
    let mut answered = drain(&mut deliveries);
    answered.sort_by_key(|delivery| delivery.ticket);
    assert_eq!(answered.len(), 300);
    assert!(answered.iter().all(|delivery| delivery.outcome == Outcome::Stored));
    for (partition, records) in stored(&cluster).iter().enumerate() {
        let expected: Vec<_> = (0..100).map(|n| (3 * n + partition).to_string()).collect();
        assert_eq!(records, &expected);
    }
}

#[test]
fn the_partition_is_that_of_the_key_unless_given() {
    let (_mock, cluster) = mock();
    let (writer, _deliveries) = open(&cluster);
    writer.write(Ticket(1), Outgoing { partition: None, ..outgoing("t", 0, b"x") });
    assert!(writer.flush(WITHIN));
    let home = PartitionCount::new(3).unwrap().of("dev-1");
    assert_eq!(stored(&cluster)[home.0 as usize], ["x"]);
}

#[test]
fn brokers_that_fail_for_a_while_cost_neither_a_record_nor_the_order() {
    let (mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    let passing = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    mock.request_errors(RDKafkaApiKey::Produce, &passing);
    for n in 0..50 {
        writer.write(Ticket(n), outgoing("t", 1, n.to_string().as_bytes()));
    }
    assert!(writer.flush(WITHIN));
    assert!(drain(&mut deliveries).iter().all(|delivery| delivery.outcome == Outcome::Stored));
    assert_eq!(stored(&cluster)[1], (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_spent_producer_is_replaced_and_what_is_unacknowledged_goes_out_again() {
    let (mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    writer.write(Ticket(0), outgoing("t", 1, b"0"));
    assert!(writer.flush(WITHIN));
    mock.broker_down(1).unwrap();
    for n in 1..5 {
        writer.write(Ticket(n), outgoing("t", 1, n.to_string().as_bytes()));
    }
    writer.shared.spend();
    mock.broker_up(1).unwrap();
    assert!(writer.flush(WITHIN));
    assert_eq!(drain(&mut deliveries).len(), 5);
    assert_eq!(stored(&cluster)[1], ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_record_too_large_is_refused_and_the_others_pass() {
    let (_mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    writer.write(Ticket(1), outgoing("t", 0, b"before"));
    writer.write(Ticket(2), outgoing("t", 0, &vec![0; 2_000_000]));
    writer.write(Ticket(3), outgoing("t", 0, b"after"));
    assert!(writer.flush(WITHIN));
    let mut answered = drain(&mut deliveries);
    answered.sort_by_key(|delivery| delivery.ticket);
    let outcomes: Vec<_> = answered.iter().map(|delivery| delivery.outcome).collect();
    assert_eq!(outcomes, [Outcome::Stored, Outcome::Refused(RefusedReason::TooLarge), Outcome::Stored]);
    assert_eq!(stored(&cluster)[0], ["before", "after"]);
}

#[test]
fn room_is_what_the_caller_has_not_taken_yet() {
    let (_mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    for n in 0..limits::WRITER_PENDING_MAX as u64 {
        writer.write(Ticket(n), outgoing("t", 0, b"x"));
    }
    assert!(writer.flush(WITHIN));
    assert!(!writer.has_room());
    assert!(deliveries.blocking_next().is_some());
    assert!(writer.has_room());
}

#[allow(clippy::disallowed_methods, reason = "the queue takes its times as arguments; this is where they begin")]
fn start() -> Instant {
    Instant::now()
}

/// A queue of `count` records for partition 0 of `t`, all of them sent.
fn sent(count: u64) -> Queues {
    let mut queues = Queues::default();
    for n in 0..count {
        queues.push(Entry::new(Ticket(n), outgoing("t", 0, b"x"), Partition(0), 0));
    }
    while queues.next_to_send("t", 0).is_some() {}
    queues
}

#[test]
fn a_held_queue_waits_until_all_came_home_and_goes_out_again_in_order() {
    let (now, later) = (start(), start() + Duration::from_secs(1));
    let mut queues = sent(3);
    assert_eq!(queues.answered(("t", 0), 0, Err(Code::NetworkException), now), None);
    assert!(queues.release(later).is_empty(), "two are still under way");
    assert!(queues.answered(("t", 0), 1, Ok(()), now).is_some());
    assert_eq!(queues.answered(("t", 0), 2, Err(Code::NetworkException), now), None);
    assert!(queues.release(now).is_empty(), "not due");
    assert_eq!(queues.release(later).len(), 1);
    let again: Vec<_> = std::iter::from_fn(|| queues.next_to_send("t", 0).map(|entry| entry.number)).collect();
    assert_eq!(again, [0, 2]);
    assert_eq!(queues.pending(), 2);
}

#[test]
fn a_missing_topic_is_tried_for_a_while_before_its_records_are_refused() {
    let (now, late) = (start(), start() + Duration::from_millis(limits::WRITER_REFUSED_MILLIS) + Duration::from_secs(1));
    let mut queues = sent(2);
    assert_eq!(queues.answered(("t", 0), 0, Err(Code::UnknownTopicOrPartition), now), None);
    assert_eq!(queues.answered(("t", 0), 1, Err(Code::UnknownTopicOrPartition), now), None);
    assert_eq!(queues.release(late).len(), 1);
    assert_eq!(queues.next_to_send("t", 0).map(|entry| entry.number), Some(0));
    let refused = queues.answered(("t", 0), 0, Err(Code::UnknownTopicOrPartition), late).unwrap();
    assert_eq!(refused, Delivery { ticket: Ticket(0), outcome: Outcome::Refused(RefusedReason::TopicGone), written_at: 0 });
    assert_eq!(queues.next_to_send("t", 0).map(|entry| entry.number), Some(1));
}

#[test]
fn what_is_not_known_to_last_is_tried_again() {
    for code in [Code::QueueFull, Code::MessageTimedOut, Code::PurgeInflight, Code::NotEnoughReplicas, Code::KafkaStorageError] {
        assert_eq!(verdict(code), Verdict::Retry, "{code}");
    }
    assert_eq!(verdict(Code::Fatal), Verdict::Spent);
}
