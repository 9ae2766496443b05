//! What a device says: its report, the MQTT topic that names it, the decoders of dialects, and why a message is rejected.
//!
//! Pure functions of MQTT topic and bytes. A new dialect is one file and one row in [`Decoder`].

pub mod mqtt_topic;
mod native;
mod owntracks;
mod rejected;
mod report;

pub use mqtt_topic::{Filter, FilterFault};
pub use native::NativePress;
pub use rejected::{Reject, RejectReason};
pub use report::{Fix, Motion, Report, Signal, Signals, VisitStep};

use crate::limits;

/// A dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decoder {
    /// lonewatch's own JSON (docs/DEVICES.md).
    Native,
    /// OwnTracks JSON (its booklet, chapter JSON).
    Owntracks,
}

impl Decoder {
    /// Every dialect.
    pub const ALL: [Self; 2] = [Self::Native, Self::Owntracks];

    /// The name in configuration and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Owntracks => "owntracks",
        }
    }

    /// Reads one message.
    ///
    /// # Errors
    /// A [`Reject`] that says what is wrong; the caller keeps the bytes in quarantine.
    pub fn decode(self, payload: &[u8]) -> Result<Decoded, Reject> {
        if payload.len() > limits::DECODED_BYTES_MAX {
            return Err(Reject::new(
                RejectReason::TooLarge,
                format!("{} bytes; at most {} are read", payload.len(), limits::DECODED_BYTES_MAX),
            ));
        }
        match self {
            Self::Native => native::decode(payload),
            Self::Owntracks => owntracks::decode(payload),
        }
    }
}

/// A message that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it says.
    pub content: Content,
    /// The device that the payload claims to come from, if it names one.
    pub claimed_device: Option<String>,
    /// The device asks for a receipt. Presses get one unasked.
    pub wants_receipt: bool,
    /// Something in it was not understood: the rest counts, and the bytes go to quarantine as well.
    pub remark: Option<Reject>,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The device speaks.
    Report(Box<Report>),
    /// The broker speaks for a device whose connection broke: no contact.
    Will,
    /// The device speaks of something that no rule reads: contact, and counted.
    Other,
    /// Nobody speaks (the deletion of a retained message): passed over.
    Nothing,
}
