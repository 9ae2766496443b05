//! Alerts on their way: written in order, remembered until Kafka has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::alert::{Alert, CentreMessage, Kind, Stage};
use crate::clock;
use crate::health::{Health, KafkaAnswers};
use crate::journal::Partition;
use crate::kafka::{Deliveries, Delivery, Keep, Outcome, Outgoing, RefusedReason, Ticket, Topic, TopicNames, Writer};
use crate::limits;
use crate::metrics;
use crate::runbook::Entry;

/// The part's name in `/readyz`.
const PART: &str = "alerts writer";
/// And that of what is in the journal alone.
const LET_GO: &str = "alerts let go";
/// How often it is looked whether partitions that are given up owe alerts still.
const FLUSH_LOOK: Duration = Duration::from_millis(5);

/// Which record of which partition an alert came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    partition: Partition,
    offset: i64,
    kind: Kind,
    /// Append time of that record.
    caused_at: i64,
    written_at: i64,
    /// Its topic refuses: nobody knows when it will be stored.
    held: bool,
}

/// What a ticket stands for.
#[derive(Debug)]
enum Sent {
    /// An alert; the writer keeps it until Kafka has it.
    Alert(Origin),
    /// A metronome of a partition, or a heartbeat: a fresh one follows, so a lost one is no matter.
    Beat(Beat),
}

/// A record that is written anew every few seconds; the next waits until the last is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Beat {
    Metronome(Partition),
    Heartbeat(Arc<str>),
}

/// The writer of everything that leaves a detector.
pub(super) struct AlertWriter {
    writer: Writer,
    deliveries: Deliveries,
    topics: Arc<TopicNames>,
    health: Health,
    kafka: KafkaAnswers,
    sent: BTreeMap<Ticket, Sent>,
    beats: BTreeMap<Beat, Ticket>,
    /// Of each partition the oldest alert that the writer has let go.
    let_go: BTreeMap<Partition, Origin>,
    next: u64,
    /// When Kafka last stored anything, on the steady clock.
    stored_at: i64,
}

impl AlertWriter {
    pub(super) fn new(writer: Writer, deliveries: Deliveries, topics: Arc<TopicNames>, health: Health) -> Self {
        health.ready(PART);
        let kafka = KafkaAnswers::new(&health, PART);
        let (sent, beats, let_go) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { writer, deliveries, topics, health, kafka, sent, beats, let_go, next: 0, stored_at: 0 }
    }

    /// Writes an alert that the record at `offset` brought about.
    pub(super) fn alert(&mut self, partition: Partition, offset: i64, alert: Alert, now_millis: i64) {
        metrics::alert_written(alert.kind);
        // Duress goes to the live topic whatever the stage of its rules.
        let shadow = alert.stage == Stage::Shadow && alert.kind != Kind::Duress;
        let centre = alert.centre.clone();
        let topic = self.topics.of(&if shadow { Topic::Shadow(centre) } else { Topic::Alerts(centre) });
        let key = alert.key().to_owned();
        // A revision of the machine is made at its record's append time.
        let (kind, caused_at) = (alert.kind, alert.changed_at);
        let origin = Origin { partition, offset, kind, caused_at, written_at: now_millis, held: false };
        let payload = CentreMessage::Alert(Box::new(alert)).to_json();
        let record = Outgoing { topic, partition: None, key, payload, keep: Keep::WhileRoom };
        let ticket = self.ticket();
        self.sent.insert(ticket, Sent::Alert(origin));
        self.writer.write(ticket, record);
    }

    /// Writes a beat, unless the last one of its kind is still under way.
    pub(super) fn beat(&mut self, beat: Beat, record: Outgoing) {
        if self.beats.contains_key(&beat) {
            return;
        }
        let ticket = self.ticket();
        self.beats.insert(beat.clone(), ticket);
        self.sent.insert(ticket, Sent::Beat(beat));
        self.writer.write(ticket, record);
    }

    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    /// Takes what Kafka has answered. Writes nothing: what is answered at once would be taken here, without end.
    pub(super) fn settle(&mut self) {
        while let Some(Delivery { ticket, topic, outcome, .. }) = self.deliveries.try_next() {
            match outcome {
                Outcome::Stored => self.stored(ticket),
                Outcome::Held(reason) => self.held(ticket, reason),
                Outcome::LetGo(reason) => self.let_go(ticket, &topic, reason),
                Outcome::Refused(reason) => self.refused(ticket, &topic, reason),
            }
        }
        metrics::kafka_pending("detect", self.writer.pending());
    }

