//! The detector's loop: journal in, machines, alerts out. One thread; nothing in here waits for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::alerts::{AlertWriter, Beat};
use super::heartbeat::heartbeat;
use super::owned::{Owned, Read};
use crate::alert::CentreMessage;
use crate::clock;
use crate::config::DetectSettings;
use crate::health::Health;
use crate::journal::{self, Partition, PartitionCount, Record};
use crate::kafka::{
    Cluster, Fault, FaultKind, GroupMember, Handle, JournalReader, Keep, Outgoing, ReaderItem, TopicNames, Urgency, Writer,
};
use crate::limits;
use crate::machine::Actions;
use crate::metrics;
use crate::rulebook::Rulebook;
use crate::rulebooks::Versions;
use crate::runbook::Entry;
use crate::shutdown::Ending;
use crate::time::AppendMillis;

/// The part's name in `/readyz`.
const PART: &str = "detector";
/// How long one look at Kafka may take: the grain of everything that is done once a second.
const TURN: Duration = Duration::from_millis(50);
/// Where the alerts have no room for so long, reading pauses and the group is served. Not at once: what was fetched would be fetched again, and
/// a replay fills the room again and again.
const FULL_MILLIS: i64 = 1_000;

/// What a detector stands on.
pub struct DetectorParts {
    /// Its name and group.
    pub settings: DetectSettings,
    /// Where Kafka is.
    pub cluster: Cluster,
    /// What its topics are called.
    pub topics: Arc<TopicNames>,
    /// The journal's partitions.
    pub partitions: PartitionCount,
    /// The newest rulebook, read to its end once.
    pub rulebook: watch::Receiver<Arc<Rulebook>>,
    /// Every version that a record may name.
    pub versions: Versions,
    /// Where to say why we are not ready.
    pub health: Health,
    /// When to end.
    pub ending: Ending,
}

/// Says that the detector has not begun: until it has, a process must not look ready.
pub fn announce(health: &Health) {
    health.not_ready(PART, Entry::RulebookUnread, "not begun: Kafka's topics and the rulebook come first");
}

/// Runs until the end is called.
///
/// # Errors
/// A lasting [`Fault`] where Kafka's client refuses its settings.
pub fn detect(parts: DetectorParts) -> Result<(), Fault> {
    let client_id = format!("lonewatch-{}", parts.settings.name);
    let (writer, deliveries) = Writer::open(&parts.cluster, &client_id, Urgency::Duress, parts.partitions)?;
    let alerts = AlertWriter::new(writer, deliveries, Arc::clone(&parts.topics), parts.health.clone());
    let mut detector = Detector::new(parts, alerts);
    detector.parts.health.not_ready(PART, Entry::DetectorGroup, "joining the group");
    while !detector.parts.ending.now() {
        let mut reader = detector.join()?;
        while !detector.parts.ending.now() {
            if !detector.turn(&mut reader) {
                detector.owned.clear();
                detector.parked.clear();
                detector.read_again(|_| true);
                break;
            }
        }
        if detector.parts.ending.now() {
            detector.leave(&mut reader);
        }
    }
    detector.parts.health.gone(PART);
    Ok(())
}

struct Detector {
    parts: DetectorParts,
    alerts: AlertWriter,
    owned: BTreeMap<Partition, Owned>,
    /// Machines of partitions that were lost without notice.
    parked: BTreeMap<Partition, Owned>,
    /// Partitions that are not read for a fault of Kafka; none for one that may concern them all.
    unread: BTreeSet<Option<Partition>>,
    /// Since when the alerts have no room; on the steady clock.
    full_since: Option<i64>,
    actions: Actions,
    next_metronome: i64,
    next_heartbeat: i64,
    next_commit: i64,
}

impl Detector {
    fn new(parts: DetectorParts, alerts: AlertWriter) -> Self {
        Self {
            parts,
            alerts,
            owned: BTreeMap::new(),
            parked: BTreeMap::new(),
            unread: BTreeSet::new(),
            full_since: None,
            actions: Actions::default(),
            next_metronome: 0,
            next_heartbeat: 0,
            next_commit: 0,
        }
    }

    fn join(&self) -> Result<Handle<JournalReader>, Fault> {
        let member = GroupMember { group: self.parts.settings.group.clone(), name: self.parts.settings.name.clone() };
        JournalReader::join(&self.parts.cluster, &self.parts.topics.journal(), &member)
    }

    /// One turn: what Kafka says, what waits, what is due. False where the reader is spent.
    fn turn(&mut self, reader: &mut JournalReader) -> bool {
        self.alerts.settle();
        if !self.may_read(reader) {
            self.alerts.wait(TURN);
        } else if !self.poll(reader) {
            return false;
        }
        self.waiting(reader);
        self.beats(reader);
        true
    }

