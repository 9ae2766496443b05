//! What a device did, as the fleet remembers it: the truth that alerts are held against.

use crate::alert::Kind;
use crate::ids::DeviceId;

/// Something that a device did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Who did it.
    pub device: DeviceId,
    /// When it began. Milliseconds since the epoch, as are all times here.
    pub began_at: i64,
    /// When it ended; none while it lasts, and for what happens at once.
    pub ended_at: Option<i64>,
    /// From when on its alert may arrive.
    pub alert_from: i64,
    /// By when its alert must have arrived; none where one may come and need not.
    pub due_at: Option<i64>,
    /// What it was.
    pub act: Act,
}

/// What a device can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Pressed for help; began as the button went down.
    Pressed {
        /// The press's own id.
        id: String,
        /// When the device first sent it: later than the press where it was out of reach.
        sent_at: i64,
        /// When the receipt came.
        receipted_at: Option<i64>,
        /// How often it was sent.
        copies: u32,
    },
    /// Was outside of its fence.
    LeftFence {
        /// The fence's name.
        fence: &'static str,
    },
    /// Sent nothing for longer than the silence limit.
    Silent,
    /// Sent nothing for about the silence limit or longer although its script did not say so: whoever drives the fleet stood still.
    Stalled,
    /// Was out of reach for less than the silence limit, then sent what it had kept.
    Late {
        /// Reports kept.
        reports: u32,
    },
    /// Reported a low battery.
    BatteryLow,
    /// Sent bytes that nobody can read.
    Junk,
}

impl Act {
    /// The kind of alert that it must raise, if any.
    pub const fn alert(&self) -> Option<Kind> {
        match self {
            Self::Pressed { .. } => Some(Kind::Duress),
            Self::LeftFence { .. } => Some(Kind::FenceExited),
            Self::Silent | Self::Stalled => Some(Kind::LostContact),
            Self::BatteryLow => Some(Kind::BatteryLow),
            Self::Late { .. } | Self::Junk => None,
        }
    }

    /// The word for it, in a person's report.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pressed { .. } => "pressed",
            Self::LeftFence { .. } => "left its fence",
            Self::Silent => "fell silent",
            Self::Stalled => "stalled",
            Self::Late { .. } => "reported late",
            Self::BatteryLow => "battery low",
            Self::Junk => "sent junk",
        }
    }
}
