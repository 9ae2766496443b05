//! Silence: a device that we provably listened to for longer than its limit, and did not hear.
//!
//! A will, the MQTT broker's word for a broken connection, is a hint and no proof: one that came after the last contact shortens the
//! silence that is still to wait, unless our own trouble may have caused it.
//!
//! The column of deadlines holds a time before which silence cannot be over the limit; when one is due, the true deadline is
//! computed from the device's contact and the gaps since. So a report costs one store, and a gap costs nothing until it matters.

use crate::alert::{Alert, Kind, RecordRef};
use crate::ids::{EventId, Hasher};
use crate::rulebook::LostContact;
use crate::time::{HeardMillis, ProbeMillis, clock_text};

use super::actions::Actions;
use super::clocks::{Clocks, TenantClock};
use super::devices::{Device, Devices, NEVER, Owner};
use super::directory::Slot;
use super::fix::AppliedFix;
use super::raise::{Scene, Verdict, millis};

/// A sign of life at `contact`: contact moves forward, and what was lost is restored if it is recent enough.
pub(super) fn contact(
    scene: Scene<'_>,
    clocks: &Clocks,
    devices: &mut Devices,
    slot: Slot,
    contact: (ProbeMillis, EventId),
    actions: &mut Actions,
) {
    let device = devices.get_mut(slot);
    if device.contact.is_some_and(|known| contact.0 <= known.0) {
        return;
    }
    device.contact = Some(contact);
    let (Some(owner), Some(rule)) = (&device.owner, rule(scene, device)) else { return };
    let clock = clocks.tenant(&owner.tenant);
    let since = silent_since(clock, device, owner);
    // One of before a will undoes no silence that the will shortened.
    let due_at = due(clock, device, since, rule).at;
    if clock.heard() < due_at
        && let Some(open) = device.lost_contact.take()
    {
        let mut restored = scene.clear(&open, "the device is heard again");
        restored.place = device.fix.as_ref().map(AppliedFix::place);
        device.lost_before.note(&restored);
        actions.raise(restored);
    }
    let earliest = if device.lost_contact.is_some() { NEVER } else { due_at };
    devices.set_silence(slot, earliest);
}

/// A will at `will`. Copies by mirrored ingesters, and older ones, change nothing.
pub(super) fn will(scene: Scene<'_>, clocks: &Clocks, devices: &mut Devices, slot: Slot, will: (ProbeMillis, EventId)) {
    let device = devices.get_mut(slot);
    if device.will.is_some_and(|known| will.1 == known.1 || will.0 <= known.0) {
        return;
    }
    device.will = Some(will);
    let Some((clock, since, rule)) = silence(scene, clocks, device) else { return };
    if device.lost_contact.is_none() {
        let earliest = due(clock, device, since, rule).at;
        devices.set_silence(slot, earliest);
    }
}

/// Sets the deadline anew, after the rulebook or the owner changed, and moves what is open to where it belongs now.
pub(super) fn rearm(scene: Scene<'_>, clocks: &Clocks, devices: &mut Devices, slot: Slot, actions: &mut Actions) {
    let device = devices.get_mut(slot);
    let Some((clock, since, rule)) = silence(scene, clocks, device) else {
        clear(scene, device, "the rulebook no longer watches this device for silence", actions);
        return devices.set_silence(slot, NEVER);
    };
    let lost = device.lost_contact.is_some();
    let deadline = clock.after_grace(due(clock, device, since, rule).at);
    if let (Some(open), Some(entry)) = (&mut device.lost_contact, scene.rulebook.device(&device.id)) {
        scene.hand_over(open, &entry.centre, entry.rules.stage, actions);
    }
    devices.set_silence(slot, if lost { NEVER } else { deadline });
}

/// Clears what is open, because the rulebook says so: the silence itself may go on, and alert again.
pub(super) fn clear(scene: Scene<'_>, device: &mut Device, text: &str, actions: &mut Actions) {
    if let Some(open) = device.lost_contact.take() {
        let cleared = scene.clear(&open, text);
        device.lost_before.note(&cleared);
        actions.raise(cleared);
    }
}

/// Raises what is due.
pub(super) fn sweep(scene: Scene<'_>, clocks: &Clocks, devices: &mut Devices, actions: &mut Actions) {
    for slot in devices.slots() {
        if devices.silence(slot) == NEVER {
            continue;
        }
        let device = devices.get(slot);
        let Some((clock, since, rule)) = silence(scene, clocks, device) else { continue };
        if devices.silence(slot) > clock.heard() {
            continue;
        }
        let due = due(clock, device, since, rule);
        let deadline = clock.after_grace(due.at);
        if deadline > clock.heard() {
            devices.set_silence(slot, deadline);
            continue;
        }
        let device = devices.get_mut(slot);
        if let Some(alert) = raise(scene, device, clock, since, rule, due) {
            let alert = device.lost_before.resume(alert);
            device.lost_contact = Some(Box::new(alert.clone()));
            actions.raise(alert);
        }
        devices.set_silence(slot, NEVER);
    }
}

