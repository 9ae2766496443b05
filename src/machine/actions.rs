//! What `apply` hands to the shell: alerts to write, and what became of the record, to count. Replay discards both.

use crate::alert::Alert;

/// The effects of one record. The caller takes them all before it applies the next.
#[derive(Debug, Default)]
pub struct Actions {
    /// Alerts, in the order in which they must be written.
    pub alerts: Vec<Alert>,
    /// What became of the record.
    pub outcomes: Vec<Outcome>,
}

impl Actions {
    pub(super) fn raise(&mut self, alert: Alert) {
        self.alerts.push(alert);
    }

    pub(super) fn note(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Empties both lists, keeping their room.
    pub fn clear(&mut self) {
        self.alerts.clear();
        self.outcomes.clear();
    }
}

/// What became of a record: a label of the metric `records`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A report that moved the device's state forward.
    Applied,
    /// A report older than what the state already knows: history.
    History,
    /// Applied or history, and well after it happened.
    Late,
    /// A copy of a message that was already seen: contact only.
    Repeat,
    /// Contact only: understood by no rule, or unreadable.
    ContactOnly,
    /// The broker's word for a broken connection: no contact.
    Will,
    /// A retained copy: no contact.
    Retained,
    /// A press that raised its alert.
    Press,
    /// The same, while this device's memory of presses has forgotten some: it may be a copy, and alert twice.
    PressPastMemory,
    /// A copy of a press that was already raised.
    PressRepeat,
    /// A device that no rulebook names, and no room to remember it.
    UnknownUnremembered,
    /// A feed spoke for a device of a tenant that it does not carry: no contact, and nothing that it tells counts. A press alerts all the
    /// same, unlinked, at the feed's fallback centre.
    NotCarried,
    /// Listening was accounted for.
    Observation,
    /// An observation from a clock that is ahead of Kafka's: ignored.
    ObservationAhead,
    /// An observation that shows a fault of its ingester, and no room to remember it: nobody is told of it.
    FaultUnremembered,
    /// Time went on.
    Metronome,
    /// An action of a centre; no rule reads them yet.
    Action,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 17] = [
        Self::Applied,
        Self::History,
        Self::Late,
        Self::Repeat,
        Self::ContactOnly,
        Self::Will,
        Self::Retained,
        Self::Press,
        Self::PressPastMemory,
        Self::PressRepeat,
        Self::UnknownUnremembered,
        Self::NotCarried,
        Self::Observation,
        Self::ObservationAhead,
        Self::FaultUnremembered,
        Self::Metronome,
        Self::Action,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::History => "history",
            Self::Late => "late",
            Self::Repeat => "repeat",
            Self::ContactOnly => "contact_only",
            Self::Will => "will",
            Self::Retained => "retained",
            Self::Press => "press",
            Self::PressPastMemory => "press_past_memory",
            Self::PressRepeat => "press_repeat",
            Self::UnknownUnremembered => "unknown_unremembered",
            Self::NotCarried => "not_carried",
            Self::Observation => "observation",
            Self::ObservationAhead => "observation_ahead",
            Self::FaultUnremembered => "fault_unremembered",
            Self::Metronome => "metronome",
            Self::Action => "action",
        }
    }
}
