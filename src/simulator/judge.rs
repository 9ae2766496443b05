//! Holds alerts against the fleet's record: which deed has no alert, which alert has no deed.
//!
//! It knows when a deed's alert may and must come from the deed itself and nothing of how alerts are made; an alert of a kind,
//! a device or a fence that no deed accounts for is false, and so is a second id for one deed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ARRIVAL_MILLIS;
use super::deed::{Act, Deed};
use crate::alert::{Alert, Kind};
use crate::ids::{AlertId, DeviceId};
use crate::time::clock_text;

/// Alerts that a judge remembers. A run without end has one per deed; past it alerts are counted as not judged.
const ALERTS_MAX: usize = 200_000;
/// Offenders that a verdict names; the counts are whole.
const NAMED_MAX: usize = 20;

/// The verdict on a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Presses whose alert must have arrived by now, or did.
    pub presses_sent: u64,
    /// Of these, how many have an alert.
    pub presses_alerted: u64,
    /// Milliseconds from the sending of a press to its first alert: the median (nearest rank).
    pub duress_p50_ms: Option<i64>,
    /// The 99th percentile.
    pub duress_p99_ms: Option<i64>,
    /// Alerts by kind; each id counts once.
    pub alerts: BTreeMap<&'static str, u64>,
    /// Alerts that nothing explains.
    pub false_alerts: u64,
    /// Deeds whose alert must have come and did not.
    pub missed_alerts: u64,
    /// Deeds whose alert has neither come nor is it due.
    pub pending: u64,
    /// Alerts past the judge's memory.
    pub unjudged_alerts: u64,
    /// Deeds by what they were.
    pub deeds: BTreeMap<&'static str, u64>,
    /// False and missed alerts in words, the first few.
    pub offenders: Vec<String>,
}

impl Verdict {
    /// Whether every press alerted, nothing was missed and nothing false.
    pub fn is_clean(&self) -> bool {
        self.presses_alerted == self.presses_sent
            && self.false_alerts == 0
            && self.missed_alerts == 0
            && self.unjudged_alerts == 0
    }
}

/// One alert as the judge remembers it.
#[derive(Debug)]
struct Heard {
    kind: Kind,
    device: Option<DeviceId>,
    subject: String,
    revision: u32,
    first_at: i64,
}

/// Collects alerts and judges them.
#[derive(Debug, Default)]
pub struct Judge {
    heard: BTreeMap<AlertId, Heard>,
    unjudged: u64,
}

impl Judge {
    /// A judge who has heard nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an alert that arrived at `arrived_at` (milliseconds since the epoch). Copies and further revisions of an id are the same alert.
    pub fn hear(&mut self, alert: &Alert, arrived_at: i64) {
        if let Some(heard) = self.heard.get_mut(&alert.id) {
            heard.revision = heard.revision.max(alert.revision);
            return;
        }
        if self.heard.len() >= ALERTS_MAX {
            self.unjudged += 1;
            return;
        }
        let (device, subject) = (alert.device.clone(), alert.subject.clone());
        self.heard.insert(alert.id, Heard { kind: alert.kind, device, subject, revision: alert.revision, first_at: arrived_at });
    }

    /// The highest revision heard of an alert.
    pub fn revision(&self, id: &AlertId) -> Option<u32> {
        self.heard.get(id).map(|heard| heard.revision)
    }

