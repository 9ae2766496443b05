//! The will of a native device, on `lw/v1/{device}/status`: what the broker says when the device's connection has broken.
//!
//! Whatever it says is the will, because only the device chose its bytes and only the broker speaks them. The one exception is the
//! device's own word that it is there, by which some clear a retained `offline`: that is contact.

use serde_json::{Map, Value};

use super::json::{self, Object};
use super::rejected::Reject;
use super::{Content, Decoded};
use crate::limits;

#[allow(clippy::unnecessary_wraps, reason = "the shape of every decoder; a will of any bytes is one")]
pub(super) fn decode(payload: &[u8]) -> Result<Decoded, Reject> {
    if payload.is_empty() {
        return Ok(Decoded::of(Content::Nothing));
    }
    Ok(Decoded::of(if says_online(payload) { Content::Other } else { Content::Will }))
}

/// `{"online":true}`, or the text `online`.
fn says_online(payload: &[u8]) -> bool {
    // No dialect reads more; a will may have any number of bytes.
    if payload.len() > limits::DECODED_BYTES_MAX {
        return false;
    }
    payload.trim_ascii().eq_ignore_ascii_case(b"online")
        || json::parse::<Map<String, Value>>(payload).is_ok_and(|fields| Object::new(&fields).flag("online") == Some(true))
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;

    #[test]
    fn whatever_it_says_is_the_will_but_the_word_that_the_device_is_there() {
        let content = |payload: &[u8]| Decoder::Status.decode(payload).unwrap().content;
        let long = "online ".repeat(3_000);
        for will in
            [&b"offline"[..], b"{}", br#"{"online":false}"#, br#"{"online":"true"}"#, b"\xff", b"0", b"[true]", long.as_bytes()]
        {
            assert_eq!(content(will), Content::Will);
        }
        for word in [&b"online"[..], b" Online\n", br#"{"online":true,"ip":"10.0.0.1"}"#] {
            assert_eq!(content(word), Content::Other, "the device speaks");
        }
        assert_eq!(content(b""), Content::Nothing, "somebody deletes a retained copy");
    }
}
