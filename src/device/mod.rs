//! What a device says: its report, the MQTT topic that names it, the decoders of dialects, and why a message is rejected.
//!
//! Pure functions of MQTT topic and bytes. A new dialect is one file and one row in the table below (docs/DEVICES.md, Add a decoder).

mod iso_time;
mod json;
mod last_resort;
pub mod mqtt_topic;
mod native;
mod owntracks;
mod rejected;
mod report;
mod status;
mod traccar;

pub use mqtt_topic::{Filter, FilterFault};
pub use native::NativePress;
pub use rejected::{Reject, RejectReason};
pub use report::{Fix, Motion, Report, Signal, Signals, VisitStep};

use crate::limits;

macro_rules! decoders {
    ($($(#[doc = $doc:literal])* $variant:ident: $number:literal $name:literal $decode:path;)*) => {
        /// A dialect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Decoder {
            $($(#[doc = $doc])* $variant = $number,)*
        }

        impl Decoder {
            /// Every dialect, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// Their names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name in configuration, records and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            const fn reader(self) -> fn(&[u8]) -> Result<Decoded, Reject> {
                match self { $(Self::$variant => $decode),* }
            }
        }
    };
}

// The dialects: number in the journal (never used again for another), name, the function that reads a payload.
decoders! {
    /// lonewatch's own JSON (docs/DEVICES.md).
    Native: 1 "native" native::decode;
    /// OwnTracks JSON (its booklet, chapter JSON).
    Owntracks: 2 "owntracks" owntracks::decode;
    /// Traccar's forwarded JSON.
    Traccar: 3 "traccar" traccar::decode;
    /// The will of a native device.
    Status: 4 "status" status::decode;
}

impl Decoder {
    /// The dialect of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|decoder| decoder.as_str() == name)
    }

    /// The number in the journal.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The dialect of a number in the journal.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|decoder| decoder.number() == number)
    }

    /// Reads one message.
    ///
    /// # Errors
    /// A [`Reject`] that says what is wrong; the caller keeps the bytes in quarantine.
    pub fn decode(self, payload: &[u8]) -> Result<Decoded, Reject> {
        if payload.len() > limits::DECODED_BYTES_MAX && !self.hears_any_size() {
            return Err(Reject::too_large(payload));
        }
        self.reader()(payload)
    }

    /// Whether something in it counts however long it is: a press (P1), and a will, which is the broker's word and, rejected, would
    /// count as the device's. Their decoders keep to the limit in all else.
    const fn hears_any_size(self) -> bool {
        matches!(self, Self::Native | Self::Traccar | Self::Status)
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
    /// What in it no rule reads, as a label: one of a short list in the decoder's file, never a text of the payload.
    pub unused: Option<&'static str>,
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
    /// The device does not speak: the deletion of a retained message, or what a gateway concludes by itself. Passed over, and counted.
    Nothing,
}

impl Decoded {
    /// A message that says this and no more.
    pub const fn of(content: Content) -> Self {
        Self { content, claimed_device: None, wants_receipt: false, remark: None, unused: None }
    }

    /// A device's report.
    pub fn report(report: Report) -> Self {
        Self::of(Content::Report(Box::new(report)))
    }
}

#[cfg(test)]
mod poison_tests;
