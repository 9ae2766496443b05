//! The devices of a partition: records in slots, a directory from id to slot, and the flat column of silence deadlines.
//!
//! Slots are state: they are given out in order and set the order in which deadlines fire.

use std::collections::BTreeSet;

use crate::alert::Alert;
use crate::ids::{DeviceId, EventId, FeedName, GroupName, TenantName};
use crate::limits;
use crate::time::{AppendMillis, DeviceMillis, HeardMillis, ProbeMillis};

use super::directory::{Directory, Slot};
use super::episode::EpisodeState;
use super::fences::FenceStates;
use super::fix::AppliedFix;
use super::presses::Presses;
use super::raise::Cleared;
use super::repeats::Repeats;
use super::skew::Skew;

use super::digest::StateHasher;

/// A deadline that never falls.
pub(super) const NEVER: HeardMillis = HeardMillis::new(i64::MAX);

/// What is known of one device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) id: DeviceId,
    /// When the log last heard of it.
    pub(super) seen_at: AppendMillis,
    /// The feed that it last spoke through.
    pub(super) feed: Option<FeedName>,
    /// Set while the rulebook names it.
    pub(super) owner: Option<Owner>,
    /// Its newest sign of life, on the probes' axis, and which message that was.
    pub(super) contact: Option<(ProbeMillis, EventId)>,
    /// The broker's newest word for a broken connection of it, on the same axis: only one later than the contact counts.
    pub(super) will: Option<(ProbeMillis, EventId)>,
    pub(super) repeats: Repeats,
    pub(super) presses: Presses,
    pub(super) skew: Skew,
    /// The newest time that it told of: what is older is history.
    pub(super) told_up_to: Option<ProbeMillis>,
    pub(super) fix: Option<AppliedFix>,
    /// When its newest battery level was so.
    pub(super) level_at: Option<ProbeMillis>,
    pub(super) fences: FenceStates,
    pub(super) lost_contact: Option<Box<Alert>>,
    pub(super) lost_before: Cleared,
    pub(super) battery_low: Option<Box<Alert>>,
    pub(super) episode: Option<EpisodeState>,
}

/// To whom a device belongs, as of the rulebook in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) tenant: TenantName,
    pub(super) group: Option<GroupName>,
    /// The tenant's heard time when the device's entry came into force: silence of a device never heard counts from here.
    pub(super) since: HeardMillis,
    /// It was nobody's before: silence counts from its entry on, whatever was heard of it before that.
    pub(super) entered: bool,
    /// Offset of its entry.
    pub(super) entry: i64,
}

impl Device {
    fn new(id: DeviceId, now: AppendMillis) -> Self {
        Self {
            id,
            seen_at: now,
            feed: None,
            owner: None,
            contact: None,
            will: None,
            repeats: Repeats::default(),
            presses: Presses::default(),
            skew: Skew::default(),
            told_up_to: None,
            fix: None,
            level_at: None,
            fences: FenceStates::default(),
            lost_contact: None,
            lost_before: Cleared::default(),
            battery_low: None,
            episode: None,
        }
    }

    /// Forgets all that it told, but its presses: who hears of it next has no part in that.
    pub(super) fn forget_what_it_told(&mut self) {
        let new = Self::new(self.id.clone(), self.seen_at);
        let (presses, episode) = (std::mem::take(&mut self.presses), self.episode.take());
        *self = Self { owner: self.owner.take(), presses, episode, ..new };
    }

    /// Whether a fix or a battery level of these times is newer than what is known.
    pub(super) fn learns(&self, fix_at: Option<ProbeMillis>, level_at: Option<ProbeMillis>) -> bool {
        let newer =
            |at: Option<ProbeMillis>, known: Option<ProbeMillis>| at.is_some_and(|at| known.is_none_or(|known| at >= known));
        newer(fix_at, self.fix.map(|fix| fix.at)) || newer(level_at, self.level_at)
    }

    fn digest(&self, hash: &mut StateHasher) {
        hash.text(self.id.as_str()).int(self.seen_at.get()).text(self.feed.as_ref().map_or("", FeedName::as_str));
        if let Some(owner) = &self.owner {
            hash.text(owner.tenant.as_str()).text(owner.group.as_ref().map_or("", GroupName::as_str));
            hash.int(owner.since.get()).count(usize::from(owner.entered)).int(owner.entry);
        }
        for word in [self.contact, self.will] {
            hash.option(word.map(|word| word.0.get())).bytes(&word.map_or([0; 16], |word| word.1.0));
        }
        self.repeats.digest(hash);
        self.presses.digest(hash);
        self.skew.digest(hash);
        hash.option(self.told_up_to.map(ProbeMillis::get)).option(self.level_at.map(ProbeMillis::get));
        if let Some(fix) = &self.fix {
            hash.option(fix.said().map(DeviceMillis::get)).int(fix.position.lat_e7().into()).int(fix.position.lon_e7().into());
            hash.int(fix.accuracy_metres.to_bits().cast_signed()).int(fix.at.get()).bytes(&fix.event.0);
            hash.int(fix.appended_at.get()).option(fix.speed_cm_s.map(i64::from)).option(fix.course_cdeg.map(i64::from));
        }
        self.fences.digest(hash);
        hash.alert(self.lost_contact.as_deref()).alert(self.battery_low.as_deref());
        self.lost_before.digest(hash);
        if let Some(episode) = &self.episode {
            episode.digest(hash);
        }
    }
}

