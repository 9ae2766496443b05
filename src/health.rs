//! Why we are not ready, in words: each part of a role holds one line here and changes it as its state changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::limits;
use crate::runbook::Entry;

/// A writer to which Kafka has been silent for less than this is not waiting for it.
pub const KAFKA_ANSWERS_WITHIN: Duration = Duration::from_millis(limits::KAFKA_SILENT_MILLIS.unsigned_abs());

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
        let news = said_lately.is_none().then(|| state.clone());
        parts.insert(part.to_owned(), Part { state, logged_at });
        drop(parts);
        // Without the lock, which every lane takes each second: a log that nobody reads holds up whoever writes to it.
        if let Some(news) = news {
            news.log(part);
        }
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

/// Whether Kafka takes what one of our writers writes: parts of their own, because a lane can hear its devices well while nothing is stored.
#[derive(Debug)]
pub struct KafkaAnswers {
    health: Health,
    writer: String,
    /// The Kafka topics that refused at the last look.
    refusing: Vec<Arc<str>>,
}

impl KafkaAnswers {
    /// A writer that owes nothing yet.
    pub fn new(health: &Health, writer: &str) -> Self {
        let answers = Self { health: health.clone(), writer: writer.to_owned(), refusing: Vec::new() };
        health.ready(&answers.part());
        answers
    }

    fn part(&self) -> String {
        format!("{} to Kafka", self.writer)
    }

    fn part_of(&self, topic: &str) -> String {
        format!("{} to {topic}", self.writer)
    }

    /// Looks, every second or so, for how long Kafka has been silent where records wait, and which topics refuse, with the reason.
    pub fn look(&mut self, silent_for: Option<Duration>, refusing: &[(Arc<str>, &'static str)]) {
        for mended in self.refusing.iter().filter(|topic| refusing.iter().all(|(refuses, _)| refuses != *topic)) {
            self.health.gone(&self.part_of(mended));
        }
        for (topic, reason) in refusing {
            let why = format!(
                "Kafka refuses what is written there ({reason}): run `lonewatch topics create`, and allow this principal to write. It is kept \
                 and tried again"
            );
            self.health.not_ready(&self.part_of(topic), Entry::KafkaRefuses, why);
        }
        self.refusing = refusing.iter().map(|(topic, _)| Arc::clone(topic)).collect();
        if silent_for.is_none_or(|silent_for| silent_for < KAFKA_ANSWERS_WITHIN) {
            return self.health.ready(&self.part());
        }
        let seconds = KAFKA_ANSWERS_WITHIN.as_secs();
        self.health.not_ready(
            &self.part(),
            Entry::KafkaSilent,
            format!(
                "Kafka has acknowledged nothing for {seconds} s or more, for one partition at least: look at its brokers and at the network. \
                 What is not stored is kept and tried again"
            ),
        );
    }

    /// The writer has ended in good order.
    pub fn gone(&self) {
        for topic in &self.refusing {
            self.health.gone(&self.part_of(topic));
        }
        self.health.gone(&self.part());
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
    fn kafka_that_is_silent_for_too_long_is_not_ready() {
        let health = Health::default();
        let mut kafka = KafkaAnswers::new(&health, "lane");
        kafka.look(Some(KAFKA_ANSWERS_WITHIN / 2), &[]);
        assert!(health.report().0);
        kafka.look(Some(KAFKA_ANSWERS_WITHIN), &[]);
        let (ready, lines) = health.report();
        assert!(!ready && lines[0].starts_with("lane to Kafka: NOT READY: Kafka has acknowledged nothing"), "{lines:?}");
        kafka.look(None, &[]);
        assert!(health.report().0);
    }

    #[test]
    fn a_topic_that_refuses_is_a_part_of_its_own_until_it_is_mended() {
        let health = Health::default();
        let mut kafka = KafkaAnswers::new(&health, "lane");
        kafka.look(None, &[(Arc::from("alerts.c"), "topic_gone")]);
        let (ready, lines) = health.report();
        assert!(!ready && lines[0] == "lane to Kafka: ready", "{lines:?}");
        assert!(
            lines[1].starts_with("lane to alerts.c: NOT READY: Kafka refuses what is written there (topic_gone)"),
            "{lines:?}"
        );
        kafka.look(None, &[]);
        assert_eq!(health.report(), (true, vec!["lane to Kafka: ready".to_owned()]));
    }
}
