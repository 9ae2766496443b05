//! A hash over the whole state: what replay is proved by. Every field that can change an action must be in it.

use sha2::{Digest as _, Sha256};

use crate::alert::{Alert, CentreMessage};

/// Collects state; each item goes in with its length, so that items cannot run together.
pub(super) struct StateHasher(Sha256);

impl StateHasher {
    pub(super) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.update(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        self.0.update(value.to_le_bytes());
        self
    }

    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        self.0.update((count as u64).to_le_bytes());
        self
    }

    pub(super) fn option(&mut self, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.count(1).int(value),
            None => self.count(0),
        }
    }

    pub(super) fn alert(&mut self, alert: Option<&Alert>) -> &mut Self {
        match alert {
            Some(alert) => self.bytes(&CentreMessage::Alert(Box::new(alert.clone())).to_json()),
            None => self.count(0),
        }
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The next link of a hash chain over (state, actions): equal chains prove equal replays, record by record.
#[must_use]
pub fn chain(previous: [u8; 32], state: [u8; 32], alerts: &[Alert]) -> [u8; 32] {
    let mut hash = StateHasher::new();
    hash.bytes(&previous).bytes(&state).count(alerts.len());
    for alert in alerts {
        hash.alert(Some(alert));
    }
    hash.finish()
}
