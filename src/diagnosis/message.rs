//! One message of a watched device, read as a lane would read it, and put into words that hold no position.

use crate::alert::Lane;
use crate::config::Source;
use crate::device::{Content, Decoded, NativePress, Reject, RejectReason, Report, Signal, VisitStep};

/// A message as it came from the MQTT broker.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When, by our clock, in milliseconds since the epoch.
    pub at_millis: i64,
    /// The MQTT topic.
    pub mqtt_topic: &'a str,
    /// At which quality of service it came; what was sent at 2 comes at 1.
    pub qos: u8,
    /// Whether its sender asked the broker to keep it.
    pub retained: bool,
    /// The bytes.
    pub payload: &'a [u8],
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything on a duress filter, or a report with a press in it.
    Press,
    /// The device speaks.
    Report,
    /// The broker speaks for it.
    Will,
    /// No rule reads it.
    Other,
    /// Nobody speaks.
    Nothing,
    /// It could not be read, and is no press.
    Unreadable,
}

/// Why a message could not be read, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) reason: RejectReason,
    /// The field or the word, where the decoder names it; never a value, which may be a position.
    pub(super) what: Option<String>,
}

impl Rejected {
    fn of(reject: &Reject) -> Self {
        let what = match reject.reason {
            RejectReason::WrongShape => shape(&reject.detail),
            // Of our own words: the field and its range.
            RejectReason::OutOfRange => Some(reject.detail.clone()),
            RejectReason::UnknownSignal => word(&reject.detail),
            RejectReason::Empty
            | RejectReason::TooLarge
            | RejectReason::NotUtf8
            | RejectReason::NotJson
            | RejectReason::IllegalDeviceId
            | RejectReason::AnotherDevice
            | RejectReason::RefusedByKafka => None,
        };
        Self { reason: reject.reason, what }
    }

    /// What a maker of devices should look at.
    pub(super) fn hint(&self) -> String {
        let hint = hint(self.reason);
        self.what.as_ref().map_or_else(|| hint.to_owned(), |what| format!("{hint}: {what}"))
    }
}

/// Serde's words without the value that it met: `missing field ...`, or what it expected and where.
fn shape(detail: &str) -> Option<String> {
    if detail.starts_with("missing field `") {
        return Some(detail.to_owned());
    }
    detail.rsplit_once(", expected ").map(|(_, expected)| format!("expected {expected}"))
}

/// The word between quotes, if it is one: letters, hyphens and underscores.
fn word(detail: &str) -> Option<String> {
    let word = detail.split('"').nth(1)?;
    word.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '-' | '_')).then(|| format!("\"{word}\""))
}

/// A message, read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) kind: Kind,
    pub(super) report: Report,
    pub(super) claimed_device: Option<String>,
    pub(super) rejected: Option<Rejected>,
    /// Whether the payload says how accurate its fix is: the decoder fills in its default where it does not.
    pub(super) says_accuracy: bool,
}

impl Reading {
    pub(super) fn of(source: &Source, payload: &[u8]) -> Self {
        let blank = Self {
            kind: Kind::Unreadable,
            report: Report::default(),
            claimed_device: None,
            rejected: None,
            says_accuracy: says_accuracy(payload),
        };
        if source.lane == Lane::Duress {
            let NativePress { report, claimed_device, remark } = NativePress::read(payload);
            let rejected = remark.as_ref().map(Rejected::of);
            return Self { kind: Kind::Press, report, claimed_device, rejected, ..blank };
        }
        let Decoded { content, claimed_device, wants_receipt: _, remark, unused: _ } = match source.decoder.decode(payload) {
            Ok(decoded) => decoded,
            Err(reject) => return Self { rejected: Some(Rejected::of(&reject)), ..blank },
        };
        let read = Self { claimed_device, rejected: remark.as_ref().map(Rejected::of), ..blank };
        match content {
            Content::Report(report) if report.signals.press() => Self { kind: Kind::Press, report: *report, ..read },
            Content::Report(report) => Self { kind: Kind::Report, report: *report, ..read },
            Content::Will => Self { kind: Kind::Will, ..read },
            Content::Other => Self { kind: Kind::Other, ..read },
            Content::Nothing => Self { kind: Kind::Nothing, ..read },
        }
    }

