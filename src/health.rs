//! Why we are not ready, in words: each part of a role holds one line here and changes it as its state changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock;
use crate::limits;
use crate::runbook::Entry;

/// Why a part does not do its work, on its way to whoever says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it means and what to do.
    pub entry: Entry,
    /// What happened, with the mend where it is known.
    pub why: String,
}

impl Trouble {
    /// A trouble with its entry in the runbook.
    pub fn new(entry: Entry, why: impl Into<String>) -> Self {
        Self { entry, why: why.into() }
    }
}

/// The state of every part of this process.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Part>>>);

#[derive(Debug)]
struct Part {
    state: State,
    /// On the steady clock.
    logged_at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ready,
    NotReady(Entry, String),
    /// Ready, with something to say.
    Remark(Entry, String),
}

impl State {
    fn log(&self, part: &str) {
        match self {
            Self::Ready => tracing::info!(part, "ready"),
            Self::NotReady(entry, why) => tracing::warn!(part, why, see = %entry, "not ready"),
            Self::Remark(entry, what) => tracing::warn!(part, what, see = %entry, "ready, but"),
        }
    }
}

impl Health {
    /// A change is logged; one reason after another for the same state only now and then.
    fn put(&self, part: &str, state: State) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now_millis = clock::steady_millis();
        let known = parts.get(part);
        if known.is_some_and(|known| known.state == state) {
            return;
        }
        let same_kind = |known: &Part| std::mem::discriminant(&known.state) == std::mem::discriminant(&state);
        let said_lately = known.filter(|known| same_kind(known) && now_millis - known.logged_at < limits::UNREADY_LOGGED_MILLIS);
        let logged_at = said_lately.map_or(now_millis, |known| known.logged_at);
        if said_lately.is_none() {
            state.log(part);
        }
        parts.insert(part.to_owned(), Part { state, logged_at });
    }

    /// This part does its work.
    pub fn ready(&self, part: &str) {
        self.put(part, State::Ready);
    }

    /// This part does not do its work, for a reason that names the mend. The entry says what it means and what to do.
    pub fn not_ready(&self, part: &str, entry: Entry, why: impl Into<String>) {
        self.put(part, State::NotReady(entry, why.into()));
    }

    /// This part does its work, and an operator should know something.
    pub fn remark(&self, part: &str, entry: Entry, what: impl Into<String>) {
        self.put(part, State::Remark(entry, what.into()));
    }

    /// This part has ended in good order.
    pub fn gone(&self, part: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// Whether every part does its work, and one line for each.
    pub fn report(&self) -> (bool, Vec<String>) {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = !parts.is_empty() && !parts.values().any(|part| matches!(part.state, State::NotReady(..)));
        let lines = parts.iter().map(|(part, Part { state, .. })| match state {
            State::Ready => format!("{part}: ready"),
            State::NotReady(entry, why) => format!("{part}: NOT READY: {why} (see {entry})"),
            State::Remark(entry, what) => format!("{part}: ready, but {what} (see {entry})"),
        });
        (ready, lines.collect())
    }
}

/// Whether Kafka answers one of our writers: a part of its own, because a lane can hear its devices well while nothing is stored.
#[derive(Debug)]
pub struct KafkaAnswers {
    health: Health,
    part: String,
    /// When Kafka last acknowledged something, or owed nothing.
    answered_at: i64,
}

impl KafkaAnswers {
    /// A writer that owes nothing yet.
    pub fn new(health: &Health, writer: &str, now_millis: i64) -> Self {
        let part = format!("{writer} to Kafka");
        health.ready(&part);
        Self { health: health.clone(), part, answered_at: now_millis }
    }

    /// Kafka has acknowledged something.
    pub const fn answered(&mut self, now_millis: i64) {
        self.answered_at = now_millis;
    }

    /// Looks, every second or so, whether Kafka owes `pending` acknowledgements for too long.
    pub fn look(&mut self, pending: usize, now_millis: i64) {
        if pending == 0 {
            self.answered_at = now_millis;
        }
        if now_millis - self.answered_at < limits::KAFKA_SILENT_MILLIS {
            return self.health.ready(&self.part);
        }
        let seconds = limits::KAFKA_SILENT_MILLIS / 1_000;
        self.health.not_ready(
            &self.part,
            Entry::KafkaSilent,
            format!(
                "Kafka has acknowledged nothing for {seconds} s or more: look at its brokers and at the network. \
                 What is not stored is kept and tried again"
            ),
        );
    }

    /// The writer has ended in good order.
    pub fn gone(&self) {
        self.health.gone(&self.part);
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
        health.not_ready("rulebook", Entry::RulebookUnread, "not read to its end yet");
        let (ready, lines) = health.report();
        assert!(!ready);
        let why = "rulebook: NOT READY: not read to its end yet (see docs/RUNBOOK.md#rulebook-unread)";
        assert_eq!(lines, ["lane: ready", why]);
        health.remark("rulebook", Entry::RulebookEntries, "entry device/x cannot be used");
        assert!(health.report().0);
    }

    #[test]
    fn kafka_that_owes_acknowledgements_for_too_long_is_not_ready() {
        let health = Health::default();
        let mut kafka = KafkaAnswers::new(&health, "lane", 0);
        kafka.look(0, 60_000);
        kafka.look(7, 64_999);
        assert!(health.report().0, "nothing was owed until then");
        kafka.look(7, 65_000);
        let (ready, lines) = health.report();
        assert!(!ready && lines[0].starts_with("lane to Kafka: NOT READY: Kafka has acknowledged nothing"), "{lines:?}");
        kafka.answered(66_000);
        kafka.look(7, 66_500);
        assert!(health.report().0);
    }
}
