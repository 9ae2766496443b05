//! What every alert of the machine has in common, filled in one place.

use crate::alert::{Alert, Cause, Kind, Late, Reason, RecordRef, Severity, Stage, State};
use crate::ids::{AlertId, CentreName, EventId, FenceName};
use crate::limits;
use crate::rulebook::Rulebook;
use crate::time::{AppendMillis, ProbeMillis};

use super::actions::Actions;
use super::devices::Device;
use super::digest::StateHasher;
use super::fix::AppliedFix;

/// What every rule may read.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) now: AppendMillis,
    /// The append time of the present record itself. `now` is ahead of it where Kafka's clock was ahead before: what has an age, or is
    /// behind, is held against this.
    pub(super) appended_at: AppendMillis,
    pub(super) rulebook: &'a Rulebook,
}

/// What a rule says of a device; the rest of the alert follows from the device and the rulebook.
pub(super) struct Verdict<'a> {
    pub(super) kind: Kind,
    pub(super) severity: Severity,
    pub(super) stage: Stage,
    pub(super) subject: &'a str,
    /// The event that caused it, or from which the time that caused it counts.
    pub(super) event: Option<EventId>,
    pub(super) began_at: Option<ProbeMillis>,
    pub(super) occurred_at: ProbeMillis,
    pub(super) text: String,
    pub(super) limits: &'a [(&'a str, f64)],
    /// When Kafka appended the report that tells of it; none where time tells.
    pub(super) appended_at: Option<AppendMillis>,
}

impl Scene<'_> {
    /// Revision 1 of what a rule says of a device that the rulebook names; none for one that it does not.
    pub(super) fn raise(&self, device: &Device, verdict: &Verdict<'_>) -> Option<Alert> {
        let entry = self.rulebook.device(&device.id)?;
        let began_at = verdict.began_at.map(ProbeMillis::get);
        Some(Alert {
            id: Alert::id_of(Some(&device.id), verdict.kind, verdict.subject, verdict.event, began_at),
            kind: verdict.kind,
            severity: verdict.severity,
            severity_now: verdict.severity,
            device: Some(device.id.clone()),
            tenant: Some(entry.tenant.clone()),
            group: entry.group.clone(),
            feed: device.feed.clone(),
            subject: verdict.subject.to_owned(),
            cause: Cause { event: verdict.event, began_at },
            stage: verdict.stage,
            test: entry.test,
            late: late(verdict.appended_at, verdict.occurred_at),
            occurred_at: verdict.occurred_at.get(),
            place: device.fix.as_ref().map(AppliedFix::place),
            fences: fences_named(device),
            reason: Reason {
                rule: verdict.kind.as_str().to_owned(),
                text: verdict.text.clone(),
                limits: verdict.limits.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
                rulebook_version: Some(self.rulebook.version()),
                records: verdict
                    .event
                    .map(|event| RecordRef { event, appended_at: verdict.appended_at.map(AppendMillis::get) })
                    .into_iter()
                    .collect(),
            },
            ..self.blank(entry.centre.clone(), verdict.kind)
        })
    }

    /// An alert of a kind for a centre, made now, with nothing in it yet.
    pub(super) fn blank(&self, centre: CentreName, kind: Kind) -> Alert {
        let mut alert = Alert::blank(centre, kind, self.appended_at.get());
        alert.reason.rulebook_version = Some(self.rulebook.version());
        alert
    }

    /// The next revision of an open alert: its cause has gone.
    pub(super) fn clear(&self, open: &Alert, text: &str) -> Alert {
        let mut cleared = open.next_revision(self.appended_at.get());
        cleared.state = State::Cleared;
        text.clone_into(&mut cleared.reason.text);
        cleared
    }

    /// Moves an open alert to the centre and the topic where the rulebook now says that it belongs: it clears where it was, and goes on
    /// where it belongs with the next revision, as the rule once judged it.
    pub(super) fn hand_over(&self, open: &mut Alert, centre: &CentreName, stage: Stage, actions: &mut Actions) {
        if open.centre == *centre && open.stage == stage {
            return;
        }
        let cleared =
            self.clear(open, "the rulebook has given this alert to another centre, or changed its stage: it goes on there");
        *open =
            Alert { centre: centre.clone(), stage, revision: cleared.revision, ..open.clone() }.next_revision(cleared.changed_at);
        actions.raise(cleared);
        actions.raise(open.clone());
    }
}

/// The last alert of a rule that was cleared: where the same cause alerts again, its revisions go on. A centre keeps the highest
/// revision of an id, and would never see one that began again at 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cleared(Option<(AlertId, u32)>);

impl Cleared {
    pub(super) const fn of(cleared: &Alert) -> Self {
        Self(Some((cleared.id, cleared.revision)))
    }

    pub(super) fn note(&mut self, cleared: &Alert) {
        *self = Self::of(cleared);
    }

    /// The alert, as the next revision where its id was cleared before.
    pub(super) fn resume(self, alert: Alert) -> Alert {
        match self.0 {
            Some((id, revision)) if id == alert.id => Alert { revision: alert.revision.max(revision + 1), ..alert },
            Some(_) | None => alert,
        }
    }

    /// Whether it was this one.
    pub(super) fn was(self, id: AlertId) -> bool {
        self.0.is_some_and(|(known, _)| known == id)
    }

    pub(super) fn digest(self, hash: &mut StateHasher) {
        match self.0 {
            Some((id, revision)) => hash.bytes(&id.0).int(revision.into()),
            None => hash.count(0),
        };
    }
}

/// How late a report told of something, by its own append time: what a dwell adds is no lateness. Time itself, which has no report,
/// is never late.
pub(super) fn late(appended_at: Option<AppendMillis>, occurred_at: ProbeMillis) -> Option<Late> {
    let age_millis = appended_at?.get().saturating_sub(occurred_at.get());
    (age_millis > limits::LATE_MILLIS).then_some(Late { age_millis })
}

/// The fences that a device is in, by name, up to a limit.
pub(super) fn fences_named(device: &Device) -> Vec<FenceName> {
    device.fences.inside().take(limits::FENCES_NAMED_MAX).cloned().collect()
}

/// Milliseconds as a limit in an alert.
#[allow(clippy::cast_precision_loss, reason = "limits are far below 2^52 ms")]
pub(super) fn millis(value: i64) -> f64 {
    value as f64
}
