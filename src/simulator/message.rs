//! What simulated devices say, in the native format of docs/DEVICES.md, and the junk that one of them sends.

use serde::Serialize;

/// A fix as the device kept it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fix {
    pub(super) lat: f64,
    pub(super) lon: f64,
    pub(super) time: i64,
    pub(super) accuracy: f64,
    pub(super) speed: f64,
}

/// A report, complete but for the time of its sending.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) boot: u32,
    pub(super) seq: u64,
    pub(super) sent: i64,
    pub(super) battery: i64,
    pub(super) motion: &'static str,
    pub(super) interval: i64,
    pub(super) fix: Fix,
}

/// A press.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Press {
    pub(super) id: String,
    pub(super) time: i64,
    pub(super) sent: i64,
    pub(super) battery: i64,
    pub(super) fix: Fix,
}

/// The message as bytes.
pub(super) fn bytes(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("numbers and text only: nothing in it that JSON cannot hold")
}

/// Junk number `n`: each kind of it in turn.
pub(super) fn junk(n: usize) -> Vec<u8> {
    let kinds: [&[u8]; 6] =
        [b"\xff\xfe\x00", b"hello", b"{\"fix\":{\"lat\":\"north\"}}", b"{\"battery\":400}", &[b'['; 4_000], &[b' '; 9_000]];
    kinds[n % kinds.len()].to_vec()
}

/// The press ids that a receipt on the device's `rx` topic speaks of.
pub(super) fn receipted_id(payload: &[u8]) -> Option<String> {
    let receipt: serde_json::Value = serde_json::from_slice(payload).ok()?;
    receipt.get("id")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Content, Decoder};

    #[test]
    fn a_report_reads_as_what_it_says() {
        let fix = Fix { lat: 53.800_000_1, lon: -1.55, time: 5, accuracy: 8.0, speed: 1.4 };
        let report = Report { boot: 3, seq: 9, sent: 7, battery: 41, motion: "moving", interval: 1, fix };
        let Content::Report(read) = Decoder::Native.decode(&bytes(&report)).unwrap().content else { panic!("no report") };
        assert_eq!((read.own_id.as_deref(), read.battery_percent, read.fix.unwrap().accuracy_cm), (Some("3.9"), Some(41), 800));
    }

    #[test]
    fn junk_is_junk() {
        for n in 0..6 {
            assert!(Decoder::Native.decode(&junk(n)).is_err(), "{n}");
        }
    }

    #[test]
    fn a_receipt_names_a_press() {
        assert_eq!(receipted_id(br#"{"id":"p-1"}"#).as_deref(), Some("p-1"));
        assert_eq!(receipted_id(b"junk"), None);
    }
}
