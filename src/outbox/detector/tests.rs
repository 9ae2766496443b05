//! The detector's loop against the mock cluster, turn by turn.

use rdkafka::mocking::MockCoordinator;

use super::*;
use crate::shutdown::Shutdown;

const WITHIN_MILLIS: i64 = 20_000;

/// A Kafka with a journal, all of it at the first broker, and a topic at the second.
fn kafka(partitions: u32) -> crate::kafka::MockKafka {
    let mock = crate::kafka::mock(2);
    mock.coordinator(MockCoordinator::Group("g".to_owned()), 1).unwrap();
    for (topic, broker) in [("lonewatch.journal", 1), ("silent", 2)] {
        mock.create_topic(topic, partitions.cast_signed(), 1).unwrap();
        for partition in 0..partitions {
            mock.partition_leader(topic, partition.cast_signed(), Some(broker)).unwrap();
        }
    }
    mock
}

/// A detector that was told to join, and its reader.
struct Member {
    detector: Detector,
    reader: Handle<JournalReader>,
    _shutdown: Shutdown,
}

impl Member {
    fn join(mock: &crate::kafka::MockKafka, name: &str, partitions: u32) -> Self {
        let cluster = Cluster::embedded(&mock.bootstrap_servers());
        let partitions = PartitionCount::new(partitions).unwrap();
        let (topics, health) = (Arc::new(TopicNames::new("lonewatch")), Health::default());
        let (writer, deliveries) = Writer::open(&cluster, name, Urgency::Duress, partitions).unwrap();
        let alerts = AlertWriter::new(writer, deliveries, Arc::clone(&topics), health.clone());
        let (shutdown, ending) = Shutdown::new();
        let parts = DetectorParts {
            settings: DetectSettings { name: name.to_owned(), group: "g".to_owned() },
            cluster,
            topics,
            partitions,
            rulebook: watch::channel(Arc::new(Rulebook::empty())).1,
            versions: Versions::default(),
            health,
            ending,
        };
        announce(&parts.health);
        let detector = Detector::new(parts, alerts);
        let reader = detector.join().unwrap();
        Self { detector, reader, _shutdown: shutdown }
    }

    fn turn(&mut self) {
        assert!(self.detector.turn(&mut self.reader));
    }

    fn says(&self, part: &str) -> Option<String> {
        let (_, lines) = self.detector.parts.health.report();
        lines.into_iter().find(|line| line.starts_with(&format!("{part}: ")))
    }

    fn owns(&self, count: usize) -> bool {
        self.detector.owned.len() == count
    }
}

/// Turn by turn, until it is so.
fn until(members: &mut [&mut Member], mut so: impl FnMut(&[&mut Member]) -> bool) {
    let deadline = clock::steady_millis() + WITHIN_MILLIS;
    while !so(members) {
        for member in members.iter_mut() {
            member.turn();
        }
        assert!(clock::steady_millis() < deadline, "it did not come");
    }
}

#[test]
fn a_clock_that_is_set_back_stops_no_metronome() {
    let mut next = 0;
    assert!(due(&mut next, 10_000, 1_000) && !due(&mut next, 10_999, 1_000) && due(&mut next, 11_000, 1_000));
    assert!(due(&mut next, 5_000, 1_000), "set back by 6 s");
    assert!(!due(&mut next, 5_500, 1_000) && due(&mut next, 6_000, 1_000));
}

#[test]
fn a_spare_is_ready_and_says_that_it_owns_nothing() {
    let mock = kafka(1);
    let mut first = Member::join(&mock, "d-0", 1);
    until(&mut [&mut first], |members| members[0].owns(1));
    let mut spare = Member::join(&mock, "d-1", 1);
    assert!(spare.says(PART).unwrap().contains("NOT READY"));
    until(&mut [&mut first, &mut spare], |members| {
        members[1].says(PART).unwrap().starts_with("detector: ready, but owns no partition")
    });
    assert!(spare.detector.parts.health.report().0);
}

#[test]
fn a_fault_of_reading_is_over_with_the_next_record_of_what_it_concerns() {
    let mock = kafka(2);
    let mut member = Member::join(&mock, "d-0", 2);
    until(&mut [&mut member], |members| members[0].owns(2));
    let refused = [None, Some(Partition(1))].map(|partition| (partition, part_of(partition)));
    member.reader.pause(Partition(1)).unwrap();
    let lasting = member.reader.commit(Partition(u32::MAX), -7).unwrap_err();
    let lasting = Fault { kind: FaultKind::Lasting, ..lasting };
    for (partition, part) in &refused {
        assert!(member.detector.fault(*partition, &lasting));
        assert!(member.says(part).unwrap().contains("NOT READY"));
    }
    assert_eq!(member.says(PART).unwrap(), "detector: ready", "another matter");
    member.detector.say_state();
    until(&mut [&mut member], |members| members[0].says("reading the journal").is_none());
    assert!(member.says("reading partition 1").is_some(), "a record of another is no sign of this one");
    member.reader.resume(Partition(1)).unwrap();
    until(&mut [&mut member], |members| members[0].detector.parts.health.report().0);
    assert_eq!(member.says("reading partition 1"), None);
}

#[test]
fn a_detector_without_room_reads_no_further_and_gives_up_what_others_are_to_have() {
    let mock = kafka(2);
    let mut full = Member::join(&mock, "d-0", 2);
    until(&mut [&mut full], |members| members[0].owns(2));
    mock.broker_round_trip_time(2, Duration::from_mins(1)).unwrap();
    for offset in 0..limits::WRITER_PENDING_MAX {
        full.detector.alerts.stand_in("silent", Partition(9), i64::try_from(offset).unwrap());
    }
    let read = |member: &Member| -> i64 { member.detector.owned.values().map(|owned| owned.machine.next_offset()).sum() };
    full.turn();
    let before = read(&full);
    let mut other = Member::join(&mock, "d-1", 2);
    until(&mut [&mut full, &mut other], |members| members[0].owns(1) && members[1].owns(1));
    assert!(read(&full) <= before, "nothing was read without room");
    mock.broker_round_trip_time(2, Duration::ZERO).unwrap();
    let before = read(&full);
    until(&mut [&mut full, &mut other], |members| read(members[0]) > before);
}

#[test]
fn whoever_replays_the_journal_is_not_ready() {
    let mock = kafka(1);
    let mut member = Member::join(&mock, "d-0", 1);
    let payload = journal::encode(&Record::Metronome { detector: "d-1".to_owned() });
    let topic = member.detector.parts.topics.journal();
    let record = Outgoing { topic, partition: Some(Partition(0)), key: String::new(), payload, keep: Keep::No };
    member.detector.alerts.beat(Beat::Metronome(Partition(0)), record);
    assert!(member.detector.alerts.flush(Duration::from_millis(WITHIN_MILLIS.unsigned_abs())));
    until(&mut [&mut member], |members| members[0].owns(1));
    assert!(member.says(PART).unwrap().contains("NOT READY: replays the journal"), "{:?}", member.says(PART));
    until(&mut [&mut member], |members| members[0].says(PART).as_deref() == Some("detector: ready"));
}
