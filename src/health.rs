//! Why we are not ready, in words: each part of a role holds one line here and changes it as its state changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The state of every part of this process.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, State>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ready,
    NotReady(String),
    /// Ready, with something to say.
    Remark(String),
}

impl Health {
    fn put(&self, part: &str, state: State) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.get(part) != Some(&state) {
            match &state {
                State::Ready => tracing::info!(part, "ready"),
                State::NotReady(why) => tracing::warn!(part, why, "not ready"),
                State::Remark(what) => tracing::warn!(part, what, "ready, but"),
            }
            parts.insert(part.to_owned(), state);
        }
    }

    /// This part does its work.
    pub fn ready(&self, part: &str) {
        self.put(part, State::Ready);
    }

    /// This part does not do its work, for a reason that names the mend.
    pub fn not_ready(&self, part: &str, why: impl Into<String>) {
        self.put(part, State::NotReady(why.into()));
    }

    /// This part does its work, and an operator should know something.
    pub fn remark(&self, part: &str, what: impl Into<String>) {
        self.put(part, State::Remark(what.into()));
    }

    /// This part has ended in good order.
    pub fn gone(&self, part: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// Whether every part does its work, and one line for each.
    pub fn report(&self) -> (bool, Vec<String>) {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = !parts.is_empty() && !parts.values().any(|state| matches!(state, State::NotReady(_)));
        let lines = parts.iter().map(|(part, state)| match state {
            State::Ready => format!("{part}: ready"),
            State::NotReady(why) => format!("{part}: NOT READY: {why}"),
            State::Remark(what) => format!("{part}: ready, but {what}"),
        });
        (ready, lines.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_is_not_ready_says_why_and_is_enough() {
        let health = Health::default();
        assert!(!health.report().0, "nothing has started: not ready");
        health.ready("lane");
        health.not_ready("rulebook", "not read to its end yet");
        let (ready, lines) = health.report();
        assert!(!ready);
        assert_eq!(lines, ["lane: ready", "rulebook: NOT READY: not read to its end yet"]);
        health.remark("rulebook", "entry device/x cannot be used");
        assert!(health.report().0);
    }
}
