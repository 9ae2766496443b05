//! The journal reader against the mock cluster: joining, order, commits, going away and coming back.

use std::time::Duration;

use rdkafka::mocking::MockCoordinator;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::journal::PartitionCount;
use crate::kafka::{Deliveries, Keep, Outgoing, Ticket, Urgency, Writer};

const WITHIN: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// A Kafka with a journal, and a writer for it.
struct Journal {
    mock: crate::kafka::MockKafka,
    cluster: Cluster,
    writer: Writer,
    _deliveries: Deliveries,
}

impl Journal {
    fn new(partitions: u32, brokers: i32) -> Self {
        let mock = crate::kafka::mock(brokers);
        mock.create_topic("j", partitions.cast_signed(), 1).unwrap();
        let cluster = Cluster::embedded(&mock.bootstrap_servers());
        let count = PartitionCount::new(partitions).unwrap();
        let (writer, deliveries) = Writer::open(&cluster, "w", Urgency::Duress, count).unwrap();
        Self { mock, cluster, writer, _deliveries: deliveries }
    }

    /// Writes so many records of so many bytes.
    fn write(&self, partition: u32, count: u64, bytes: usize) {
        for n in 0..count {
            let (topic, partition) = ("j".into(), Some(Partition(partition)));
            let outgoing = Outgoing { topic, partition, key: "k".into(), payload: vec![b'x'; bytes], keep: Keep::Always };
            self.writer.write(Ticket(n), outgoing);
        }
        assert!(self.writer.flush(WITHIN));
    }

    fn reader(&self, name: &str) -> Handle<JournalReader> {
        JournalReader::join(&self.cluster, "j", &GroupMember { group: "g".into(), name: name.into() }).unwrap()
    }
}

/// The next item that this one makes something of; the first one that is nothing to it, nor idle, nor a passing fault of all, is wrong.
fn until<T>(reader: &mut JournalReader, mut wanted: impl FnMut(&ReaderItem) -> Option<T>) -> T {
    let began = instant();
    loop {
        let item = reader.poll(SHORT);
        if let Some(found) = wanted(&item) {
            return found;
        }
        let passes = match &item {
            ReaderItem::Idle | ReaderItem::Joined => true,
            ReaderItem::Fault { partition: None, fault } => fault.kind == FaultKind::Passing,
            ReaderItem::Fault { .. } | ReaderItem::Assigned { .. } | ReaderItem::Revoked { .. } | ReaderItem::Record { .. } => {
                false
            }
        };
        assert!(passes, "{item:?}");
        assert!(began.elapsed() < WITHIN, "nothing came");
    }
}

/// The next partition to be announced: which, where its log begins, and where its records go on.
fn assigned(reader: &mut JournalReader) -> (u32, i64, Option<i64>) {
    until(reader, |item| match item {
        ReaderItem::Assigned { partition, log_start, continues_at, .. } => Some((partition.0, *log_start, *continues_at)),
        _other => None,
    })
}

/// The offset of the next record.
fn record_of(reader: &mut JournalReader, partition: u32) -> i64 {
    until(reader, |item| match item {
        ReaderItem::Record { partition: of, offset, .. } if of.0 == partition => Some(*offset),
        _other => None,
    })
}

/// The next partitions that are lost.
fn lost(reader: &mut JournalReader) -> Vec<u32> {
    until(reader, |item| match item {
        ReaderItem::Revoked { partitions, lost: true } => Some(partitions.iter().map(|partition| partition.0).collect()),
        _other => None,
    })
}

/// As if the group had said that this partition is lost.
fn lose(reader: &mut JournalReader, partition: u32) {
    let list = reader.list_of(Partition(partition));
    reader.revoke(list, true);
    assert_eq!(lost(reader), [partition]);
}

/// The next fault of this partition.
fn fault_of(reader: &mut JournalReader, partition: u32) -> Fault {
    until(reader, |item| match item {
        ReaderItem::Fault { partition: Some(of), fault } if of.0 == partition => Some(fault.clone()),
        _other => None,
    })
}

