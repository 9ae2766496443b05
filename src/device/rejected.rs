//! Why a message is rejected: the device's fault, in a bounded set of reasons.

use std::fmt;

use crate::limits;

/// A message that cannot be read, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The reason, for counting.
    pub reason: RejectReason,
    /// What and where, for the quarantine record. May quote the payload: never for logs.
    pub detail: String,
}

impl Reject {
    /// A rejection with what and where.
    pub fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// A rejection of more bytes than a decoder reads.
    pub(super) fn too_large(payload: &[u8]) -> Self {
        let detail = format!("{} bytes; at most {} are read", payload.len(), limits::DECODED_BYTES_MAX);
        Self::new(RejectReason::TooLarge, detail)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}

/// Reasons, as labels of metrics and fields of quarantine records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectReason {
    /// No bytes.
    Empty,
    /// More bytes than a decoder reads.
    TooLarge,
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON, or nested too deep.
    NotJson,
    /// JSON of the wrong types, or without a field that must be there.
    WrongShape,
    /// A number outside of its range.
    OutOfRange,
    /// A signal by a name that we do not know.
    UnknownSignal,
    /// The MQTT topic bears no legal device id.
    IllegalDeviceId,
    /// The payload claims another id than its MQTT topic.
    AnotherDevice,
    /// Kafka refused the record for good.
    RefusedByKafka,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Empty,
        Self::TooLarge,
        Self::NotUtf8,
        Self::NotJson,
        Self::WrongShape,
        Self::OutOfRange,
        Self::UnknownSignal,
        Self::IllegalDeviceId,
        Self::AnotherDevice,
        Self::RefusedByKafka,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::WrongShape => "wrong_shape",
            Self::OutOfRange => "out_of_range",
            Self::UnknownSignal => "unknown_signal",
            Self::IllegalDeviceId => "illegal_device_id",
            Self::AnotherDevice => "another_device",
            Self::RefusedByKafka => "refused_by_kafka",
        }
    }

    /// The reason of a label.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