    /// Whether to ask the reader for more: not while the alerts have no room. Where that lasts, reading pauses instead, so that the group hears
    /// from this detector and others can take its partitions.
    fn may_read(&mut self, reader: &mut JournalReader) -> bool {
        let now = clock::steady_millis();
        let moved = if self.alerts.has_room() {
            if self.full_since.take().is_none_or(|since| now - since < FULL_MILLIS) {
                return true;
            }
            tracing::info!("the alerts have room again: reading goes on");
            reader.resume_all()
        } else {
            let since = *self.full_since.get_or_insert(now);
            if now - since < FULL_MILLIS {
                return false;
            }
            reader.pause_all()
        };
        if let Err(fault) = moved {
            tracing::warn!(%fault, "cannot pause or resume");
        }
        true
    }

    /// What Kafka says. False where the reader is spent.
    fn poll(&mut self, reader: &mut JournalReader) -> bool {
        match reader.poll(TURN) {
            ReaderItem::Record { partition, offset, appended_at, payload, .. } => {
                if !self.unread.is_empty() {
                    self.read_again(|unread| unread.is_none_or(|unread| unread == partition));
                }
                self.read(reader, partition, offset, appended_at, &payload);
            }
            ReaderItem::Joined => self.say_state(),
            ReaderItem::Assigned { partition, log_start, committed, end, continues_at } => {
                self.read_again(|unread| unread.is_none_or(|unread| unread == partition));
                self.assigned(reader, partition, (log_start, committed, end), continues_at);
            }
            ReaderItem::Revoked { partitions, lost } => self.revoked(reader, &partitions, lost),
            ReaderItem::Idle => {}
            ReaderItem::Fault { partition, fault } => return self.fault(partition, &fault),
        }
        true
    }

    fn assigned(
        &mut self,
        reader: &mut JournalReader,
        partition: Partition,
        bounds: (i64, Option<i64>, i64),
        continues_at: Option<i64>,
    ) {
        let (log_start, committed, end) = bounds;
        if log_start > 0 {
            tracing::warn!(
                %partition, log_start,
                "the journal no longer begins at its first record: state before {log_start} is unknown, and devices wait the reconnect grace"
            );
        }
        match committed {
            Some(committed) => {
                tracing::info!(%partition, records = end - log_start, committed, "replaying, silently below the committed offset");
            }
            None => {
                tracing::info!(%partition, records = end - log_start, "the group has no offset: alerts are written from the journal's start");
            }
        }
        let parked = self.parked.remove(&partition);
        if let Some(parked) = &parked
            && continues_at.is_none()
        {
            let next_offset = parked.machine.next_offset();
            tracing::error!(
                %partition, next_offset, log_start, end,
                "the journal no longer holds the offset at which this partition's machine would go on: it is replayed from the log's start. \
                 Beyond the end: Kafka has lost records that it had acknowledged"
            );
        }
        let owned = if let Some(parked) = parked.filter(|parked| continues_at == Some(parked.machine.next_offset())) {
            let owned = parked.returned(bounds, clock::wall_millis());
            self.alerts.let_go_below(partition, owned.emit_from);
            owned
        } else {
            // What was let go is written again from the journal.
            self.alerts.forget_let_go(partition);
            Owned::new(partition, self.parts.partitions, bounds, clock::wall_millis())
        };
        metrics::journal_lag(partition, if owned.replay.is_some() { end - log_start } else { 0 });
        self.owned.insert(partition, owned);
        self.say_state();
        if let Some(committed) = committed.filter(|committed| *committed > end) {
            let why = format!(
                "the group's offset {committed} is beyond the end {end} of the journal's partition {partition}: the topic was deleted and made \
                 anew, and what is in it now would count as acknowledged. Begin a new group (detect.group), or reset this one's offsets \
                 with kafka-consumer-groups.sh --reset-offsets --to-earliest"
            );
            self.stop(reader, partition, Entry::OffsetBeyondEnd, &why);
        }
    }

    /// A partition stands still, loudly; the others go on.
    fn stop(&mut self, reader: &mut JournalReader, partition: Partition, entry: Entry, why: &str) {
        tracing::error!(%partition, why, "partition stopped");
        self.parts.health.not_ready(&format!("partition {partition}"), entry, why);
        if let Some(owned) = self.owned.get_mut(&partition) {
            owned.stopped = true;
        }
        self.say_state();
        if let Err(fault) = reader.pause(partition) {
            tracing::warn!(%partition, %fault, "cannot pause");
        }
    }

