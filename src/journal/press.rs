//! The first word of a press: revision 1, made from its journal record alone, so that every copy of it is the same.

use std::collections::BTreeMap;

use super::record::{MessageContent, MessageRecord};
use crate::alert::{Alert, Cause, Coordinates, Kind, LaneCopy, Late, Place, Reason, RecordRef, Severity, duress_id};
use crate::ids::{CentreName, EventId};
use crate::limits;
use crate::time::ProbeMillis;

impl MessageRecord {
    /// Revision 1 of the press in this record, for the centre to which it goes (DESIGN section 10, express lane).
    ///
    /// Mirrored copies of one message differ in `lane` alone: nothing else here hangs on the ingester or on its rulebook. Its times are
    /// those of the newest probe before it: a copy that the device repeated, or that came while no probe did, bears others.
    pub fn first_revision(&self, centre: CentreName) -> Alert {
        let arrived_at = self.came_at().map_or(self.arrived_at(), ProbeMillis::get);
        let occurred_at = self.occurred_at(arrived_at);
        let age_millis = arrived_at.saturating_sub(occurred_at);
        Alert {
            id: duress_id(&self.device, self.press_event()),
            severity: Severity::Critical,
            severity_now: Severity::Critical,
            device: Some(self.device.clone()),
            feed: Some(self.feed.clone()),
            cause: Cause { event: Some(self.press_event()), began_at: None },
            late: (age_millis > limits::LATE_MILLIS).then_some(Late { age_millis }),
            occurred_at,
            place: self.report().and_then(|report| report.fix).map(|fix| Place {
                coordinates: Coordinates::from(fix.position),
                accuracy_metres: f64::from(fix.accuracy_cm) / 100.0,
                fixed_at: fix.at.map_or(occurred_at, |at| at.get().saturating_sub(self.sent_offset(arrived_at).unwrap_or(0))),
                speed_metres_per_second: fix.speed_cm_s.map(|speed| f64::from(speed) / 100.0),
                course_degrees: fix.course_cdeg.map(|course| f64::from(course) / 100.0),
            }),
            reason: self.press_reason(self.event, None),
            lane: Some(LaneCopy { ingester: self.ingester.clone(), received_at: self.received_at.get() }),
            ..Alert::blank(centre, Kind::Duress, arrived_at)
        }
    }

    /// Why a press alerts: because it came. The words tell a readable press from a junk one.
    pub fn press_reason(&self, event: EventId, appended_at: Option<i64>) -> Reason {
        let text = match &self.content {
            MessageContent::Report(report) if report.signals.press() => "the device reports a press for help",
            MessageContent::Report(_) | MessageContent::Will | MessageContent::Other => "a message came on a duress MQTT topic",
            MessageContent::Unreadable(_) => {
                "a message came on a duress MQTT topic; its bytes could not be read and are in quarantine"
            }
        };
        Reason {
            rule: Kind::Duress.as_str().to_owned(),
            text: text.to_owned(),
            limits: BTreeMap::new(),
            rulebook_version: None,
            records: vec![RecordRef { event, appended_at }],
        }
    }

    /// When it arrived, on the clock that all copies share: the newest probe before it, moved on where the message cannot have waited with
    /// it; else the receiver's own clock.
    pub fn arrived_at(&self) -> i64 {
        let past_probe = self.past_probe_millis.max(0);
        self.after_probe.as_ref().map_or(self.received_at.get(), |probe| probe.sent_at.plus(past_probe).get())
    }

    /// Under which event a press alerts: the message's own. Where no probe has come for so long that a copy cannot be told from a device
    /// that counts from the start again, each message alerts for itself, and revision 1 must not bear an id of long ago.
    pub fn press_event(&self) -> EventId {
        let quiet = self.press.as_ref().and_then(|press| press.counted).map_or(0, |counted| counted.quiet_millis);
        if quiet > limits::PRESS_AGAIN_MILLIS { self.counted_event().unwrap_or(self.event) } else { self.event }
    }

    /// The press by its receiver's own count, where no probe had come lately.
    pub fn counted_event(&self) -> Option<EventId> {
        let counted = self.press.as_ref()?.counted?;
        Some(self.event.counted(&self.ingester, counted.incarnation, counted.counter))
    }

    /// When this copy of a press came, on the probes' axis; none where it may have waited in the broker, nobody knows how long. A probe
    /// that is no longer fresh is moved on by its age: else all that comes while none does would seem to come at once.
    pub fn came_at(&self) -> Option<ProbeMillis> {
        let counted = self.press.as_ref().and_then(|press| press.counted);
        match (&self.after_probe, counted) {
            (Some(probe), counted) => Some(probe.sent_at.plus(counted.map_or(0, |counted| counted.quiet_millis.max(0)))),
            (None, Some(counted)) if counted.quiet_millis > limits::BACKLOG_DRAIN_MILLIS => {
                Some(ProbeMillis::new(self.received_at.get()))
            }
            (None, Some(_) | None) => None,
        }
    }

    /// When it happened, from this record alone: its age by the device's own clock, where it says both times.
    fn occurred_at(&self, arrived_at: i64) -> i64 {
        let device_time = self.report().and_then(crate::device::Report::device_time);
        match (device_time, self.sent_offset(arrived_at)) {
            (Some(at), Some(offset)) => at.get().saturating_sub(offset).min(arrived_at),
            (Some(_) | None, _) => arrived_at,
        }
    }

    /// The device's clock less ours, where the message says when it was sent.
    fn sent_offset(&self, arrived_at: i64) -> Option<i64> {
        let sent = self.report()?.sent?;
        Some(sent.get().saturating_sub(arrived_at))
    }
}