    /// Once a second: whether Kafka still answers, and takes what it is given.
    pub(super) fn look(&mut self) {
        assert!(!self.writer.has_died(), "the Kafka writer's thread has died: see the log");
        let refusing: Vec<_> = self.writer.refusing().into_iter().map(|(topic, reason)| (topic, reason.as_str())).collect();
        self.kafka.look(self.writer.silent_for(), &refusing);
    }

    /// Whether Kafka has stored something a moment ago: a heartbeat at least, if nothing else.
    pub(super) fn kafka_answers(&self) -> bool {
        clock::steady_millis() - self.stored_at < limits::HEARTBEAT_MILLIS + 2 * limits::METRONOME_MILLIS
    }

    fn stored(&mut self, ticket: Ticket) {
        self.stored_at = clock::steady_millis();
        match self.sent.remove(&ticket) {
            Some(Sent::Beat(beat)) => {
                self.beats.remove(&beat);
            }
            Some(Sent::Alert(origin)) => metrics::alert_stored(origin.kind, clock::wall_millis() - origin.caused_at),
            None => {}
        }
    }

    /// It waits for its topic to come back; `look` says so.
    fn held(&mut self, ticket: Ticket, reason: RefusedReason) {
        metrics::kafka_held("detect", reason.as_str());
        if let Some(Sent::Alert(origin)) = self.sent.get_mut(&ticket) {
            origin.held = true;
        }
    }

    /// An alert that Kafka will not have is said aloud.
    fn refused(&mut self, ticket: Ticket, topic: &str, reason: RefusedReason) {
        metrics::kafka_refused("detect", reason.as_str());
        match self.sent.remove(&ticket) {
            Some(Sent::Alert(origin)) => {
                tracing::error!(topic, partition = %origin.partition, reason = reason.as_str(), "an alert was refused for good");
                self.health.not_ready(
                    "alerts refused",
                    Entry::RecordRefused,
                    "Kafka refused an alert for good: see the log, and raise the topic's max.message.bytes",
                );
            }
            Some(Sent::Beat(beat)) => {
                self.beats.remove(&beat);
            }
            None => {}
        }
    }

    /// An alert is in the journal alone from here on: the partition is not committed past it, so that whoever owns it next writes it.
    fn let_go(&mut self, ticket: Ticket, topic: &str, reason: RefusedReason) {
        metrics::kafka_let_go("detect", reason.as_str());
        let Some(Sent::Alert(origin)) = self.sent.remove(&ticket) else { return };
        let oldest = self.let_go.entry(origin.partition).or_insert(origin);
        if origin.offset < oldest.offset {
            *oldest = origin;
        }
        let why = format!(
            "{topic} refuses more than is kept in memory ({reason}); the rest is in the journal. Mend the topic, then restart: alerts are written \
             from there",
            reason = reason.as_str()
        );
        self.health.not_ready(LET_GO, Entry::KafkaRefuses, why);
    }

    /// The partition is somebody else's, or is replayed: what was let go of it is written again.
    pub(super) fn forget_let_go(&mut self, partition: Partition) {
        self.let_go.remove(&partition);
        if self.let_go.is_empty() {
            self.health.gone(LET_GO);
        }
    }

    /// The partition has come back, and up to this offset somebody else has written what was let go.
    pub(super) fn let_go_below(&mut self, partition: Partition, written_to: i64) {
        if let Some(oldest) = self.let_go.get_mut(&partition) {
            oldest.offset = oldest.offset.max(written_to);
        }
    }

    /// Up to where the partition's offset may be committed, if it has applied everything below `applied`.
    pub(super) fn committable(&self, partition: Partition, applied: i64) -> i64 {
        let waiting = self.alerts_of(partition).map(|origin| origin.offset);
        waiting.min().map_or(applied, |oldest| oldest.min(applied))
    }