    fn revoked(&mut self, reader: &mut JournalReader, partitions: &[Partition], lost: bool) {
        if !lost {
            self.alerts.flush_of(partitions, limits::GIVE_UP_MILLIS.cast_signed());
            for partition in partitions {
                self.commit(reader, *partition);
            }
            reader.wait_for_commits(Duration::from_millis(limits::GIVE_UP_MILLIS));
        }
        for partition in partitions.iter().copied() {
            let owned = self.owned.remove(&partition);
            if !lost && owned.is_some() {
                self.alerts.forget_let_go(partition);
            }
            if let Some(owned) = owned.filter(|owned| lost && !owned.stopped) {
                // Kafka was away for longer than the session: most likely the partition comes back, and nothing need be replayed.
                reader.continue_at(partition, owned.machine.next_offset());
                self.parked.insert(partition, owned);
            }
            self.parts.health.gone(&format!("partition {partition}"));
            tracing::info!(%partition, lost, "partition given up");
        }
        self.read_again(|unread| unread.is_some_and(|unread| partitions.contains(&unread)));
        self.say_state();
    }

    /// True where reading goes on.
    fn fault(&mut self, partition: Option<Partition>, fault: &Fault) -> bool {
        match fault.kind {
            FaultKind::Passing if partition.is_none() => tracing::debug!(%fault, "reading the journal"),
            FaultKind::Passing | FaultKind::Lasting => {
                self.unread.insert(partition);
                self.parts.health.not_ready(&part_of(partition), Entry::DetectorGroup, fault.to_string());
            }
            FaultKind::Fatal => {
                self.parts.health.not_ready(PART, Entry::DetectorGroup, format!("{fault}; joining anew"));
            }
        }
        fault.kind != FaultKind::Fatal
    }

    /// These faults are over.
    fn read_again(&mut self, is_over: impl Fn(Option<Partition>) -> bool) {
        for partition in self.unread.extract_if(.., |partition| is_over(*partition)) {
            self.parts.health.gone(&part_of(partition));
        }
    }

    fn read(&mut self, reader: &mut JournalReader, partition: Partition, offset: i64, appended_at: AppendMillis, payload: &[u8]) {
        let Some(owned) = self.owned.get_mut(&partition).filter(|owned| !owned.stopped) else { return };
        match journal::decode(payload) {
            Ok(record) => owned.push(Read { offset, appended_at, record }),
            Err(fault) => {
                let why = format!(
                    "stands still at offset {offset}: {fault}. Something else than lonewatch writes to the journal, or an older lonewatch \
                     reads what a newer one wrote"
                );
                self.stop(reader, partition, Entry::ForeignRecord, &why);
            }
        }
        self.apply(partition);
    }

    /// Applies what can be applied of a partition.
    fn apply(&mut self, partition: Partition) {
        let Some(owned) = self.owned.get_mut(&partition) else { return };
        let replayed_before = owned.replay.is_none();
        while owned.has_waiting() && owned.awaits(&self.parts.versions).is_none() {
            self.actions.clear();
            let Some(offset) = owned.apply_next(&mut self.actions) else { break };
            if offset >= owned.emit_from {
                let now_millis = clock::wall_millis();
                for alert in self.actions.alerts.drain(..) {
                    self.alerts.alert(partition, offset, alert, now_millis);
                }
                for outcome in self.actions.outcomes.drain(..) {
                    metrics::record_applied(outcome);
                }
            }
            replayed(owned, offset);
        }
        if owned.replay.is_none() != replayed_before {
            self.say_state();
        }
    }

    /// Partitions whose next record waits for a rulebook version stand still, without holding up the others.
    fn waiting(&mut self, reader: &mut JournalReader) {
        let partitions: Vec<Partition> =
            self.owned.values().filter(|owned| owned.has_waiting() || owned.is_paused()).map(|owned| owned.partition).collect();
        for partition in partitions {
            self.apply(partition);
            let Some(owned) = self.owned.get_mut(&partition) else { continue };
            let part = format!("partition {partition}");
            let moved = match owned.awaits(&self.parts.versions) {
                Some(awaited) if owned.pause() => {
                    metrics::partition_waits(partition);
                    self.parts.health.not_ready(&part, Entry::PartitionWaits, awaited.words());
                    reader.pause(partition)
                }
                None if owned.resume() => {
                    self.parts.health.gone(&part);
                    reader.resume(partition)
                }
                Some(_) | None => Ok(()),
            };
            if let Err(fault) = moved {
                tracing::warn!(%partition, %fault, "cannot pause or resume");
            }
        }
    }

