//! The deterministic state machine of one journal partition: the same records in the same order give the same alerts, byte for byte.
//!
//! One door: [`Machine::apply`]. It returns no error (a bad report is an outcome), never logs, counts, reads a clock or waits; the
//! shell takes the actions and carries them out, replay throws them away. The order inside is fixed: the clocks advance, what is
//! due fires, then the record applies; exit before enter, restore before raise.

mod actions;
mod battery_low;
mod blind;
mod clocks;
mod devices;
mod digest;
mod directory;
mod duress;
mod episode;
mod fences;
mod fix;
mod ingest_faults;
mod install;
mod lost_contact;
mod presses;
mod raise;
mod repeats;
mod skew;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use actions::{Actions, Outcome};
pub use digest::chain;

use crate::alert::Lane;
use crate::device::Report;
use crate::ids::{EventId, FeedName};
use crate::journal::{MessageContent, MessageRecord, Observation, Partition, PartitionCount, Record};
use crate::limits;
use crate::rulebook::Rulebook;
use crate::time::{AppendMillis, ProbeMillis, SECOND_MILLIS};

use blind::Blindness;
use clocks::Clocks;
use devices::Devices;
use digest::StateHasher;
use directory::Slot;
use fix::AppliedFix;
use ingest_faults::IngestFaults;
use presses::Strangers;
use raise::Scene;
use skew::Said;

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the journal's first record: nothing is missing.
    Whole,
    /// The journal's start is gone: devices wait the reconnect grace before silence counts.
    Truncated,
}

/// When a record is applied.
#[derive(Clone, Copy)]
struct Moment {
    now: AppendMillis,
    appended_at: AppendMillis,
}

impl Moment {
    const fn scene(self, rulebook: &Rulebook) -> Scene<'_> {
        Scene { now: self.now, appended_at: self.appended_at, rulebook }
    }

    /// Whether the record's own time lies behind `now` by more than clocks under NTP differ.
    const fn is_behind(self) -> bool {
        self.now.since(self.appended_at) > limits::CLOCK_FAULT_MILLIS
    }
}

/// How old a message is, at most.
#[derive(Clone, Copy)]
struct Waited {
    /// When its device was alive to send it, on the probes' axis; none where that cannot be told (DESIGN section 5).
    alive_at: Option<ProbeMillis>,
    /// The oldest that it can be: what it leaves undated is taken for so old, and never for news (P8).
    since: ProbeMillis,
}

/// One partition.
#[derive(Clone, Debug)]
pub struct Machine {
    partition: Partition,
    count: PartitionCount,
    now: Option<AppendMillis>,
    /// The last record's own append time.
    last_appended: Option<AppendMillis>,
    next_offset: i64,
    rulebook: Arc<Rulebook>,
    /// Versions that the shell has built and no record has named yet.
    installed: BTreeMap<i64, Arc<Rulebook>>,
    clocks: Clocks,
    devices: Devices,
    strangers: Strangers,
    blindness: Blindness,
    ingest_faults: IngestFaults,
    /// Devices with an edge that waits for its dwell.
    dwelling: BTreeSet<Slot>,
}

impl Machine {
    /// A machine at the start of its partition's journal.
    pub fn new(partition: Partition, count: PartitionCount, start: Start) -> Self {
        Self {
            partition,
            count,
            now: None,
            last_appended: None,
            next_offset: 0,
            rulebook: Arc::new(Rulebook::empty()),
            installed: BTreeMap::new(),
            clocks: Clocks::new(start == Start::Truncated),
            devices: Devices::new(limits::UNKNOWN_DEVICES_MAX),
            strangers: Strangers::default(),
            blindness: Blindness::new(partition, count),
            ingest_faults: IngestFaults::new(partition, count),
            dwelling: BTreeSet::new(),
        }
    }

    /// The rulebook version that must be installed before this record can be applied; none where it can be at once.
    pub fn awaits(&self, record: &Record) -> Option<i64> {
        match record {
            Record::Observation(observation) => {
                let version = observation.rulebook_version;
                (version > self.rulebook.version() && !self.installed.contains_key(&version)).then_some(version)
            }
            Record::Message(_) | Record::Metronome { .. } | Record::Action => None,
        }
    }

