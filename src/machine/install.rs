//! A new rulebook comes into force, at one record: owners are set, and only what changed is judged anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{FenceName, GroupName, TenantName};
use crate::rulebook::{self, Rulebook};

use super::actions::Actions;
use super::devices::Owner;
use super::directory::Slot;
use super::raise::Scene;
use super::{Machine, Moment, battery_low, fences, lost_contact};

const MOVED: &str = "the device belongs to another tenant now";

impl Machine {
    pub(super) fn put_in_force(&mut self, moment: Moment, rulebook: &Arc<Rulebook>, actions: &mut Actions) {
        let before = std::mem::replace(&mut self.rulebook, Arc::clone(rulebook));
        let scene = moment.scene(rulebook);
        self.blindness.install(scene.appended_at, rulebook);
        self.ingest_faults.install(rulebook);
        let changed = changed_fences(&before, rulebook);
        let mut regrouped: BTreeMap<Slot, Option<GroupName>> = BTreeMap::new();
        let (partition, count) = (self.partition, self.count);
        for entry in rulebook.devices().filter(|entry| count.of(entry.id.as_str()) == partition) {
            if let Some(slot) = self.devices.slot_or_new(&entry.id, true, (scene.now, self.strangers.forgot_at())) {
                let owner = self.devices.get(slot).owner.as_ref();
                if let Some(owner) = owner.filter(|owner| owner.tenant == entry.tenant && owner.group != entry.group) {
                    regrouped.insert(slot, owner.group.clone());
                }
                self.own(scene, slot, entry, actions);
            }
        }
        // Only now: a device that moves takes along what the clock of its old tenant, which may be gone, has measured.
        self.clocks.install(&before, rulebook);
        for slot in self.devices.slots() {
            self.settle(scene, slot, &changed, regrouped.get(&slot), actions);
        }
    }

    /// Gives a device the owner that the rulebook names.
    fn own(&mut self, scene: Scene<'_>, slot: Slot, entry: &rulebook::Device, actions: &mut Actions) {
        let device = self.devices.get_mut(slot);
        // What a feed of others said of it, while it was nobody's, is nothing to its owner.
        if device.owner.is_none() && device.feed.as_ref().is_some_and(|feed| !scene.rulebook.carries_tenant(feed, &entry.tenant))
        {
            device.forget_what_it_told();
        }
        let heard = self.clocks.tenant(&entry.tenant).heard();
        let (since, entered) = match &device.owner {
            Some(owner) if owner.tenant == entry.tenant => (owner.since, owner.entered),
            // Its silence goes on, as the clock of the tenant that it leaves has measured it: of what another's feeds heard meanwhile it
            // had no part. One that was never heard begins anew.
            Some(owner) => (heard.plus(-lost_contact::silent_millis(&self.clocks, device, owner)), device.contact.is_some()),
            // A silence that was told and cleared goes on; any other begins with the entry.
            None => (heard, !lost_contact::was_told(device)),
        };
        if device.owner.as_ref().is_some_and(|owner| owner.tenant != entry.tenant) {
            fences::forget(scene, device, actions);
            // What is open stands with the old tenant's centre. The new one's hears of what still holds by its own rules.
            lost_contact::clear(scene, device, MOVED, actions);
            battery_low::clear(scene, device, MOVED, actions);
        }
        let owner = Owner { tenant: entry.tenant.clone(), group: entry.group.clone(), since, entered, entry: entry.entry };
        self.devices.set_owner(slot, Some(owner));
    }

    /// Brings what hangs on the rulebook up to it.
    fn settle(
        &mut self,
        scene: Scene<'_>,
        slot: Slot,
        changed: &BTreeMap<TenantName, BTreeSet<FenceName>>,
        group_before: Option<&Option<GroupName>>,
        actions: &mut Actions,
    ) {
        let device = self.devices.get_mut(slot);
        if device.owner.is_some() && scene.rulebook.device(&device.id).is_none() {
            fences::forget(scene, device, actions);
            battery_low::clear(scene, device, "the rulebook no longer names this device", actions);
            self.devices.set_owner(slot, None);
        }
        lost_contact::rearm(scene, &self.clocks, &mut self.devices, slot, actions);
        let device = self.devices.get_mut(slot);
        let Some(owner) = &device.owner else { return };
        let clock = self.clocks.tenant(&owner.tenant);
        let changed = fences::Changed { entries: changed.get(&owner.tenant), group_before };
        if !device.fences.is_judged() {
            fences::judge(scene, clock, device, fences::Seen::rulebook(scene.appended_at), actions);
        } else if changed.is_any() {
            fences::rejudge(scene, clock, device, changed, actions);
        }
        fences::rearm(scene, device, actions);
        battery_low::rearm(scene, device, actions);
        self.note_dwelling(slot);
    }
}

/// The fences that came, went, or have another entry.
fn changed_fences(before: &Rulebook, after: &Rulebook) -> BTreeMap<TenantName, BTreeSet<FenceName>> {
    let entries = |rulebook: &Rulebook| -> BTreeSet<(TenantName, FenceName, i64)> {
        rulebook.fences().iter().map(|(_, fence)| (fence.tenant.clone(), fence.name.clone(), fence.entry)).collect()
    };
    let mut changed: BTreeMap<TenantName, BTreeSet<FenceName>> = BTreeMap::new();
    for (tenant, fence, _) in entries(before).symmetric_difference(&entries(after)) {
        changed.entry(tenant.clone()).or_default().insert(fence.clone());
    }
    changed
}