    /// Judges what was heard by `now_millis` against what was done.
    pub fn verdict(&self, deeds: &[Deed], now_millis: i64) -> Verdict {
        let (answers, mut offenders) = self.pair(deeds);
        let false_alerts = offenders.len() as u64;
        let mut verdict = Verdict {
            presses_sent: 0,
            presses_alerted: 0,
            duress_p50_ms: None,
            duress_p99_ms: None,
            alerts: BTreeMap::new(),
            false_alerts,
            missed_alerts: 0,
            pending: 0,
            unjudged_alerts: self.unjudged,
            deeds: BTreeMap::new(),
            offenders: Vec::new(),
        };
        for heard in self.heard.values() {
            *verdict.alerts.entry(heard.kind.as_str()).or_default() += 1;
        }
        let mut latencies = Vec::new();
        for (deed, answer) in deeds.iter().zip(&answers) {
            *verdict.deeds.entry(deed.act.as_str()).or_default() += 1;
            let Some(kind) = deed.act.alert() else { continue };
            let due = deed.due_at.is_some_and(|at| at <= now_millis);
            match (answer, deed.due_at) {
                (None, Some(due_at)) if due => {
                    verdict.missed_alerts += 1;
                    offenders.push(missed_in_words(deed, kind, due_at));
                }
                (None, Some(_)) => verdict.pending += 1,
                (None, None) | (Some(_), _) => {}
            }
            if let Act::Pressed { sent_at, .. } = deed.act {
                verdict.presses_sent += u64::from(due || answer.is_some());
                verdict.presses_alerted += u64::from(answer.is_some());
                latencies.extend(answer.map(|heard| heard.first_at - sent_at));
            }
        }
        latencies.sort_unstable();
        verdict.duress_p50_ms = percentile(&latencies, 50);
        verdict.duress_p99_ms = percentile(&latencies, 99);
        offenders.truncate(NAMED_MAX);
        verdict.offenders = offenders;
        verdict
    }

    /// For each deed the alert that answers it, and the alerts that answer none, in words. Deeds of a device and alerts about
    /// it are taken in the order of their times, so that the first press has the first alert.
    fn pair<'a>(&'a self, deeds: &[Deed]) -> (Vec<Option<&'a Heard>>, Vec<String>) {
        let mut open: BTreeMap<(&DeviceId, Kind), Vec<usize>> = BTreeMap::new();
        for (number, deed) in deeds.iter().enumerate() {
            if let Some(kind) = deed.act.alert() {
                open.entry((&deed.device, kind)).or_default().push(number);
            }
        }
        let mut answers = vec![None; deeds.len()];
        let mut unexplained = Vec::new();
        let mut in_order: Vec<_> = self.heard.iter().collect();
        in_order.sort_by_key(|(id, heard)| (heard.first_at, **id));
        for (id, heard) in in_order {
            let candidates = heard.device.as_ref().and_then(|device| open.get_mut(&(device, heard.kind)));
            let explained = candidates.and_then(|numbers| {
                let place = numbers.iter().position(|number| explains(&deeds[*number], heard))?;
                Some(numbers.remove(place))
            });
            match explained {
                Some(number) => answers[number] = Some(heard),
                None => unexplained.push(false_in_words(*id, heard)),
            }
        }
        (answers, unexplained)
    }
}

/// Whether the deed accounts for an alert of its own device and kind.
fn explains(deed: &Deed, heard: &Heard) -> bool {
    let too_late = deed.ended_at.is_some_and(|ended_at| heard.first_at > ended_at + 2 * ARRIVAL_MILLIS);
    let subject = match &deed.act {
        Act::LeftFence { fence } => heard.subject == *fence,
        Act::Pressed { .. } | Act::Silent | Act::Stalled | Act::Late { .. } | Act::BatteryLow | Act::Junk => true,
    };
    subject && heard.first_at >= deed.alert_from && !too_late
}

fn missed_in_words(deed: &Deed, kind: Kind, due_at: i64) -> String {
    let (device, act, at) = (&deed.device, deed.act.as_str(), clock_text(deed.began_at));
    let due = clock_text(due_at);
    format!("missed: {device} {act} at {at}, and no {} came by {due}", kind.as_str())
}

fn false_in_words(id: AlertId, heard: &Heard) -> String {
    let about = heard.device.as_ref().map_or(heard.subject.as_str(), DeviceId::as_str);
    format!(
        "false: {} about {about} at {} (alert {id}): nothing that it did explains it",
        heard.kind.as_str(),
        clock_text(heard.first_at)
    )
}

/// Nearest rank of sorted numbers.
fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}