    /// Hands over a version that was built; it comes into force at the record that first names it.
    pub fn install(&mut self, rulebook: Arc<Rulebook>) {
        if rulebook.version() > self.rulebook.version() {
            self.installed.insert(rulebook.version(), rulebook);
        }
    }

    /// Applies one journal record. Same records, same order: same actions, byte for byte.
    ///
    /// The caller takes every action before applying the next record, and has answered [`Machine::awaits`].
    ///
    /// # Panics
    /// Where offsets go back, or the record names a version that was not installed: a bug of the shell, which stops this
    /// partition rather than answer wrongly.
    pub fn apply(&mut self, offset: i64, appended_at: AppendMillis, record: &Record, actions: &mut Actions) {
        assert!(offset >= self.next_offset, "offset {offset} after {} of partition {}", self.next_offset, self.partition);
        self.next_offset = offset + 1;
        let before = self.now;
        let moment = Moment { now: before.map_or(appended_at, |before| before.max(appended_at)), appended_at };
        self.now = Some(moment.now);
        let second = |at: AppendMillis| at.get().div_euclid(SECOND_MILLIS);
        let crossed = before.is_some_and(|before| second(moment.now) > second(before));
        // Where Kafka's clock was ahead, or falls behind, `now` stands still: seconds are those of the records then.
        let last = self.last_appended.replace(appended_at);
        if crossed || moment.is_behind() && last.is_some_and(|last| second(appended_at) != second(last)) {
            self.sweep(moment, actions);
        }
        match record {
            Record::Message(message) => self.message(moment, message, actions),
            Record::Observation(observation) => self.observation(moment, observation, actions),
            Record::Metronome { .. } => actions.note(Outcome::Metronome),
            Record::Action => actions.note(Outcome::Action),
        }
    }

    /// What is due, once for every whole second that the log crosses.
    fn sweep(&mut self, moment: Moment, actions: &mut Actions) {
        let rulebook = Arc::clone(&self.rulebook);
        let scene = moment.scene(&rulebook);
        self.blindness.sweep(scene, &self.clocks, actions);
        self.ingest_faults.sweep(scene, actions);
        for slot in self.dwelling.clone() {
            let device = self.devices.get_mut(slot);
            if let Some(owner) = &device.owner {
                fences::sweep(scene, self.clocks.tenant(&owner.tenant), device, actions);
            }
            if !device.fences.pending() {
                self.dwelling.remove(&slot);
            }
        }
        lost_contact::sweep(scene, &self.clocks, &mut self.devices, actions);
    }

    fn observation(&mut self, moment: Moment, observation: &Observation, actions: &mut Actions) {
        let appended_at = moment.appended_at;
        let version = observation.rulebook_version;
        if version > self.rulebook.version() {
            let rulebook = self.installed.remove(&version);
            let rulebook = rulebook.expect("the shell installs a version before the record that first names it");
            self.installed = self.installed.split_off(&version);
            self.put_in_force(moment, &rulebook, actions);
        }
        let ahead = observation.heard.iter().any(|heard| heard.to.get() > appended_at.plus(limits::CLOCK_FAULT_MILLIS).get());
        if !self.ingest_faults.note(appended_at, &self.rulebook, observation, ahead) {
            actions.note(Outcome::FaultUnremembered);
        }
        if ahead {
            return actions.note(Outcome::ObservationAhead);
        }
        self.clocks.observe(observation, &self.rulebook);
        actions.note(Outcome::Observation);
    }

