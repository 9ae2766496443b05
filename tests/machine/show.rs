//! An alert in one line, as a person at the centre would retell it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lonewatch::alert::{Alert, Grade, Kind, Lane, Severity, Stage, State};
use lonewatch::ids::AlertId;
use lonewatch::time::clock_text;

/// Gives ids short names in the order of their first appearance.
#[derive(Default)]
pub(crate) struct Shown {
    names: BTreeMap<AlertId, usize>,
}

impl Shown {
    fn name(&mut self, id: AlertId) -> usize {
        let next = self.names.len() + 1;
        *self.names.entry(id).or_insert(next)
    }

    /// `09:10:02 lost_contact dev-1 rev 1 active -> north #1 since 09:00:00`.
    pub(crate) fn line(&mut self, alert: &Alert) -> String {
        let state = match alert.state {
            State::PreAlert => "pre-alert",
            State::Active => "active",
            State::Cleared => "cleared",
        };
        let mut line = format!("{} {}", clock_text(alert.changed_at), alert.kind.as_str());
        let who = alert.device.as_ref().map_or(alert.subject.as_str(), lonewatch::ids::DeviceId::as_str);
        let _ = write!(line, " {who} rev {} {state} -> {} #{}", alert.revision, alert.centre, self.name(alert.id));
        if alert.device.is_some() && !alert.subject.is_empty() {
            let _ = write!(line, " fence {}", alert.subject);
        }
        match alert.grade {
            Some(Grade::Possible) => line.push_str(" possible"),
            Some(Grade::Certain) | None => {}
        }
        if !alert.lanes.is_empty() {
            let lanes: Vec<&str> = alert.lanes.iter().copied().map(Lane::as_str).collect();
            let _ = write!(line, " lanes {}", lanes.join("+"));
        }
        if !alert.tenants.is_empty() {
            let tenants: Vec<&str> = alert.tenants.iter().map(lonewatch::ids::TenantName::as_str).collect();
            let _ = write!(line, " tenants {}", tenants.join("+"));
        }
        if let Some(at) = alert.cause.began_at {
            let _ = write!(line, " since {}", clock_text(at));
        }
        if let Some(episode) = alert.episode {
            let first = self.name(episode.first);
            let folded = if episode.folded { " folded" } else { "" };
            let _ = write!(line, " press {} of #{first}{folded}", episode.press);
        }
        if alert.kind == Kind::Duress && !alert.fences.is_empty() {
            let fences: Vec<&str> = alert.fences.iter().map(lonewatch::ids::FenceName::as_str).collect();
            let _ = write!(line, " in {}", fences.join("+"));
        }
        if let Some(place) = alert.place.filter(|_| alert.kind == Kind::Duress) {
            let _ = write!(line, " fix of {}", clock_text(place.fixed_at));
        }
        if alert.reason.limits.contains_key("after_will_millis") && alert.state == State::Active {
            line.push_str(" by will");
        }
        if let Some(late) = alert.late {
            let _ = write!(line, " late {} s", late.age_millis / 1_000);
        }
        if alert.kind == Kind::Duress && alert.severity_now != Severity::Critical {
            line.push_str(" LOWERED");
        }
        if alert.stage == Stage::Shadow {
            line.push_str(" shadow");
        }
        line
    }
}