    /// When the partition's oldest alert was written that Kafka has not acknowledged.
    pub(super) fn oldest_unacknowledged(&self, partition: Partition) -> Option<i64> {
        self.alerts_of(partition).map(|origin| origin.written_at).min()
    }

    /// Of its alerts that Kafka has not acknowledged: all that the writer keeps, and the oldest that it has let go.
    fn alerts_of(&self, partition: Partition) -> impl Iterator<Item = &Origin> {
        let kept = self.sent.values().filter_map(move |sent| match sent {
            Sent::Alert(origin) if origin.partition == partition => Some(origin),
            Sent::Alert(..) | Sent::Beat(_) => None,
        });
        kept.chain(self.let_go.get(&partition))
    }

    /// Whether another alert fits the limit.
    pub(super) fn has_room(&self) -> bool {
        self.writer.has_room()
    }

    /// Gives Kafka all of this time: a flush ends at once where nothing is awaited but what is refused.
    #[allow(
        clippy::disallowed_methods,
        reason = "past the limit there is nothing else to do, and nobody says when there is room"
    )]
    pub(super) fn wait(&mut self, within: Duration) {
        std::thread::sleep(within);
        self.settle();
    }

    /// Waits until Kafka has every alert of these partitions, but for those whose topic refuses, for a bounded time. What others wait for,
    /// and beats, hold up nobody who gives a partition up.
    pub(super) fn flush_of(&mut self, partitions: &[Partition], within_millis: i64) {
        let deadline = clock::steady_millis() + within_millis;
        self.settle();
        while self.owes(partitions) && clock::steady_millis() < deadline {
            self.wait(FLUSH_LOOK);
        }
    }

    fn owes(&self, partitions: &[Partition]) -> bool {
        self.sent.values().any(|sent| match sent {
            Sent::Alert(origin) => !origin.held && partitions.contains(&origin.partition),
            Sent::Beat(_) => false,
        })
    }

    /// Waits until Kafka has everything, for a bounded time.
    pub(super) fn flush(&mut self, within: Duration) -> bool {
        let flushed = self.writer.flush(within);
        self.settle();
        flushed
    }
}