fn reader(cluster: &Cluster) -> Handle<JournalReader> {
    JournalReader::join(cluster, "j", &GroupMember { group: "g".into(), name: "d-0".into() }).unwrap()
}

/// The next item that is neither idle nor a fault; an embedded broker has faults while a group forms.
fn next(reader: &mut JournalReader) -> ReaderItem {
    loop {
        match reader.poll(WITHIN) {
            ReaderItem::Idle | ReaderItem::Joined | ReaderItem::Fault { .. } => {}
            item => return item,
        }
    }
}

#[test]
fn a_partition_is_announced_with_its_bounds_before_its_first_record() {
    let mock = crate::kafka::mock(1);
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
    assert_eq!(next(&mut reader), ReaderItem::Assigned { partition, log_start: 0, committed: None, end: 2, continues_at: None });
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
    lose(&mut reader, 0);
    reader.continue_at(partition, 2);
    reader.look_ups.ask(partition);
    let again = ReaderItem::Assigned { partition, log_start: 0, committed: Some(1), end: 2, continues_at: Some(2) };
    assert_eq!(next(&mut reader), again);
    reader.pause(partition).unwrap();
    write(2);
    assert_eq!(reader.poll(Duration::from_millis(100)), ReaderItem::Idle);
    reader.resume(partition).unwrap();
    assert!(matches!(next(&mut reader), ReaderItem::Record { offset: 2, .. }));
}

#[test]
fn only_the_embedded_broker_may_leave_append_time_out() {
    let mock = crate::kafka::mock(1);
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
            ReaderItem::Fault { partition: Some(Partition(0)), fault } => break fault,
            ReaderItem::Fault { .. } | ReaderItem::Joined | ReaderItem::Idle => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fault.kind, FaultKind::Lasting);
    assert!(fault.text.contains("message.timestamp.type=LogAppendTime"), "{fault}");
    assert_eq!(reader.poll(Duration::from_millis(200)), ReaderItem::Idle, "a stop, never a skip");
}

