//! A press for help. Every press is one alert; nothing here can decide that there is none.
//!
//! Ingest has already told the centre (revision 1). The machine answers with revision 2: where the device last was, its fences,
//! its tenant, and the episode that the press belongs to.

use crate::alert::{Alert, duress_id};
use crate::device::Report;
use crate::ids::EventId;
use crate::journal::{MessageRecord, Press};
use crate::limits;
use crate::rulebook;
use crate::time::ProbeMillis;

use super::actions::{Actions, Outcome};
use super::devices::Device;
use super::episode::EpisodeState;
use super::fences;
use super::fix::AppliedFix;
use super::presses::{Presses, Sight, Strangers};
use super::raise::{Scene, fences_named, late};
use super::skew::Skew;

/// A press as the journal tells of it.
#[derive(Clone, Copy)]
struct Told<'a> {
    record: &'a MessageRecord,
    press: &'a Press,
    /// When it happened.
    occurred_at: ProbeMillis,
    /// The fix in it.
    fix: Option<AppliedFix>,
}

/// Answers a press. `device` is none where there was no room to remember an unknown one: it alerts all the same. So does one for which another
/// tenant's feed speaks, and nothing else that is known of that device is told.
pub(super) fn press(
    scene: Scene<'_>,
    strangers: &mut Strangers,
    device: Option<&mut Device>,
    (record, press): (&MessageRecord, &Press),
    actions: &mut Actions,
) {
    let not_after_now = |at: ProbeMillis| at.min(ProbeMillis::new(scene.now.get()));
    let came_at = record.came_at().map(not_after_now);
    let arrived = came_at.unwrap_or_else(|| not_after_now(ProbeMillis::new(record.arrived_at())));
    let carried = scene.rulebook.carries(&record.feed, &record.device);
    let by_this = |presses: &Presses| presses.last_copy(record.event);
    let elsewhere = if carried {
        strangers.last_copy(&record.device, record.event)
    } else {
        device.as_ref().and_then(|device| by_this(&device.presses))
    };
    let mut device = device.filter(|_| carried);
    let sight = Sight { event: record.event, alerts_as: record.press_event(), again: again(record), elsewhere, came_at, arrived };
    let is_owned = device.as_ref().is_some_and(|device| device.owner.is_some());
    let room = if is_owned { limits::PRESSES_REMEMBERED_MAX } else { limits::PRESSES_OF_UNKNOWN_MAX };
    let presses = match &mut device {
        Some(device) => &mut device.presses,
        None => strangers.of(&record.device, scene.now),
    };
    let outcome = if presses.is_forgetful(scene.now) { Outcome::PressPastMemory } else { Outcome::Press };
    let Some(event) = presses.tell(sight, scene.now, room) else { return actions.note(Outcome::PressRepeat) };
    actions.note(outcome);
    let report = record.report();
    // What waited in the broker for an unknown time tells nothing of its device's clock by when it was sent.
    let sent = report.and_then(|report| report.sent).filter(|_| record.after_probe.is_some());
    let clock = device.as_ref().map_or(Skew::default(), |device| device.skew).of_press(sent, arrived);
    // Not by its fix, which may be the last that the device had, long ago.
    let occurred_at = clock.correct(report.and_then(Report::told_time));
    let fix = report.and_then(|report| report.fix).map(|fix| {
        let at = fix.at.map_or(occurred_at, |at| clock.correct(Some(at)));
        AppliedFix::new(fix, (at, fix.at.or_else(|| report?.told_time())), record.event, scene.appended_at)
    });
    let alert = second_revision(scene, device, Told { record, press, occurred_at, fix }, event);
    let present = match owner(scene, record) {
        Some(entry) => Some(&entry.centre),
        None if scene.rulebook.device(&record.device).is_some() => {
            scene.rulebook.feed(&record.feed).map(|feed| &feed.fallback_centre)
        }
        None => None,
    };
    let present = present.cloned();
    let elsewhere = present.filter(|centre| *centre != press.centre).map(|centre| Alert { centre, ..alert.clone() });
    actions.raise(alert);
    if let Some(copy) = elsewhere {
        actions.raise(copy);
    }
}

/// The device's entry, where the feed may speak for it.
fn owner<'a>(scene: Scene<'a>, record: &MessageRecord) -> Option<&'a rulebook::Device> {
    scene.rulebook.device(&record.device).filter(|entry| scene.rulebook.carries_tenant(&record.feed, &entry.tenant))
}

/// Under which event a press alerts whose id came back long after its last copy: by the receiver's count where no probe tells.
fn again(record: &MessageRecord) -> EventId {
    let by_probe = record.after_probe.as_ref().map(|probe| record.event.raised_again(probe));
    record.counted_event().or(by_probe).unwrap_or(record.event)
}

fn second_revision(
    scene: Scene<'_>,
    device: Option<&mut Device>,
    Told { record, press, occurred_at, fix }: Told<'_>,
    event: EventId,
) -> Alert {
    let mut alert = record.first_revision(press.centre.clone()).next_revision(scene.appended_at.get());
    alert.id = duress_id(&record.device, event);
    alert.cause.event = Some(event);
    alert.occurred_at = occurred_at.get();
    alert.late = late(Some(scene.appended_at), occurred_at);
    alert.reason = record.press_reason(record.event, Some(scene.appended_at.get()));
    alert.reason.rulebook_version = Some(scene.rulebook.version());
    if let Some(entry) = owner(scene, record) {
        alert.tenant = Some(entry.tenant.clone());
        alert.group.clone_from(&entry.group);
        alert.stage = entry.rules.stage;
        alert.test = entry.test;
    }
    alert.place = fix.as_ref().map(AppliedFix::place);
    if let Some(device) = device {
        match (fix, device.fix) {
            (Some(own), known) if !known.is_some_and(|known| own.is_older_than(&known)) => {
                alert.fences = fences::around(scene, device, &own);
            }
            (_, known) => {
                alert.place = known.as_ref().map(AppliedFix::place);
                alert.fences = fences_named(device);
            }
        }
        alert.episode = Some(EpisodeState::count(&mut device.episode, alert.id, scene.appended_at));
    }
    alert
}