fn rule(scene: Scene<'_>, device: &Device) -> Option<LostContact> {
    scene.rulebook.device(&device.id)?.rules.lost_contact
}

/// The clock by which a device's silence counts, the heard time since which it lasts, and its rule.
fn silence<'a>(scene: Scene<'_>, clocks: &'a Clocks, device: &Device) -> Option<(&'a TenantClock, HeardMillis, LostContact)> {
    let owner: &Owner = device.owner.as_ref()?;
    let clock = clocks.tenant(&owner.tenant);
    Some((clock, silent_since(clock, device, owner), rule(scene, device)?))
}

/// The heard time since which nothing was heard of a device.
fn silent_since(clock: &TenantClock, device: &Device, owner: &Owner) -> HeardMillis {
    match device.contact {
        Some((at, _)) if owner.entered => clock.heard_at(at).max(owner.since),
        Some((at, _)) => clock.heard_at(at),
        None => owner.since,
    }
}

/// For how long nothing was heard of a device while its owner listened; 0 for one that was never heard.
pub(super) fn silent_millis(clocks: &Clocks, device: &Device, owner: &Owner) -> i64 {
    let clock = clocks.tenant(&owner.tenant);
    device.contact.map_or(0, |_| clock.heard().since(silent_since(clock, device, owner)))
}

/// Whether the silence since a device's last contact was told already.
pub(super) fn was_told(device: &Device) -> bool {
    let id =
        |(at, event): (ProbeMillis, EventId)| Alert::id_of(Some(&device.id), Kind::LostContact, "", Some(event), Some(at.get()));
    device.contact.is_some_and(|contact| device.lost_before.was(id(contact)))
}

/// When a silence is over its limit, and the will that made it so early.
#[derive(Clone, Copy)]
struct Due {
    at: HeardMillis,
    by_will: Option<(ProbeMillis, EventId)>,
}

/// When silence since `since` is over its limit. A will that is excused by what is known so far stays excused, so this time, once set,
/// can only turn out to be too early.
fn due(clock: &TenantClock, device: &Device, since: HeardMillis, rule: LostContact) -> Due {
    let at = since.plus(rule.silence_millis);
    let counts = |will: &(ProbeMillis, EventId)| {
        let newest = device.contact.is_some_and(|contact| will.0 > contact.0) && clock.heard_at(will.0) >= since;
        newest && !clock.excuses_will(will.0)
    };
    let Some(will) = device.will.filter(counts) else { return Due { at, by_will: None } };
    let after_will = clock.heard_at(will.0).plus(rule.after_will_millis);
    if after_will < at { Due { at: after_will, by_will: Some(will) } } else { Due { at, by_will: None } }
}

fn raise(
    scene: Scene<'_>,
    device: &Device,
    clock: &TenantClock,
    since: HeardMillis,
    rule: LostContact,
    due: Due,
) -> Option<Alert> {
    let entry = scene.rulebook.device(&device.id)?;
    let seconds = clock.heard().since(since) / 1_000;
    let limit = rule.silence_millis / 1_000;
    let (event, began_at, text) = match (device.contact, due.by_will) {
        (Some((at, event)), None) => (
            event,
            Some(at),
            format!("nothing was heard of the device for {seconds} s while we listened; its limit is {limit} s"),
        ),
        (Some((at, event)), Some((will, _))) => (event, Some(at), will_text(clock, seconds, will, rule)),
        (None, _) => (
            never_heard(entry.entry),
            None,
            format!("the device was never heard in {seconds} s of listening since the rulebook names it; its limit is {limit} s"),
        ),
    };
    let after_will = [("after_will_millis", millis(rule.after_will_millis))];
    let limits: Vec<(&str, f64)> =
        [("silence_millis", millis(rule.silence_millis)), ("reconnect_grace_until_millis", millis(clock.grace_until().get()))]
            .into_iter()
            .chain(after_will.into_iter().filter(|_| due.by_will.is_some()))
            .collect();
    let mut alert = scene.raise(
        device,
        &Verdict {
            kind: Kind::LostContact,
            severity: rule.severity,
            stage: entry.rules.stage,
            subject: "",
            event: Some(event),
            began_at,
            occurred_at: began_at.unwrap_or(ProbeMillis::new(scene.appended_at.get())),
            text,
            limits: &limits,
            appended_at: None,
        },
    )?;
    alert.reason.records.extend(due.by_will.map(|(_, event)| RecordRef { event, appended_at: None }));
    Some(alert)
}

fn will_text(clock: &TenantClock, seconds: i64, will: ProbeMillis, rule: LostContact) -> String {
    let since_will = clock.heard().since(clock.heard_at(will)) / 1_000;
    format!(
        "nothing was heard of the device for {seconds} s while we listened, and {since_will} s ago the MQTT broker reported its connection \
         broken (its will, {} UTC); its limit is {} s after a will, {} s without one",
        clock_text(will.get()),
        rule.after_will_millis / 1_000,
        rule.silence_millis / 1_000,
    )
}

/// The cause of a silence that began with a rulebook entry.
fn never_heard(entry: i64) -> EventId {
    EventId(Hasher::new("rulebook-entry").int(entry).finish())
}
