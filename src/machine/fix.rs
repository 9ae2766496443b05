//! The fix that a device's state rests on.

use crate::alert::{Coordinates, Place};
use crate::device::Fix;
use crate::ids::EventId;
use crate::position::Position;
use crate::time::{AppendMillis, ProbeMillis};

/// A fix with its time and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AppliedFix {
    pub(super) position: Position,
    pub(super) accuracy_metres: f64,
    /// When it was taken, on the probes' axis.
    pub(super) at: ProbeMillis,
    pub(super) event: EventId,
    pub(super) appended_at: AppendMillis,
    pub(super) speed_cm_s: Option<u32>,
    pub(super) course_cdeg: Option<u32>,
}

impl AppliedFix {
    /// A fix of a message, taken at `at`.
    pub(super) fn new(fix: Fix, at: ProbeMillis, event: EventId, appended_at: AppendMillis) -> Self {
        Self {
            position: fix.position,
            accuracy_metres: f64::from(fix.accuracy_cm) / 100.0,
            at,
            event,
            appended_at,
            speed_cm_s: fix.speed_cm_s,
            course_cdeg: fix.course_cdeg,
        }
    }

    /// The fix as an alert shows it.
    pub(super) fn place(&self) -> Place {
        Place {
            coordinates: Coordinates::from(self.position),
            accuracy_metres: self.accuracy_metres,
            fixed_at: self.at.get(),
            speed_metres_per_second: self.speed_cm_s.map(|speed| f64::from(speed) / 100.0),
            course_degrees: self.course_cdeg.map(|course| f64::from(course) / 100.0),
        }
    }
}