    fn message(&mut self, moment: Moment, message: &MessageRecord, actions: &mut Actions) {
        let rulebook = Arc::clone(&self.rulebook);
        let scene = moment.scene(&rulebook);
        let entry = rulebook.device(&message.device);
        if entry.is_some_and(|entry| !rulebook.carries_tenant(&message.feed, &entry.tenant)) {
            // Another tenant's feed: its word for this device is no contact and moves nothing of it, and yet a press is one (P10, P1).
            if let Some(press) = &message.press {
                let device = self.devices.find(&message.device).map(|slot| self.devices.get_mut(slot));
                duress::press(scene, &mut self.strangers, device, (message, press), actions);
            }
            return actions.note(Outcome::NotCarried);
        }
        let slot = self.devices.slot_or_new(&message.device, entry.is_some(), (moment.now, self.strangers.forgot_at()));
        // Nothing arrives after Kafka has it: an ingester's clock that runs ahead must not keep a device alive, or its presses old.
        let arrived = ProbeMillis::new(message.arrived_at().min(moment.now.get()));
        let waited = self.waited(message, arrived);
        if let Some(slot) = slot {
            let device = self.devices.get_mut(slot);
            device.seen_at = moment.now;
            // Of a device that nobody owns, each tenant's feeds know what they told themselves (P10).
            if device.owner.is_none() && device.feed.as_ref().is_some_and(|known| !rulebook.same_tenants(known, &message.feed)) {
                device.forget_what_it_told();
            }
            device.feed = Some(message.feed.clone());
            if message.is_contact() {
                if let Some(at) = waited.alive_at {
                    lost_contact::contact(scene, &self.clocks, &mut self.devices, slot, (at, message.event), actions);
                }
            } else if message.content == MessageContent::Will && !message.retained && message.after_probe.is_some() {
                // Without a probe it waited in the broker for who knows how long.
                lost_contact::will(scene, &self.clocks, &mut self.devices, slot, (arrived, message.event));
            }
        }
        let device = slot.map(|slot| self.devices.get_mut(slot));
        if let Some(press) = &message.press {
            duress::press(scene, &mut self.strangers, device, (message, press), actions);
        }
        let Some(slot) = slot else { return actions.note(Outcome::UnknownUnremembered) };
        let device = self.devices.get_mut(slot);
        let report = message.report();
        // A message that waited in the broker for an unknown time tells nothing of its device's clock by when it was sent.
        let sent = report.and_then(|report| report.sent).filter(|_| message.after_probe.is_some());
        let is_overtaken = report.and_then(Report::boot_and_sequence).is_some_and(|number| device.repeats.is_overtaken(number));
        // Nor do a copy, and what came while no probe did and so seems to have arrived before it was sent.
        let is_known = device.repeats.knows(message.event, report.and_then(Report::boot_and_sequence));
        let is_fresh = message.received_at.get().saturating_sub(message.arrived_at()) <= limits::PROBE_STALE_MILLIS;
        let said = Said { newest: report.and_then(Report::newest_time), sent, is_overtaken, teaches: is_fresh && !is_known };
        let clock = if message.press.is_some() { device.skew.of_press(sent, arrived) } else { device.skew.read(said, arrived) };
        self.tell(scene, slot, message, clock.undated_since(waited.since), actions);
    }

    /// For how long a message may have waited in the broker. Before a connection's first probe comes its session's backlog: what the
    /// broker held, or had not seen acknowledged, since its ingester last heard this lane; of a mirrored one's listening it tells nothing.
    fn waited(&self, message: &MessageRecord, arrived: ProbeMillis) -> Waited {
        if message.after_probe.is_some() {
            return Waited { alive_at: Some(arrived), since: arrived };
        }
        let connected_at = ProbeMillis::new(message.connected_at.get());
        let own = self.clocks.heard_by(&message.feed, message.lane, &message.ingester);
        let heard_to = own.filter(|to| *to < connected_at);
        let oldest = || connected_at.plus(-SECOND_MILLIS * i64::from(limits::SESSION_EXPIRY_SECONDS));
        // Of an ingester under a new name no backlog can be older than what anybody last heard, as long as nobody has heard since: its
        // session is new.
        let of_anybody = || self.clocks.heard_to(&message.feed, message.lane).filter(|to| own.is_none() && *to < connected_at);
        Waited { alive_at: heard_to.or_else(of_anybody), since: heard_to.unwrap_or_else(oldest).min(arrived) }
    }

