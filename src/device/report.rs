//! What a device said, whatever its dialect: the one shape that decoders produce and rules read.
//!
//! Integers throughout, in the units that the field names state, so that a report means the same on every machine.

use crate::position::Position;
use crate::time::DeviceMillis;

/// One message, decoded. A field is none where the device did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The device's own id for this message (its `id`, or boot and sequence): the same again is a repeat.
    pub own_id: Option<String>,
    /// Counts the device's starts.
    pub boot: Option<u32>,
    /// Counts the device's messages since its start.
    pub sequence: Option<u64>,
    /// When what it tells of happened, where that is not the fix: a press, a check-in.
    pub happened: Option<DeviceMillis>,
    /// When the device sent it, by the same clock.
    pub sent: Option<DeviceMillis>,
    /// Where it was.
    pub fix: Option<Fix>,
    /// Percent.
    pub battery_percent: Option<u8>,
    /// On external power.
    pub charging: Option<bool>,
    /// What the device's own sensor says of motion.
    pub motion: Option<Motion>,
    /// Seconds until the device means to report next, in its present mode.
    pub interval_seconds: Option<u32>,
    /// A step of a visit.
    pub visit: Option<VisitStep>,
    /// When the visit is to end; only with [`VisitStep::Start`] and [`VisitStep::Extend`].
    pub visit_until: Option<DeviceMillis>,
    /// Alarm signals.
    pub signals: Signals,
}

/// One position fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Where.
    pub position: Position,
    /// When, by the device's clock.
    pub at: Option<DeviceMillis>,
    /// Radius of the error circle in centimetres; the decoder's default where the device said none, never 0.
    pub accuracy_cm: u32,
    /// Above sea level, in centimetres.
    pub altitude_cm: Option<i32>,
    /// Centimetres a second.
    pub speed_cm_s: Option<u32>,
    /// Hundredths of a degree from north, clockwise.
    pub course_cdeg: Option<u32>,
}

/// Motion by the device's own sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// Not moving.
    Still,
    /// Moving.
    Moving,
}

/// A step of a lone worker's watched period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitStep {
    /// It begins.
    Start,
    /// The worker says that all is well.
    CheckIn,
    /// It shall last longer.
    Extend,
    /// It ends.
    End,
}

/// One alarm signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Signal {
    /// A press for help.
    Sos = 0,
    /// A panic press.
    Panic = 1,
    /// The visit was ended with the duress code.
    EndUnderDuress = 2,
    /// Man-down.
    ManDown = 3,
    /// A fall.
    Fall = 4,
    /// The wearer cancels a man-down or a fall.
    Cancelled = 5,
    /// Taken off.
    Removed = 6,
    /// Opened.
    Opened = 7,
    /// Radio or GNSS jammed.
    Jammed = 8,
    /// The device is faulty.
    Fault = 9,
}

impl Signal {
    /// Every signal, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Sos,
        Self::Panic,
        Self::EndUnderDuress,
        Self::ManDown,
        Self::Fall,
        Self::Cancelled,
        Self::Removed,
        Self::Opened,
        Self::Jammed,
        Self::Fault,
    ];

    /// The word of the native format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sos => "sos",
            Self::Panic => "panic",
            Self::EndUnderDuress => "end_under_duress",
            Self::ManDown => "man_down",
            Self::Fall => "fall",
            Self::Cancelled => "cancelled",
            Self::Removed => "removed",
            Self::Opened => "opened",
            Self::Jammed => "jammed",
            Self::Fault => "fault",
        }
    }
}

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals(u32);

impl Signals {
    /// The set with one more signal.
    #[must_use]
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | 1 << signal as u8)
    }

    /// Whether the signal is in the set.
    pub const fn has(self, signal: Signal) -> bool {
        self.0 & (1 << signal as u8) != 0
    }

    /// Whether one of them is a press: SOS, panic or an end under duress.
    pub const fn press(self) -> bool {
        self.has(Signal::Sos) || self.has(Signal::Panic) || self.has(Signal::EndUnderDuress)
    }

    /// The set as bits, numbered as [`Signal`] is.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// A set from bits; unknown ones (of a later version) are left out.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << Signal::ALL.len()) - 1))
    }
}

impl Report {
    /// The newest time that the report bears: the nearest to the device's clock as it spoke.
    pub fn newest_time(&self) -> Option<DeviceMillis> {
        [self.happened, self.fix.and_then(|fix| fix.at), self.sent].into_iter().flatten().max()
    }

    /// Which report of its device it is, where the device counts them.
    pub fn boot_and_sequence(&self) -> Option<(u32, u64)> {
        self.boot.zip(self.sequence)
    }

    /// When what the report tells of happened, by the device's clock: what it says itself, else when it was sent. The fix in it may be older.
    pub fn told_time(&self) -> Option<DeviceMillis> {
        self.happened.or(self.sent)
    }

    /// The same, or the time of its fix where it says nothing else.
    pub fn device_time(&self) -> Option<DeviceMillis> {
        self.told_time().or_else(|| self.fix.and_then(|fix| fix.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_presses_and_no_other_signal_are_presses() {
        for signal in Signal::ALL {
            let press = matches!(signal, Signal::Sos | Signal::Panic | Signal::EndUnderDuress);
            assert_eq!(Signals::default().with(signal).press(), press, "{signal:?}");
        }
    }

    #[test]
    fn bits_of_a_later_version_are_left_out() {
        assert_eq!(Signals::from_bits(u32::MAX).bits(), (1 << 10) - 1);
    }
}