/// All devices of the partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Devices {
    directory: Directory,
    records: Vec<Device>,
    /// By slot: the heard time at which silence may have lasted too long. Overwritten by each report, swept once a second.
    silence: Vec<HeardMillis>,
    /// Slots of nobody; the lowest is used next, so that order survives a restore.
    free: BTreeSet<Slot>,
    unknown: usize,
    unknown_max: usize,
    /// When room was last looked for.
    looked_at: Option<AppendMillis>,
}

impl Devices {
    /// An empty table with room for `unknown_max` devices that no rulebook names.
    pub(super) fn new(unknown_max: usize) -> Self {
        Self { unknown_max, ..Self::default() }
    }

    /// The slot of a device.
    pub(super) fn find(&self, id: &DeviceId) -> Option<Slot> {
        self.directory.get(id)
    }

    /// The slot of a device, made if it has none; none where it is in no rulebook and there is no more room for such. `forgot_at`: when
    /// presses of devices without a slot were forgotten, which may have been its.
    pub(super) fn slot_or_new(
        &mut self,
        id: &DeviceId,
        in_rulebook: bool,
        (now, forgot_at): (AppendMillis, Option<AppendMillis>),
    ) -> Option<Slot> {
        if let Some(slot) = self.directory.get(id) {
            return Some(slot);
        }
        if self.unknown >= self.unknown_max {
            self.make_room(now);
        }
        if !in_rulebook && self.unknown >= self.unknown_max {
            return None;
        }
        // Nobody owns it yet; `set_owner` takes it off again.
        self.unknown += 1;
        let slot = self.free.pop_first().unwrap_or_else(|| {
            self.records.push(Device::new(id.clone(), now));
            self.silence.push(NEVER);
            Slot(u32::try_from(self.records.len() - 1).expect("a partition holds fewer devices than 2^32"))
        });
        *self.get_mut(slot) = Device { presses: Presses::new(forgot_at), ..Device::new(id.clone(), now) };
        self.directory.insert(id.clone(), slot);
        Some(slot)
    }

    /// Forgets whoever is in no rulebook and has been silent for so long that no press of his is remembered either.
    fn make_room(&mut self, now: AppendMillis) {
        if self.looked_at.is_some_and(|at| now.since(at) < limits::ROOM_LOOKED_FOR_MILLIS) {
            return;
        }
        self.looked_at = Some(now);
        for slot in self.slots() {
            let device = self.get(slot);
            let is_gone = device.owner.is_none() && now.since(device.seen_at) > limits::PRESS_MEMORY_MILLIS;
            if is_gone && !self.free.contains(&slot) {
                self.directory.remove(&self.records[slot.0 as usize].id);
                self.free.insert(slot);
                self.unknown -= 1;
            }
        }
    }

    /// Gives a device an owner, or takes it away; a device that loses its owner keeps its slot as an unknown one.
    pub(super) fn set_owner(&mut self, slot: Slot, owner: Option<Owner>) {
        let device = self.get_mut(slot);
        let (had, has) = (device.owner.is_some(), owner.is_some());
        device.owner = owner;
        match (had, has) {
            (false, true) => self.unknown -= 1,
            (true, false) => self.unknown += 1,
            (true, true) | (false, false) => {}
        }
    }

    pub(super) fn get(&self, slot: Slot) -> &Device {
        &self.records[slot.0 as usize]
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Device {
        &mut self.records[slot.0 as usize]
    }

    /// Sets when silence may have lasted too long.
    pub(super) fn set_silence(&mut self, slot: Slot, deadline: HeardMillis) {
        self.silence[slot.0 as usize] = deadline;
    }

    pub(super) fn silence(&self, slot: Slot) -> HeardMillis {
        self.silence[slot.0 as usize]
    }

    /// Every slot, in order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let count = u32::try_from(self.records.len()).expect("a partition holds fewer devices than 2^32");
        (0..count).map(Slot)
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.count(self.unknown).option(self.looked_at.map(AppendMillis::get)).count(self.free.len()).count(self.records.len());
        for slot in &self.free {
            hash.count(slot.0 as usize);
        }
        for (device, silence) in self.records.iter().zip(&self.silence) {
            hash.int(silence.get());
            device.digest(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> DeviceId {
        DeviceId::parse(&format!("x-{n}")).unwrap()
    }

    #[test]
    fn a_full_table_of_unknown_devices_heals_when_they_are_long_silent() {
        let mut devices = Devices::new(3);
        let (now, later) = (AppendMillis::new(0), AppendMillis::new(limits::PRESS_MEMORY_MILLIS + 1));
        for n in 0..3 {
            assert_eq!(devices.slot_or_new(&id(n), false, (now, None)), Some(Slot(u32::try_from(n).unwrap())));
        }
        assert_eq!(devices.slot_or_new(&id(3), false, (now, None)), None, "full");
        devices.get_mut(Slot(2)).seen_at = later;
        assert_eq!(devices.slot_or_new(&id(4), false, (later, None)), Some(Slot(0)), "the lowest that is free");
        assert_eq!(devices.get(Slot(0)).id, id(4));
        assert_eq!(devices.slot_or_new(&id(2), false, (later, None)), Some(Slot(2)), "who was heard keeps its own");
        assert_eq!(devices.slot_or_new(&id(0), false, (later, None)), Some(Slot(1)), "who comes back has a new one");
        assert_eq!(devices.slot_or_new(&id(5), false, (later, None)), None, "full again");
        assert_eq!(devices.slot_or_new(&id(6), true, (later, None)), Some(Slot(3)), "the rulebook's have room always");
    }
}
