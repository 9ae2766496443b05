//! The journal reader against the mock cluster: joining, order, commits, and coming back.

use std::time::Duration;

use rdkafka::mocking::MockCluster;

use super::*;
use crate::journal::PartitionCount;
use crate::kafka::{Keep, Outgoing, Ticket, Urgency, Writer};

const WITHIN: Duration = Duration::from_secs(20);

fn reader(cluster: &Cluster) -> JournalReader {
    JournalReader::join(cluster, "j", &GroupMember { group: "g".into(), name: "d-0".into() }).unwrap()
}

/// The next item that is neither idle nor a fault; an embedded broker has faults while a group forms.
fn next(reader: &mut JournalReader) -> ReaderItem {
    loop {
        match reader.poll(WITHIN) {
            ReaderItem::Idle | ReaderItem::Fault(_) => {}
            item => return item,
        }
    }
}

#[test]
fn a_partition_is_announced_with_its_bounds_before_its_first_record() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("j", 1, 1).unwrap();
    let cluster = Cluster::embedded(&mock.bootstrap_servers());
    let (writer, _deliveries) = Writer::open(&cluster, "w", Urgency::Duress, PartitionCount::new(1).unwrap()).unwrap();
    let write = |n: u64| {
        writer.write(
            Ticket(n),
            Outgoing {
                topic: "j".into(),
                partition: None,
                key: "k".into(),
                payload: n.to_string().into_bytes(),
                keep: Keep::Always,
            },
        );
        assert!(writer.flush(WITHIN));
    };
    write(0);
    write(1);
    let mut reader = reader(&cluster);
    let partition = Partition(0);
    assert_eq!(next(&mut reader), ReaderItem::Assigned { partition, log_start: 0, committed: None, end: 2 });
    for expected in 0..2 {
        match next(&mut reader) {
            ReaderItem::Record { offset, key, payload, .. } => {
                assert_eq!((offset, key, payload), (expected, b"k".to_vec(), expected.to_string().into_bytes()));
            }
            other => panic!("{other:?}"),
        }
    }
    reader.commit(partition, 1).unwrap();
    assert!(reader.wait_for_commits(Duration::from_secs(5)));
    assert_eq!(reader.bounds(partition).unwrap(), ReaderItem::Assigned { partition, log_start: 0, committed: Some(1), end: 2 });
    reader.pause(partition).unwrap();
    write(2);
    assert_eq!(reader.poll(Duration::from_millis(100)), ReaderItem::Idle);
    reader.resume(partition).unwrap();
    assert!(matches!(next(&mut reader), ReaderItem::Record { offset: 2, .. }));
}

#[test]
fn only_the_embedded_broker_may_leave_append_time_out() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("j", 1, 1).unwrap();
    let embedded = Cluster::embedded(&mock.bootstrap_servers());
    let (writer, _deliveries) = Writer::open(&embedded, "w", Urgency::Duress, PartitionCount::new(1).unwrap()).unwrap();
    for n in 1..3 {
        writer.write(
            Ticket(n),
            Outgoing { topic: "j".into(), partition: None, key: "k".into(), payload: vec![1], keep: Keep::Always },
        );
    }
    assert!(writer.flush(WITHIN));
    let real = Cluster::new(&mock.bootstrap_servers(), std::collections::BTreeMap::new());
    let mut reader = reader(&real);
    assert!(matches!(next(&mut reader), ReaderItem::Assigned { .. }));
    let fault = loop {
        match reader.poll(WITHIN) {
            ReaderItem::Fault(fault) if fault.kind == FaultKind::Lasting => break fault,
            ReaderItem::Fault(_) | ReaderItem::Idle => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(fault.text.contains("message.timestamp.type=LogAppendTime"), "{fault}");
    assert_eq!(reader.poll(Duration::from_millis(200)), ReaderItem::Idle, "a stop, never a skip");
}

#[test]
fn whoever_lost_all_and_gets_nothing_back_from_a_kafka_that_answers_joins_anew() {
    let mut stranded = Stranded::new();
    let began = instant();
    let at = |seconds: u64| began + Duration::from_secs(seconds);
    assert!(!(1..100).any(|second| stranded.is_over(at(second), true)), "nothing was lost");
    stranded.lost = true;
    let over: Vec<u64> = (100..200).filter(|second| stranded.is_over(at(*second), !(105..120).contains(second))).collect();
    assert_eq!(over, [127, 142, 171], "Kafka is away until 120, and each wait is twice as long");
}