    /// What the message tells of its device, once it is clear that it was not told before.
    fn tell(&mut self, scene: Scene<'_>, slot: Slot, message: &MessageRecord, clock: skew::DeviceClock, actions: &mut Actions) {
        let report = match &message.content {
            MessageContent::Report(report) => report,
            MessageContent::Will => return actions.note(Outcome::Will),
            MessageContent::Other | MessageContent::Unreadable(_) => return actions.note(Outcome::ContactOnly),
        };
        let device = self.devices.get_mut(slot);
        let told_at = clock.correct(report.device_time());
        // A copy that waited nobody knows how long, and is history for that, takes nothing from one that came at once by another ingester.
        let fix_at = report.fix.map(|fix| clock.correct(fix.at.or_else(|| report.device_time())));
        let level_at = report.battery_percent.map(|_| told_at);
        let says = fix_at.is_some() || level_at.is_some();
        if message.after_probe.is_none() && says && !device.learns(fix_at, level_at) {
            return actions.note(Outcome::History);
        }
        if device.repeats.seen(message.event, clock.arrived(), report.boot_and_sequence()) {
            return actions.note(Outcome::Repeat);
        }
        if message.retained {
            return actions.note(Outcome::Retained);
        }
        if scene.appended_at.get().saturating_sub(told_at.get()) > limits::LATE_MILLIS {
            actions.note(Outcome::Late);
        }
        let news = device.told_up_to.is_none_or(|known| told_at >= known);
        // A fix is held against the last fix alone, and a level against the last level: an undated word in between must not make
        // history of them.
        let moved = self.fix(scene, slot, message.event, report, clock, actions);
        let device = self.devices.get_mut(slot);
        if news {
            device.told_up_to = Some(told_at);
        }
        let level = report.battery_percent.filter(|_| device.level_at.is_none_or(|known| told_at >= known));
        if let Some(percent) = level {
            device.level_at = Some(told_at);
            battery_low::level(scene, device, percent, message.event, told_at, scene.appended_at, actions);
        }
        actions.note(if news || moved || level.is_some() { Outcome::Applied } else { Outcome::History });
    }

    /// A fix newer than the last moves the device (true); an older one is history.
    fn fix(
        &mut self,
        scene: Scene<'_>,
        slot: Slot,
        event: EventId,
        report: &Report,
        clock: skew::DeviceClock,
        actions: &mut Actions,
    ) -> bool {
        let Some(fix) = report.fix else { return false };
        let said = fix.at.or_else(|| report.device_time());
        let at = clock.correct(said);
        let device = self.devices.get_mut(slot);
        if device.fix.is_some_and(|known| at < known.at) {
            return false;
        }
        device.fix = Some(AppliedFix::new(fix, (at, said), event, scene.appended_at));
        let Some(owner) = &device.owner else { return true };
        let seen = fences::Seen::fix(clock.arrived(), said.is_some());
        fences::judge(scene, self.clocks.tenant(&owner.tenant), device, seen, actions);
        self.note_dwelling(slot);
        true
    }

    fn note_dwelling(&mut self, slot: Slot) {
        if self.devices.get(slot).fences.pending() {
            self.dwelling.insert(slot);
        } else {
            self.dwelling.remove(&slot);
        }
    }

    /// The newest append time that this machine has seen.
    pub const fn now(&self) -> Option<AppendMillis> {
        self.now
    }

    /// The offset after the last record applied.
    pub const fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The version of the rulebook in force.
    pub fn rulebook_version(&self) -> i64 {
        self.rulebook.version()
    }

    /// Up to when each lane of each feed was heard.
    pub fn heard_to(&self) -> impl Iterator<Item = (&FeedName, Lane, Option<ProbeMillis>)> {
        self.clocks.lanes().map(|(feed, lane, clock)| (feed, lane, clock.heard_to()))
    }

    /// A hash over everything that can change what the machine says next.
    pub fn state_hash(&self) -> [u8; 32] {
        let mut hash = StateHasher::new();
        hash.int(self.partition.0.into()).int(self.count.get().into()).option(self.now.map(AppendMillis::get));
        hash.option(self.last_appended.map(AppendMillis::get)).int(self.next_offset).int(self.rulebook.version());
        self.clocks.digest(&mut hash);
        self.devices.digest(&mut hash);
        self.strangers.digest(&mut hash);
        self.blindness.digest(&mut hash);
        self.ingest_faults.digest(&mut hash);
        hash.count(self.dwelling.len());
        hash.finish()
    }
}
