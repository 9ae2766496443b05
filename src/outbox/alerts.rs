//! Alerts on their way: written in order, remembered until Kafka has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::{Alert, CentreMessage, Kind, Stage};
use crate::clock;
use crate::health::{Health, KafkaAnswers};
use crate::journal::Partition;
use crate::kafka::{Deliveries, Delivery, Outcome, Outgoing, RefusedReason, Ticket, Topic, TopicNames, Writer};
use crate::limits;
use crate::metrics;
use crate::runbook::Entry;

/// The part's name in `/readyz`.
const PART: &str = "alerts writer";

/// Which record of which partition an alert came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    partition: Partition,
    offset: i64,
    kind: Kind,
    /// Append time of that record.
    caused_at: i64,
    written_at: i64,
}

/// What a ticket stands for.
#[derive(Debug)]
enum Sent {
    /// An alert, kept whole until Kafka has it: a refused one is tried again.
    Alert(Origin, Outgoing),
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
    next: u64,
    /// When Kafka last stored anything, on the steady clock.
    stored_at: i64,
}

impl AlertWriter {
    pub(super) fn new(writer: Writer, deliveries: Deliveries, topics: Arc<TopicNames>, health: Health) -> Self {
        health.ready(PART);
        let kafka = KafkaAnswers::new(&health, PART, clock::wall_millis());
        Self { writer, deliveries, topics, health, kafka, sent: BTreeMap::new(), beats: BTreeMap::new(), next: 0, stored_at: 0 }
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
        let origin = Origin { partition, offset, kind: alert.kind, caused_at: alert.changed_at, written_at: now_millis };
        let record = Outgoing { topic, partition: None, key, payload: CentreMessage::Alert(Box::new(alert)).to_json() };
        let ticket = self.ticket();
        self.writer.write(ticket, record.clone());
        self.sent.insert(ticket, Sent::Alert(origin, record));
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

    /// Takes what Kafka has answered.
    pub(super) fn settle(&mut self) {
        while let Some(Delivery { ticket, outcome, .. }) = self.deliveries.try_next() {
            match outcome {
                Outcome::Stored => self.stored(ticket),
                Outcome::Refused(reason) => self.refused(ticket, reason),
            }
        }
        metrics::kafka_pending("detect", self.writer.pending());
    }

    /// Once a second: whether Kafka still answers.
    pub(super) fn look(&mut self, now_millis: i64) {
        self.kafka.look(self.writer.pending(), now_millis);
    }

    /// Whether Kafka has stored something a moment ago: a heartbeat at least, if nothing else.
    pub(super) fn kafka_answers(&self) -> bool {
        clock::steady_millis() - self.stored_at < limits::HEARTBEAT_MILLIS + 2 * limits::METRONOME_MILLIS
    }

    fn stored(&mut self, ticket: Ticket) {
        self.stored_at = clock::steady_millis();
        self.kafka.answered(clock::wall_millis());
        match self.sent.remove(&ticket) {
            Some(Sent::Beat(beat)) => {
                self.beats.remove(&beat);
            }
            Some(Sent::Alert(origin, _)) => {
                metrics::alert_stored(origin.kind, clock::wall_millis() - origin.caused_at);
                self.health.ready(PART);
            }
            None => {}
        }
    }

    /// An alert is never given up while its topic may come back; one that Kafka calls invalid is said aloud.
    fn refused(&mut self, ticket: Ticket, reason: RefusedReason) {
        metrics::kafka_refused("detect", reason.as_str());
        match self.sent.remove(&ticket) {
            Some(Sent::Alert(origin, record)) if reason.is_of_destination() => {
                self.health.not_ready(
                    PART,
                    Entry::KafkaRefuses,
                    format!(
                        "Kafka refuses alerts on {} ({}): run `lonewatch topics create`, and allow this principal to write",
                        record.topic,
                        reason.as_str()
                    ),
                );
                self.writer.write(ticket, record.clone());
                self.sent.insert(ticket, Sent::Alert(origin, record));
            }
            Some(Sent::Alert(origin, record)) => {
                tracing::error!(topic = %record.topic, partition = %origin.partition, reason = reason.as_str(), "an alert was refused for good");
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

    /// Up to where the partition's offset may be committed, if it has applied everything below `applied`.
    pub(super) fn committable(&self, partition: Partition, applied: i64) -> i64 {
        let waiting = self.alerts_of(partition).map(|origin| origin.offset);
        waiting.min().map_or(applied, |oldest| oldest.min(applied))
    }

    /// When the partition's oldest alert was written that Kafka has not acknowledged.
    pub(super) fn oldest_unacknowledged(&self, partition: Partition) -> Option<i64> {
        self.alerts_of(partition).map(|origin| origin.written_at).min()
    }

    fn alerts_of(&self, partition: Partition) -> impl Iterator<Item = &Origin> {
        self.sent.values().filter_map(move |sent| match sent {
            Sent::Alert(origin, _) if origin.partition == partition => Some(origin),
            Sent::Alert(..) | Sent::Beat(_) => None,
        })
    }

    /// Whether another alert fits the limit.
    pub(super) fn has_room(&self) -> bool {
        self.writer.has_room()
    }

    /// Waits until Kafka has everything, for a bounded time.
    pub(super) fn flush(&mut self, within: std::time::Duration) -> bool {
        let flushed = self.writer.flush(within);
        self.settle();
        flushed
    }
}
