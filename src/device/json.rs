//! What decoders of JSON share: reading bytes within limits, asking an object for fields, and numbers in our units.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::rejected::{Reject, RejectReason};
use crate::limits;
use crate::position::Position;
use crate::time::DeviceMillis;

/// The widest error circle that is kept, in centimetres: what is said to be wider is no more exact than this.
const ACCURACY_CM_MAX: u32 = 4_000_000_000;

/// Reads JSON, and tells bytes that are too many, no text, text that is not JSON, and JSON of the wrong shape apart.
pub(super) fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Reject> {
    if payload.is_empty() {
        return Err(Reject::new(RejectReason::Empty, "no bytes; send a JSON object"));
    }
    if payload.len() > limits::DECODED_BYTES_MAX {
        return Err(Reject::too_large(payload));
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

/// The fields of an object that is JSON, or would be if every bare word and number that JSON does not know (`nan`, `1e999`) were null.
pub(super) fn parse_mended(payload: &[u8]) -> Option<Map<String, Value>> {
    if payload.len() > limits::DECODED_BYTES_MAX {
        return None;
    }
    let text = String::from_utf8_lossy(payload);
    serde_json::from_str(&text).or_else(|_| serde_json::from_str(&without_odd_words(&text))).ok()
}

/// The text with null in place of each bare word that is none of JSON's.
fn without_odd_words(text: &str) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => end_of_string(rest),
            _ if is_of_word(first) => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (part, after) = rest.split_at(end);
        let odd = is_of_word(first) && serde_json::from_str::<Value>(part).is_err();
        mended.push_str(if odd { "null" } else { part });
        rest = after;
    }
    mended
}

/// Behind the closing quote of the string that the text begins with, or the text's end.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
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

    pub(super) fn whole(self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    pub(super) fn time(self, name: &str) -> Option<DeviceMillis> {
        self.0.get(name)?.as_i64().map(DeviceMillis::new)
    }

    /// A text, or the texts in a list.
    pub(super) fn words(self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let value = self.0.get(name);
        let listed = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        value.and_then(Value::as_str).into_iter().chain(listed)
    }

    /// A text that can serve as a message's own id.
    pub(super) fn own_id(self, name: &str) -> Option<String> {
        self.text(name).filter(|id| (1..=limits::OWN_ID_BYTES_MAX).contains(&id.len())).map(str::to_owned)
    }

    /// A number as hundredths; none where it cannot be one, such as the -1 by which phones say that they do not know.
    pub(super) fn centi(self, name: &str) -> Option<u32> {
        centi(name, self.number(name)?).ok()
    }

    /// The radius of an error circle in centimetres: the default where it is not said, or is 0, which is how many say so.
    pub(super) fn accuracy_cm(self, name: &str, default_cm: u32) -> u32 {
        match self.number(name) {
            Some(metres) if metres > f64::from(ACCURACY_CM_MAX / 100) => ACCURACY_CM_MAX,
            Some(metres) => centi(name, metres).ok().filter(|cm| *cm > 0).unwrap_or(default_cm),
            None => default_cm,
        }
    }

    pub(super) fn signed_centi(self, name: &str) -> Option<i32> {
        signed_centi(name, self.number(name)?).ok()
    }

    pub(super) fn percent(self, name: &str) -> Option<u8> {
        percent_of(name, self.number(name)?).ok()
    }
}

/// Where a reader of JSON's bytes stands, without reading values: how deep in brackets, and whether in a text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nesting {
    pub(super) depth: usize,
    pub(super) in_text: bool,
    /// The next byte is part of the text, whatever it is.
    pub(super) escaped: bool,
}

impl Nesting {
    pub(super) const fn take(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            b'[' | b'{' if !self.in_text => self.depth += 1,
            b']' | b'}' if !self.in_text => self.depth = self.depth.saturating_sub(1),
            _any_other => {}
        }
    }
}

/// Whether brackets outside of texts nest deeper than any message needs. The JSON reader skips unknown fields without a limit of its own.
fn nested_too_deep(text: &str) -> bool {
    let mut nesting = Nesting::default();
    text.bytes().any(|byte| {
        nesting.take(byte);
        nesting.depth > limits::JSON_DEPTH_MAX
    })
}

/// The place of a fix. None at exactly 0, 0: off Africa's coast, to 11 mm, is where trackers stand that have no place yet and say that
/// it is valid.
pub(super) fn place(of: &str, lat: f64, lon: f64) -> Result<Option<Position>, Reject> {
    let place = Position::from_degrees(lat, lon).ok_or_else(|| {
        Reject::new(RejectReason::OutOfRange, format!("{of}: latitude is within ±90 and longitude within ±180 degrees"))
    })?;
    Ok(Some(place).filter(|place| (place.lat_e7(), place.lon_e7()) != (0, 0)))
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
        assert_eq!(object.words("b").chain(object.words("a")).collect::<Vec<_>>(), ["x"]);
        assert!(!object.has("c") && object.has("b") && object.own_id("e").is_none() && object.object("b").is_none());
    }
    #[test]
    fn an_absurd_accuracy_is_the_worst_and_not_the_default() {
        let fields = parse::<Map<String, Value>>(br#"{"a":12,"b":4e7,"c":4.1e7,"d":1e300,"e":0,"f":-1,"g":"x"}"#).unwrap();
        let said = |name: &str| Object::new(&fields).accuracy_cm(name, 5_000);
        assert_eq!(["a", "b", "c", "d"].map(said), [1_200, ACCURACY_CM_MAX, ACCURACY_CM_MAX, ACCURACY_CM_MAX]);
        assert_eq!(["e", "f", "g", "h"].map(said), [5_000; 4]);
    }

    #[test]
    fn words_that_json_does_not_know_cost_no_other_field() {
        let fields =
            parse_mended(br#"{"id":"nan, \"1e999","a":nan,"b":[-inf,1.5,True,true],"c":1e999,"d":null,"e":.5}"#).unwrap();
        assert_eq!(
            Value::Object(fields).to_string(),
            r#"{"a":null,"b":[null,1.5,null,true],"c":null,"d":null,"e":null,"id":"nan, \"1e999"}"#
        );
        for hopeless in [&b"nan"[..], b"{", b"[nan]", b"{\"a\":nan", b"\"", &[b'{'; 9_000]] {
            assert_eq!(parse_mended(hopeless), None);
        }
    }
}
