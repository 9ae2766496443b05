//! A member that lost its partitions and does not get them back, or had none and may have lost sight of its group.

use std::time::{Duration, Instant};

use crate::limits;

/// A member that lost its partitions to an outage and does not get them back. Seen with Kafka 4.1 and librdkafka 2.12, after outages of
/// 18 s and of 6 minutes: Kafka answered other clients, and the member did not ask to join its group again for a minute and more. A spare
/// loses nothing that would show it.
pub(super) struct Stranded {
    /// Set while partitions are lost and none has come back.
    pub(super) lost: bool,
    /// Set while a spare has had no broker, and no word of its group since.
    pub(super) unheard: bool,
    /// Since when Kafka has answered all the time.
    answers_since: Option<Instant>,
    patience: Duration,
}

impl Stranded {
    pub(super) fn new() -> Self {
        Self { lost: false, unheard: false, answers_since: None, patience: Duration::from_millis(limits::REJOIN_MILLIS_MIN) }
    }

    /// Whether to give the consumer up, now.
    pub(super) fn is_over(&mut self, now: Instant, kafka_answers: bool) -> bool {
        if !((self.lost || self.unheard) && kafka_answers) {
            self.answers_since = None;
            return false;
        }
        let since = *self.answers_since.get_or_insert(now);
        let over = now.saturating_duration_since(since) >= self.patience;
        if over {
            self.answers_since = None;
            self.patience = (self.patience * 2).min(Duration::from_millis(limits::REJOIN_MILLIS_MAX));
        }
        over
    }
}
