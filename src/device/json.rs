//! What decoders of JSON share: reading bytes within limits, asking an object for fields, and numbers in our units.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::rejected::{Reject, RejectReason};
use crate::limits;

/// Reads JSON, and tells bytes that are not text, text that is not JSON, and JSON of the wrong shape apart.
pub(super) fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Reject> {
    if payload.is_empty() {
        return Err(Reject::new(RejectReason::Empty, "no bytes; send a JSON object"));
    }
    let text = std::str::from_utf8(payload)
        .map_err(|fault| Reject::new(RejectReason::NotUtf8, format!("not UTF-8 from byte {}", fault.valid_up_to())))?;
    if nested_too_deep(text) {
        let detail = format!("nested deeper than {} levels", limits::JSON_DEPTH_MAX);
        return Err(Reject::new(RejectReason::NotJson, detail));
    }
    let read = serde_json::from_str(text).map_err(|fault| {
        let reason = if fault.is_data() { RejectReason::WrongShape } else { RejectReason::NotJson };
        Reject::new(reason, fault.to_string())
    })?;
    // Serde also fills a struct from a list, by the order of its fields.
    if text.trim_start().starts_with('[') {
        return Err(Reject::new(RejectReason::WrongShape, "a list; send each message by itself, as a JSON object"));
    }
    Ok(read)
}

/// A JSON object whose fields are asked for one by one. A field that is missing, null or of another type counts as absent, so that
/// one odd field of a foreign dialect does not cost the rest.
#[derive(Clone, Copy)]
pub(super) struct Object<'a>(&'a Map<String, Value>);

impl<'a> Object<'a> {
    /// The fields of a message that [`parse`] has read.
    pub(super) const fn new(fields: &'a Map<String, Value>) -> Self {
        Self(fields)
    }

    pub(super) fn object(self, name: &str) -> Option<Self> {
        self.0.get(name)?.as_object().map(Self)
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }

    pub(super) fn number(self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    pub(super) fn flag(self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    /// A text that can serve as a message's own id.
    pub(super) fn own_id(self, name: &str) -> Option<String> {
        self.text(name).filter(|id| (1..=limits::OWN_ID_BYTES_MAX).contains(&id.len())).map(str::to_owned)
    }

    /// A number as hundredths; none where it cannot be one, such as the -1 by which phones say that they do not know.
    pub(super) fn centi(self, name: &str) -> Option<u32> {
        centi(name, self.number(name)?).ok()
    }

    pub(super) fn signed_centi(self, name: &str) -> Option<i32> {
        signed_centi(name, self.number(name)?).ok()
    }

    pub(super) fn percent(self, name: &str) -> Option<u8> {
        percent_of(name, self.number(name)?).ok()
    }
}

/// Whether brackets outside of strings nest deeper than any message needs. The JSON reader skips unknown fields without a limit of its own.
fn nested_too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth > limits::JSON_DEPTH_MAX {
            return true;
        }
    }
    false
}

/// A whole percent from 0 to 100.
pub(super) fn percent_of(field: &str, percent: f64) -> Result<u8, Reject> {
    if !(0.0..=100.0).contains(&percent) {
        return Err(Reject::new(RejectReason::OutOfRange, format!("{field} is a percentage from 0 to 100")));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100 was checked above")]
    Ok(percent.round() as u8)
}

/// Hundredths of a number from 0 to 40 million.
pub(super) fn centi(field: &str, value: f64) -> Result<u32, Reject> {
    if !(0.0..=4.0e7).contains(&value) {
        return Err(Reject::new(RejectReason::OutOfRange, format!("{field} is a number from 0 to 40,000,000")));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked above")]
    Ok((value * 100.0).round() as u32)
}

/// Hundredths of a number within ±20 million.
pub(super) fn signed_centi(field: &str, value: f64) -> Result<i32, Reject> {
    if !(-2.0e7..=2.0e7).contains(&value) {
        return Err(Reject::new(RejectReason::OutOfRange, format!("{field} is a number within ±20,000,000")));
    }
    #[allow(clippy::cast_possible_truncation, reason = "the range was checked above")]
    Ok((value * 100.0).round() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_no_message() {
        #[derive(Debug, Deserialize)]
        struct Named {
            #[allow(dead_code, reason = "only its type counts")]
            name: String,
        }
        assert_eq!(parse::<Named>(br#" ["lwt"]"#).unwrap_err().reason, RejectReason::WrongShape);
        assert_eq!(parse::<Map<String, Value>>(b"[]").unwrap_err().reason, RejectReason::WrongShape);
        assert_eq!(parse::<Map<String, Value>>(b"7").unwrap_err().reason, RejectReason::WrongShape);
    }

    #[test]
    fn an_odd_field_counts_as_absent() {
        let fields = parse::<Map<String, Value>>(br#"{"a":-1,"b":"x","c":null,"d":1e300,"e":""}"#).unwrap();
        let object = Object::new(&fields);
        assert_eq!((object.centi("a"), object.signed_centi("a")), (None, Some(-100)));
        assert_eq!((object.percent("a"), object.number("b"), object.centi("d")), (None, None, None));
        assert!(!object.has("c") && object.has("b") && object.own_id("e").is_none() && object.object("b").is_none());
    }
}