    /// What is due every second, or every few.
    fn beats(&mut self, reader: &mut JournalReader) {
        let now_millis = clock::wall_millis();
        if due(&mut self.next_metronome, now_millis, limits::METRONOME_MILLIS) {
            self.alerts.look();
            reader.look(self.alerts.kafka_answers());
            self.metronomes();
        }
        if due(&mut self.next_heartbeat, now_millis, limits::HEARTBEAT_MILLIS) {
            self.heartbeats(now_millis);
        }
        if due(&mut self.next_commit, now_millis, limits::COMMIT_MILLIS) {
            for partition in self.partitions() {
                self.commit(reader, partition);
            }
        }
    }

    fn partitions(&self) -> Vec<Partition> {
        self.owned.keys().copied().collect()
    }

    fn metronomes(&mut self) {
        let payload = journal::encode(&Record::Metronome { detector: self.parts.settings.name.clone() });
        for partition in self.partitions() {
            let record = Outgoing {
                topic: self.parts.topics.journal(),
                partition: Some(partition),
                key: String::new(),
                payload: payload.clone(),
                keep: Keep::No,
            };
            self.alerts.beat(Beat::Metronome(partition), record);
        }
    }

    fn heartbeats(&mut self, now_millis: i64) {
        let rulebook = Arc::clone(&self.parts.rulebook.borrow());
        let name = &self.parts.settings.name;
        let beat = heartbeat(name, self.parts.partitions, &self.owned, &self.alerts, &rulebook, now_millis);
        let payload = CentreMessage::Heartbeat(beat).to_json();
        for centre in rulebook.centres() {
            let topic = self.parts.topics.alerts(&centre.name);
            let record = Outgoing {
                topic: Arc::clone(&topic),
                partition: None,
                key: name.clone(),
                payload: payload.clone(),
                keep: Keep::No,
            };
            self.alerts.beat(Beat::Heartbeat(topic), record);
        }
    }

    /// Moves the group's offset up to the first record whose alerts are not all acknowledged.
    fn commit(&mut self, reader: &mut JournalReader, partition: Partition) {
        let Some(owned) = self.owned.get_mut(&partition) else { return };
        let offset = self.alerts.committable(partition, owned.machine.next_offset());
        if offset <= owned.committed {
            return;
        }
        match reader.commit(partition, offset) {
            Ok(()) => {
                owned.committed = offset;
                metrics::committed(partition, offset);
            }
            Err(fault) => tracing::warn!(%partition, %fault, "cannot commit; the next commit makes up for it"),
        }
    }

    /// The end in good order: what was read is written, acknowledged and committed.
    fn leave(&mut self, reader: &mut JournalReader) {
        let written = self.alerts.flush(Duration::from_millis(limits::DRAIN_MILLIS));
        for partition in self.partitions() {
            self.commit(reader, partition);
        }
        let committed = reader.wait_for_commits(Duration::from_millis(limits::GIVE_UP_MILLIS));
        if !(written && committed) {
            tracing::warn!(
                written,
                committed,
                "Kafka has not answered in time: the next detector repeats the last alerts, under the same ids"
            );
        }
        self.owned.clear();
    }

    fn say_state(&self) {
        metrics::partitions_owned(self.owned.len());
        if self.owned.is_empty() {
            let why = "owns no partition: the group has more detectors than partitions, or is rebalancing";
            self.parts.health.remark(PART, Entry::DetectorGroup, why);
        } else if self.owned.values().any(Owned::replays) {
            // Whoever rolls a new version out is to wait for it.
            let why = "replays the journal: until that is over, silence and fences of its partitions are not judged";
            self.parts.health.not_ready(PART, Entry::DetectorGroup, why);
        } else {
            self.parts.health.ready(PART);
        }
    }
}

/// The part in `/readyz` of what keeps a partition, or nobody knows which, from being read.
fn part_of(partition: Option<Partition>) -> String {
    partition.map_or_else(|| "reading the journal".to_owned(), |partition| format!("reading partition {partition}"))
}

/// Whether something periodic is due, and when next. A clock that was set back must not stop it.
const fn due(next: &mut i64, now_millis: i64, period_millis: i64) -> bool {
    let due = now_millis >= *next || *next - now_millis > period_millis;
    if due {
        *next = now_millis + period_millis;
    }
    due
}

/// Notes how far a replay has come.
fn replayed(owned: &mut Owned, offset: i64) {
    if let Some(replay) = owned.replay {
        metrics::journal_lag(owned.partition, (replay.end - offset - 1).max(0));
        if offset + 1 >= replay.end {
            let took_millis = clock::wall_millis() - replay.began_at;
            metrics::replayed(took_millis);
            tracing::info!(partition = %owned.partition, took_millis, "replayed");
            owned.replay = None;
        }
    }
}

#[cfg(test)]
mod tests;
