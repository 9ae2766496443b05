//! Quarantine: bytes that could not be read, kept with the reason, so that nothing is lost by a bad message.

use bytes::Bytes;
use serde::Serialize;

use crate::alert::Lane;
use crate::device::Reject;
use crate::ids::{self, FeedName, IngesterName};
use crate::limits;

/// One record of the quarantine topic, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Quarantined<'a> {
    format: u32,
    reason: &'static str,
    detail: &'a str,
    /// Whether it alerted all the same.
    press: bool,
    /// The device that it is kept under: of its MQTT topic, or `x-` and a hash where that bears no legal id.
    device: &'a str,
    feed: &'a FeedName,
    lane: Lane,
    ingester: &'a IngesterName,
    mqtt_topic: &'a str,
    received_at: i64,
    /// Length of the whole payload.
    bytes: usize,
    sha256: String,
    /// The first bytes of the payload: as many as a decoder reads.
    payload_hex: String,
}

/// Where and when a message came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came<'a> {
    pub(super) feed: &'a FeedName,
    pub(super) lane: Lane,
    pub(super) ingester: &'a IngesterName,
    pub(super) mqtt_topic: &'a str,
    pub(super) received_at: i64,
}

/// A payload, as far as quarantine keeps it.
#[derive(Clone, Debug)]
pub(super) struct Excerpt {
    /// The first bytes.
    first: Bytes,
    /// Length and SHA-256 of the whole, where that is more.
    whole: Option<(usize, String)>,
}

impl Excerpt {
    /// Costs nothing for a payload that is kept whole.
    pub(super) fn of(payload: &Bytes) -> Self {
        if payload.len() <= limits::QUARANTINE_BYTES_MAX {
            return Self { first: payload.clone(), whole: None };
        }
        let first = Bytes::copy_from_slice(&payload[..limits::QUARANTINE_BYTES_MAX]);
        Self { first, whole: Some((payload.len(), ids::sha256_hex(payload))) }
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.first.len()
    }
}

/// The record's bytes.
pub(super) fn record(came: Came<'_>, device: &str, press: bool, reject: &Reject, payload: &Excerpt) -> Vec<u8> {
    let whole = payload.whole.clone();
    let (bytes, sha256) = whole.unwrap_or_else(|| (payload.len(), ids::sha256_hex(&payload.first)));
    let record = Quarantined {
        format: 1,
        reason: reject.reason.as_str(),
        detail: &reject.detail,
        press,
        device,
        feed: came.feed,
        lane: came.lane,
        ingester: came.ingester,
        mqtt_topic: came.mqtt_topic,
        received_at: came.received_at,
        bytes,
        sha256,
        payload_hex: ids::hex(&payload.first),
    };
    serde_json::to_vec(&record).expect("text and numbers only: nothing in it that JSON cannot hold")
}
