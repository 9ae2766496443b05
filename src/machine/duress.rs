//! A press for help. Every press is one alert; nothing here can decide that there is none.
//!
//! Ingest has already told the centre (revision 1). The machine answers with revision 2: where the device last was, its fences,
//! its tenant, and the episode that the press belongs to.

use std::collections::VecDeque;

use crate::alert::{Alert, Episode, duress_id};
use crate::ids::{AlertId, EventId};
use crate::journal::{MessageRecord, Press};
use crate::limits;
use crate::time::{AppendMillis, ProbeMillis};

use super::actions::{Actions, Outcome};
use super::devices::{AppliedFix, Device};
use super::digest::StateHasher;
use super::raise::{Scene, fences_named, late};
use super::repeats::{PressIs, Presses};

/// Presses of one device that belong together.
#[derive(Clone, Debug)]
pub(super) struct EpisodeState {
    first: AlertId,
    presses: u32,
    /// When its last presses reached the journal: the last [`limits::FOLD_PRESSES`] of them.
    recent: VecDeque<AppendMillis>,
}

impl EpisodeState {
    /// Counts one more press, in this episode or as the first of the next.
    fn count(episode: &mut Option<Self>, alert: AlertId, now: AppendMillis) -> Episode {
        let open =
            episode.take().filter(|open| open.recent.back().is_some_and(|last| now.since(*last) <= limits::EPISODE_MILLIS));
        let mut state = open.unwrap_or(Self { first: alert, presses: 0, recent: VecDeque::new() });
        let many = state.recent.len() == limits::FOLD_PRESSES as usize;
        let folded = many && state.recent.front().is_some_and(|oldest| now.since(*oldest) <= limits::FOLD_MILLIS);
        if many {
            state.recent.pop_front();
        }
        state.recent.push_back(now);
        state.presses = state.presses.saturating_add(1);
        let counted = Episode { first: state.first, press: state.presses, folded };
        *episode = Some(state);
        counted
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.bytes(&self.first.0).int(self.presses.into()).count(self.recent.len());
        for at in &self.recent {
            hash.int(at.get());
        }
    }
}

/// A press as the journal tells of it.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) record: &'a MessageRecord,
    pub(super) press: &'a Press,
    /// When it came to the MQTT broker, on the probes' axis.
    pub(super) arrived: ProbeMillis,
    /// When it happened.
    pub(super) occurred_at: ProbeMillis,
    /// When the fix in it was taken, if there is one.
    pub(super) fixed_at: Option<ProbeMillis>,
}

/// Answers a press. `device` is none where there was no room to remember an unknown one: it alerts all the same.
pub(super) fn press(scene: Scene<'_>, presses: &mut Presses, device: Option<&mut Device>, told: Told<'_>, actions: &mut Actions) {
    let Told { record, press, arrived, .. } = told;
    let event = match presses.tell(record.event, record.after_probe.as_ref(), arrived, scene.now) {
        PressIs::New => record.event,
        PressIs::Again(event) => event,
        PressIs::Copy => return actions.note(Outcome::PressRepeat),
    };
    actions.note(Outcome::Press);
    let alert = second_revision(scene, device, told, event);
    let present = scene.rulebook.device(&record.device).map(|entry| entry.centre.clone());
    let elsewhere = present.filter(|centre| *centre != press.centre).map(|centre| Alert { centre, ..alert.clone() });
    actions.raise(alert);
    if let Some(copy) = elsewhere {
        actions.raise(copy);
    }
}

fn second_revision(
    scene: Scene<'_>,
    device: Option<&mut Device>,
    Told { record, press, occurred_at, fixed_at, .. }: Told<'_>,
    event: EventId,
) -> Alert {
    let mut alert = record.first_revision(press.centre.clone()).next_revision(scene.now.get());
    alert.id = duress_id(&record.device, event);
    alert.cause.event = Some(event);
    alert.occurred_at = occurred_at.get();
    alert.late = late(Some(scene.now), occurred_at);
    alert.reason = record.press_reason(record.event, Some(scene.now.get()));
    alert.reason.rulebook_version = Some(scene.rulebook.version());
    if let Some(entry) = scene.rulebook.device(&record.device) {
        alert.tenant = Some(entry.tenant.clone());
        alert.group.clone_from(&entry.group);
        alert.stage = entry.rules.stage;
        alert.test = entry.test;
    }
    if let (Some(place), Some(at)) = (&mut alert.place, fixed_at) {
        place.fixed_at = at.get();
    }
    if let Some(device) = device {
        alert.place = alert.place.or_else(|| device.fix.as_ref().map(AppliedFix::place));
        alert.fences = fences_named(device);
        alert.episode = Some(EpisodeState::count(&mut device.episode, alert.id, scene.now));
    }
    alert
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{MINUTE_MILLIS, SECOND_MILLIS};

    fn count(episode: &mut Option<EpisodeState>, n: u8, at: i64) -> Episode {
        EpisodeState::count(episode, AlertId([n; 16]), AppendMillis::new(at))
    }

    #[test]
    fn presses_close_together_are_one_episode() {
        let mut episode = None;
        assert_eq!(count(&mut episode, 1, 0), Episode { first: AlertId([1; 16]), press: 1, folded: false });
        assert_eq!(count(&mut episode, 2, 9 * MINUTE_MILLIS), Episode { first: AlertId([1; 16]), press: 2, folded: false });
        assert_eq!(count(&mut episode, 3, 20 * MINUTE_MILLIS), Episode { first: AlertId([3; 16]), press: 1, folded: false });
    }

    #[test]
    fn past_twenty_presses_in_ten_seconds_further_ones_are_folded() {
        let mut episode = None;
        for n in 1..=25 {
            let counted = count(&mut episode, n, i64::from(n) * 100);
            assert_eq!((counted.press, counted.folded), (n.into(), n > 20));
        }
        assert!(!count(&mut episode, 26, 60 * SECOND_MILLIS).folded);
    }
}
