//! The fix that a device's state rests on.

use crate::alert::{Coordinates, Place};
use crate::device::Fix;
use crate::ids::EventId;
use crate::position::Position;
use crate::time::{AppendMillis, DeviceMillis, ProbeMillis};

/// A fix with its time and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AppliedFix {
    pub(super) position: Position,
    pub(super) accuracy_metres: f64,
    /// When it was taken, on the probes' axis.
    pub(super) at: ProbeMillis,
    /// The same by the device's clock, if it said so.
    said: Option<DeviceMillis>,
    pub(super) event: EventId,
    pub(super) appended_at: AppendMillis,
    pub(super) speed_cm_s: Option<u32>,
    pub(super) course_cdeg: Option<u32>,
}

impl AppliedFix {
    /// A fix of a message, taken at `at`, or `said` by the device's clock.
    pub(super) fn new(
        fix: Fix,
        (at, said): (ProbeMillis, Option<DeviceMillis>),
        event: EventId,
        appended_at: AppendMillis,
    ) -> Self {
        Self {
            position: fix.position,
            accuracy_metres: f64::from(fix.accuracy_cm) / 100.0,
            at,
            said,
            event,
            appended_at,
            speed_cm_s: fix.speed_cm_s,
            course_cdeg: fix.course_cdeg,
        }
    }

    /// Whether it was taken before another, by the device's own clock as well: that may have been set since.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.at < other.at && self.said.zip(other.said).is_some_and(|(said, other)| said < other)
    }

    /// When it was taken by the device's clock.
    pub(super) const fn said(&self) -> Option<DeviceMillis> {
        self.said
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
