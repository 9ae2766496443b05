//! Silence: a device that we provably listened to for longer than its limit, and did not hear.
//!
//! The column of deadlines holds a time before which silence cannot be over the limit; when one is due, the true deadline is
//! computed from the device's contact and the gaps since. So a report costs one store, and a gap costs nothing until it matters.

use crate::alert::{Alert, Kind};
use crate::ids::{EventId, Hasher};
use crate::limits;
use crate::rulebook::LostContact;
use crate::time::{HeardMillis, ProbeMillis};

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
    let silent_millis = clock.heard().since(clock.heard_at(contact.0));
    if silent_millis < rule.silence_millis
        && let Some(open) = device.lost_contact.take()
    {
        let mut restored = scene.clear(&open, "the device is heard again");
        restored.place = device.fix.as_ref().map(AppliedFix::place);
        device.lost_before.note(&restored);
        actions.raise(restored);
    }
    let lost = device.lost_contact.is_some();
    devices.set_silence(slot, if lost { NEVER } else { clock.heard().plus(rule.silence_millis - silent_millis) });
}

/// Sets the deadline anew, after the rulebook or the owner changed.
pub(super) fn rearm(scene: Scene<'_>, clocks: &Clocks, devices: &mut Devices, slot: Slot, actions: &mut Actions) {
    let device = devices.get_mut(slot);
    let Some((clock, since, rule)) = silence(scene, clocks, device) else {
        clear(scene, device, "the rulebook no longer watches this device for silence", actions);
        return devices.set_silence(slot, NEVER);
    };
    let lost = device.lost_contact.is_some();
    let deadline = deadline(clock, since, rule);
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
        let due = deadline(clock, since, rule);
        if due > clock.heard() {
            devices.set_silence(slot, due);
            continue;
        }
        let device = devices.get_mut(slot);
        if let Some(alert) = raise(scene, device, clock, since, rule) {
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
    let since = match device.contact {
        Some((at, _)) => clock.heard_at(at),
        None => owner.since,
    };
    Some((clock, since, rule(scene, device)?))
}

/// Silence since `since` is over its limit here; not within a grace after a gap, which postpones it by a bounded time.
fn deadline(clock: &TenantClock, since: HeardMillis, rule: LostContact) -> HeardMillis {
    let due = since.plus(rule.silence_millis);
    due.max(clock.grace_until().min(due.plus(limits::POSTPONED_MILLIS_MAX)))
}

fn raise(scene: Scene<'_>, device: &Device, clock: &TenantClock, since: HeardMillis, rule: LostContact) -> Option<Alert> {
    let entry = scene.rulebook.device(&device.id)?;
    let seconds = clock.heard().since(since) / 1_000;
    let limit = rule.silence_millis / 1_000;
    let (event, began_at, text) = match device.contact {
        Some((at, event)) => (
            event,
            Some(at),
            format!("nothing was heard of the device for {seconds} s while we listened; its limit is {limit} s"),
        ),
        None => (
            never_heard(entry.entry),
            None,
            format!("the device was never heard in {seconds} s of listening since the rulebook names it; its limit is {limit} s"),
        ),
    };
    scene.raise(
        device,
        &Verdict {
            kind: Kind::LostContact,
            severity: rule.severity,
            stage: entry.rules.stage,
            subject: "",
            event: Some(event),
            began_at,
            occurred_at: began_at.unwrap_or(ProbeMillis::new(scene.now.get())),
            text,
            limits: &[
                ("silence_millis", millis(rule.silence_millis)),
                ("reconnect_grace_until_millis", millis(clock.grace_until().get())),
            ],
            appended_at: None,
        },
    )
}

/// The cause of a silence that began with a rulebook entry.
fn never_heard(entry: i64) -> EventId {
    EventId(Hasher::new("rulebook-entry").int(entry).finish())
}