#[cfg(test)]
impl AlertWriter {
    /// Writes to `topic` what stands for an alert that the record at `offset` brought about.
    pub(super) fn stand_in(&mut self, topic: &str, partition: Partition, offset: i64) {
        let origin = Origin { partition, offset, kind: Kind::Duress, caused_at: 0, written_at: 0, held: false };
        let ticket = self.ticket();
        self.sent.insert(ticket, Sent::Alert(origin));
        let (topic, payload) = (Arc::from(topic), b"x".to_vec());
        self.writer.write(ticket, Outgoing { topic, partition: None, key: "d".into(), payload, keep: Keep::WhileRoom });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rdkafka::types::RDKafkaRespErr;

    use super::*;
    use crate::journal::PartitionCount;
    use crate::kafka::{Cluster, Urgency};

    /// A beat for a topic; beats and alerts go the same way.
    fn beat(topic: &str, keep: Keep) -> (Beat, Outgoing) {
        let topic: Arc<str> = Arc::from(topic);
        let record = Outgoing { topic: Arc::clone(&topic), partition: None, key: "d".into(), payload: b"x".to_vec(), keep };
        (Beat::Heartbeat(topic), record)
    }

    /// A Kafka with a topic that refuses and one that takes.
    fn alerts() -> (crate::kafka::MockKafka, AlertWriter, Health) {
        let mock = crate::kafka::mock(1);
        for topic in ["refuses", "takes"] {
            mock.create_topic(topic, 1, 1).unwrap();
        }
        mock.topic_error("refuses", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
        let cluster = Cluster::embedded(&mock.bootstrap_servers());
        let (writer, deliveries) = Writer::open(&cluster, "d", Urgency::Duress, PartitionCount::new(1).unwrap()).unwrap();
        let health = Health::default();
        let alerts = AlertWriter::new(writer, deliveries, Arc::new(TopicNames::new("lonewatch")), health.clone());
        (mock, alerts, health)
    }

    /// An alert that the record at `offset` brought about, to the topic that refuses.
    fn alert(alerts: &mut AlertWriter, offset: i64) {
        alerts.stand_in("refuses", Partition(0), offset);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test measures how long it waits")]
    fn what_is_let_go_holds_the_offset_back_until_it_is_written_from_the_journal() {
        let (_mock, mut alerts, health) = alerts();
        for offset in 0..limits::WRITER_PENDING_MAX {
            alert(&mut alerts, i64::try_from(offset).unwrap());
        }
        assert!(!alerts.has_room());
        let began = Instant::now();
        while alerts.sent.len() > limits::WRITER_HELD_MAX {
            alerts.wait(Duration::from_millis(50));
            assert!(began.elapsed() < Duration::from_secs(30));
        }
        assert!(alerts.has_room(), "no other centre waits for it");
        assert_eq!(alerts.committable(Partition(0), 1_000_000), 0, "whoever owns the partition next writes all of it");
        assert_eq!(alerts.oldest_unacknowledged(Partition(0)), Some(0));
        let says = |health: &Health| health.report().1.iter().any(|line| line.starts_with("alerts let go: NOT READY: refuses"));
        assert!(says(&health));
        alerts.let_go_below(Partition(0), 5);
        assert_eq!(alerts.committable(Partition(0), 1_000_000), 5);
        alerts.forget_let_go(Partition(0));
        let oldest_kept = limits::WRITER_PENDING_MAX - limits::WRITER_HELD_MAX;
        assert_eq!(alerts.committable(Partition(0), 1_000_000), i64::try_from(oldest_kept).unwrap());
        assert!(!says(&health));
    }

    #[test]
    fn whoever_gives_a_partition_up_waits_for_what_that_one_owes() {
        let (mock, mut alerts, _) = alerts();
        mock.create_topic("silent", 1, 1).unwrap();
        mock.partition_leader("silent", 0, None).unwrap();
        alerts.stand_in("silent", Partition(1), 7);
        alerts.stand_in("takes", Partition(2), 8);
        alerts.stand_in("refuses", Partition(3), 9);
        let took = |alerts: &mut AlertWriter, partitions: &[u32], within_millis| {
            let partitions: Vec<Partition> = partitions.iter().copied().map(Partition).collect();
            let began = clock::steady_millis();
            alerts.flush_of(&partitions, within_millis);
            clock::steady_millis() - began
        };
        assert!(took(&mut alerts, &[2], 20_000) < 10_000);
        assert_eq!(alerts.committable(Partition(2), 9), 9, "it is stored, whatever others wait for");
        assert!(took(&mut alerts, &[3], 20_000) < 15_000, "what is refused is not waited for");
        assert!(took(&mut alerts, &[1, 2], 300) >= 300);
        assert_eq!(alerts.committable(Partition(1), 9), 7);
        mock.partition_leader("silent", 0, Some(1)).unwrap();
        took(&mut alerts, &[1, 2], 20_000);
        assert_eq!(alerts.committable(Partition(1), 9), 9);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test measures how long it waits")]
    fn a_topic_that_refuses_holds_up_no_turn_of_the_detector() {
        let (_mock, mut alerts, health) = alerts();
        alert(&mut alerts, 7);
        let began = Instant::now();
        let refuses = |health: &Health| health.report().1.iter().any(|line| line.contains("to refuses: NOT READY"));
        while !refuses(&health) || alerts.stored_at == 0 {
            let turn = Instant::now();
            alerts.settle();
            assert!(turn.elapsed() < Duration::from_secs(1), "a turn takes no time");
            alerts.look();
            for topic in ["refuses", "takes"] {
                let (beat, record) = beat(topic, Keep::No);
                alerts.beat(beat, record);
            }
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
        assert_eq!(alerts.committable(Partition(0), 9), 7, "the alert is kept");
        assert!(health.report().1.iter().any(|line| line == "alerts writer to Kafka: ready"), "it answers");
    }
}