#[test]
fn closing_does_not_wait_for_a_kafka_that_is_away() {
    let journal = Journal::new(1, 1);
    journal.write(0, 3, 10);
    let mut reader = journal.reader("d-0");
    assigned(&mut reader);
    journal.mock.broker_down(1).unwrap();
    reader.commit(Partition(0), 3).unwrap();
    let is_closed = handle::close(reader);
    // The handle's own wait, in which librdkafka waits for its commit.
    is_closed.recv_timeout(WITHIN).unwrap();
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

/// A spare that has lost sight of Kafka would take nothing over, and nothing would show it.
#[test]
fn a_spare_that_had_no_broker_and_hears_nothing_of_its_group_is_stranded_too() {
    let journal = Journal::new(1, 1);
    let mut owner = journal.reader("d-0");
    assert_eq!(assigned(&mut owner).0, 0);
    let mut spare = journal.reader("d-1");
    let until_joined = |owner: &mut JournalReader, spare: &mut JournalReader| {
        let began = instant();
        while spare.poll(SHORT) != ReaderItem::Joined {
            owner.poll(SHORT);
            assert!(began.elapsed() < WITHIN, "no word of the group");
        }
    };
    until_joined(&mut owner, &mut spare);
    let is_over = |reader: &mut JournalReader| {
        let began = instant();
        (0..10).any(|second| reader.stranded.is_over(began + Duration::from_secs(second), true))
    };
    for reader in [&mut *owner, &mut *spare] {
        assert!(!is_over(reader));
        reader.had_no_broker();
    }
    assert_eq!((is_over(&mut owner), is_over(&mut spare)), (false, true), "what an owner loses is told");
    spare.spend();
    until_joined(&mut owner, &mut spare);
    assert!(!is_over(&mut spare), "it has heard of its group");
    let (mut nowhere, began) = (reader(&Cluster::embedded("127.0.0.1:1")), instant());
    while !nowhere.stranded.unheard {
        nowhere.poll(SHORT);
        assert!(began.elapsed() < WITHIN, "no word that there is no broker");
    }
}

#[test]
fn a_partition_whose_leader_does_not_answer_slows_no_other() {
    let journal = Journal::new(2, 2);
    for (partition, broker) in [(0, 1), (1, 2)] {
        journal.mock.partition_leader("j", partition, Some(broker)).unwrap();
    }
    journal.mock.coordinator(MockCoordinator::Group("g".into()), 1).unwrap();
    journal.write(0, 200, 1);
    journal.mock.broker_round_trip_time(2, 2 * WITHIN).unwrap();
    let mut reader = journal.reader("d-0");
    assert_eq!(assigned(&mut reader), (0, 0, None));
    let (mut longest, mut faults, mut read) = (Duration::ZERO, 0, 0);
    while faults < 2 || read < 200 {
        let began = instant();
        match reader.poll(SHORT) {
            ReaderItem::Record { partition: Partition(0), .. } => read += 1,
            ReaderItem::Fault { partition: Some(Partition(1)), .. } => faults += 1,
            ReaderItem::Fault { partition: None, .. } | ReaderItem::Idle => {}
            other => panic!("{other:?}"),
        }
        longest = longest.max(began.elapsed());
        assert!(faults <= 5, "{read} records");
    }
    assert!(longest < LOOK_UP / 2, "{longest:?}");
}

#[test]
fn a_partition_without_a_leader_is_named_and_comes_when_it_has_one() {
    let journal = Journal::new(2, 1);
    journal.write(0, 200, 1);
    journal.write(1, 1, 1);
    journal.mock.partition_leader("j", 1, None).unwrap();
    let mut reader = journal.reader("d-0");
    let (mut faults, mut read, began) = (0, 0, instant());
    while began.elapsed() < WITHIN && (faults < 2 || read < 200) {
        match reader.poll(SHORT) {
            ReaderItem::Record { partition: Partition(0), .. } => read += 1,
            ReaderItem::Fault { partition: Some(Partition(1)), .. } => faults += 1,
            ReaderItem::Assigned { partition: Partition(0), .. } | ReaderItem::Idle | ReaderItem::Joined => {}
            ReaderItem::Fault { partition: None, fault } if fault.kind == FaultKind::Passing => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((read, faults), (200, 2), "it is asked now and then, not between any two records");
    journal.mock.partition_leader("j", 1, Some(1)).unwrap();
    let comes = until(&mut reader, |item| match item {
        ReaderItem::Assigned { partition: Partition(1), .. } => Some(true),
        ReaderItem::Fault { partition: Some(Partition(1)), .. } => Some(false),
        _other => None,
    });
    assert!(comes || assigned(&mut reader).0 == 1);
    assert_eq!(record_of(&mut reader, 1), 0);
}

#[test]
fn where_to_read_on_outlasts_a_loss_before_the_partition_is_announced() {
    let journal = Journal::new(1, 1);
    journal.write(0, 3, 1);
    let mut reader = journal.reader("d-0");
    assert_eq!(assigned(&mut reader), (0, 0, None));
    assert_eq!((0..2).map(|_| record_of(&mut reader, 0)).collect::<Vec<_>>(), [0, 1]);
    lose(&mut reader, 0);
    reader.continue_at(Partition(0), 2);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    journal.mock.request_errors(RDKafkaApiKey::OffsetFetch, &[refused]);
    reader.look_ups.ask(Partition(0));
    let fault = fault_of(&mut reader, 0);
    assert!(fault.text.contains("looking up the group's offsets of j"), "{fault}");
    reader.spend();
    assert_eq!(lost(&mut reader), [0], "said though it was not announced: it is not waited for any more");
    assert_eq!(assigned(&mut reader), (0, 0, Some(2)));
    assert_eq!(record_of(&mut reader, 0), 2);
}

#[test]
fn where_to_read_on_may_be_said_after_the_partition_is_back() {
    let journal = Journal::new(1, 1);
    journal.write(0, 3, 1);
    let mut reader = journal.reader("d-0");
    assert_eq!(assigned(&mut reader), (0, 0, None));
    assert_eq!(record_of(&mut reader, 0), 0);
    // Lost and given back within one poll.
    let list = reader.list_of(Partition(0));
    reader.revoke(list, true);
    reader.look_ups.ask(Partition(0));
    assert_eq!(lost(&mut reader), [0]);
    reader.continue_at(Partition(0), 1);
    assert_eq!(assigned(&mut reader), (0, 0, Some(1)));
    assert_eq!(record_of(&mut reader, 0), 1);
}

#[test]
fn a_place_outside_the_log_is_not_gone_to() {
    let journal = Journal::new(2, 1);
    journal.write(0, 2, 1);
    // The mock cluster keeps 5 MiB.
    journal.write(1, 20, 500_000);
    let mut reader = journal.reader("d-0");
    reader.continue_at(Partition(0), 3);
    reader.continue_at(Partition(1), 1);
    assert_eq!(assigned(&mut reader), (0, 0, None), "beyond the end");
    let (partition, log_start, continues_at) = until(&mut reader, |item| match item {
        ReaderItem::Assigned { partition, log_start, continues_at, .. } => Some((partition.0, *log_start, *continues_at)),
        ReaderItem::Record { .. } => None,
        _other => None,
    });
    assert!(log_start > 1, "{log_start}");
    assert_eq!((partition, continues_at), (1, None), "before the start");
    let mut firsts = BTreeMap::new();
    while firsts.len() < 2 {
        if let ReaderItem::Record { partition, offset, .. } = reader.poll(WITHIN) {
            firsts.entry(partition.0).or_insert(offset);
        }
    }
    assert_eq!(firsts, BTreeMap::from([(0, 0), (1, log_start)]));
}

#[test]
fn a_partition_that_the_log_no_longer_holds_is_named() {
    let journal = Journal::new(2, 1);
    let mut reader = journal.reader("d-0");
    assert_eq!([assigned(&mut reader).0, assigned(&mut reader).0], [0, 1]);
    journal.write(0, 1, 1);
    assert_eq!(record_of(&mut reader, 0), 0);
    reader.pause(Partition(1)).unwrap();
    journal.write(1, 20, 500_000);
    reader.resume(Partition(1)).unwrap();
    let of_all = until(&mut reader, |item| match item {
        ReaderItem::Fault { partition: None, fault } if fault.kind == FaultKind::Lasting => Some(fault.clone()),
        _other => None,
    });
    assert!(of_all.text.contains("reset"), "{of_all}");
    let fault = fault_of(&mut reader, 1);
    assert!(fault.text.contains("no longer holds offset 0"), "{fault}");
    journal.write(0, 1, 1);
    assert_eq!(record_of(&mut reader, 0), 1);
}

#[test]
fn all_pause_and_go_on_where_they_were() {
    let journal = Journal::new(2, 1);
    journal.write(0, 5, 1);
    journal.write(1, 5, 1);
    let mut reader = journal.reader("d-0");
    let mut read = Vec::new();
    let began = instant();
    while read.len() < 4 && began.elapsed() < WITHIN {
        if let ReaderItem::Record { partition, offset, .. } = reader.poll(SHORT) {
            read.push((partition.0, offset));
        }
    }
    reader.pause(Partition(1)).unwrap();
    reader.pause_all().unwrap();
    let paused = instant();
    while paused.elapsed() < Duration::from_millis(500) {
        assert_eq!(reader.poll(SHORT), ReaderItem::Idle);
    }
    reader.resume_all().unwrap();
    while read.iter().filter(|(partition, _)| *partition == 0).count() < 5 && began.elapsed() < WITHIN {
        if let ReaderItem::Record { partition, offset, .. } = reader.poll(SHORT) {
            read.push((partition.0, offset));
        }
    }
    assert_eq!(reader.poll(SHORT), ReaderItem::Idle, "one of them is paused by itself");
    reader.resume(Partition(1)).unwrap();
    while read.len() < 10 && began.elapsed() < WITHIN {
        if let ReaderItem::Record { partition, offset, .. } = reader.poll(SHORT) {
            read.push((partition.0, offset));
        }
    }
    for partition in 0..2 {
        let offsets: Vec<i64> = read.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| *offset).collect();
        assert_eq!(offsets, [0, 1, 2, 3, 4], "of {partition}");
    }
}