    /// How far the arrival lies behind the newest time that the device gave, and whether that is its time of sending (else of its fix).
    pub(super) fn behind_millis(&self, at_millis: i64) -> Option<(i64, bool)> {
        let newest = self.report.newest_time()?;
        Some((at_millis.saturating_sub(newest.get()), self.report.sent == Some(newest)))
    }

    /// The message in words.
    pub(super) fn words(&self, at_millis: i64) -> String {
        let report = &self.report;
        let mut words = vec![
            match self.kind {
                Kind::Press => "PRESS",
                Kind::Report => "report",
                Kind::Will => "will: the broker speaks for the device, no contact",
                Kind::Other => "no rule reads it; it counts as contact",
                Kind::Nothing => "empty: passed over",
                Kind::Unreadable => "CANNOT BE READ",
            }
            .to_owned(),
        ];
        words.extend(self.rejected.as_ref().map(|rejected| format!("{}: {}", rejected.reason.as_str(), rejected.hint())));
        words.extend(report.own_id.as_ref().map(|id| format!("id {id}")));
        words.extend(report.sequence.map(|sequence| format!("sequence {sequence}")));
        words.extend(report.fix.map(|fix| {
            let metres = f64::from(fix.accuracy_cm) / 100.0;
            if self.says_accuracy {
                format!("fix within {metres:.0} m")
            } else {
                format!("fix of unsaid accuracy, taken as {metres:.0} m")
            }
        }));
        words.extend(report.battery_percent.map(|percent| format!("battery {percent} %")));
        words.extend(report.visit.map(|step| {
            let step = match step {
                VisitStep::Start => "start",
                VisitStep::CheckIn => "check-in",
                VisitStep::Extend => "extend",
                VisitStep::End => "end",
            };
            format!("visit {step}")
        }));
        words.extend(
            Signal::ALL.into_iter().filter(|signal| report.signals.has(*signal)).map(|signal| signal.as_str().to_owned()),
        );
        words.extend(self.behind_millis(at_millis).map(|(behind, sent)| {
            let what = if sent { "sent" } else { "its time" };
            if behind < 0 {
                format!("{what} {} ahead of us", seconds(-behind))
            } else {
                format!("{what} {} ago", seconds(behind))
            }
        }));
        words.join(", ")
    }
}

/// Seconds for people: with tenths while they matter.
pub(super) fn seconds(millis: i64) -> String {
    let tenths = millis.saturating_add(50) / 100;
    if tenths < 100 { format!("{}.{} s", tenths / 10, tenths % 10) } else { format!("{} s", tenths / 10) }
}

/// Whether the payload has a field for the accuracy of its fix, whatever its dialect.
fn says_accuracy(payload: &[u8]) -> bool {
    fn has(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Object(fields) => fields
                .iter()
                .any(|(name, value)| (["accuracy", "acc"].contains(&name.as_str()) && value.is_number()) || has(value)),
            _other => false,
        }
    }
    serde_json::from_slice(payload).is_ok_and(|value| has(&value))
}

/// What a maker of devices should look at. The reject's own detail may quote the payload, and with it a position.
const fn hint(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Empty => "send a JSON object",
        RejectReason::TooLarge => "more bytes than a decoder reads",
        RejectReason::NotUtf8 => "send UTF-8",
        RejectReason::NotJson => "send one JSON object; look at quotes, commas and brackets",
        RejectReason::WrongShape => "a field is missing or of another type; docs/DEVICES.md has them all",
        RejectReason::OutOfRange => "a number is outside of its range; look at latitude, longitude, accuracy and battery",
        RejectReason::UnknownSignal => "a signal has a name that docs/DEVICES.md does not have",
        RejectReason::IllegalDeviceId => "the id may have letters, digits, '.', '_' and '-', and begins with a letter or digit",
        RejectReason::AnotherDevice => "the payload claims another device than its MQTT topic",
        RejectReason::RefusedByKafka => "Kafka refused it",
    }
}
