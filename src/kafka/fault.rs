//! Faults of Kafka, sorted by what the caller can do: wait, tell somebody, or stop.

use std::fmt;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// What a fault means for whoever meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Goes by itself: brokers away, leaders moving, queues full. The client goes on trying; count it, wait.
    Passing,
    /// Stays until somebody acts: not authorised, topic gone, journal shorter than asked for. Say so and go unready.
    Lasting,
    /// This client object is spent: build a new one.
    Fatal,
}

impl FaultKind {
    /// One word, for logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Lasting => "lasting",
            Self::Fatal => "fatal",
        }
    }
}

/// A fault, with what it means and what to tell the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// What the caller can do.
    pub kind: FaultKind,
    /// What happened, in words; names Kafka topics, never payloads.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Fault {
    pub(super) fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Sorts an error of librdkafka; `doing` says what it interrupted (`reading lonewatch.journal`).
    pub(super) fn of(error: &KafkaError, doing: &str) -> Self {
        let words = match error {
            // The value may be a secret.
            KafkaError::ClientConfig(_, words, property, _) if !words.contains(property) => format!("{words} {property}"),
            KafkaError::ClientConfig(_, words, ..) => words.clone(),
            other => other.to_string(),
        };
        Self::new(kind_of(error), format!("{doing}: {words}"))
    }
}

fn kind_of(error: &KafkaError) -> FaultKind {
    match error {
        KafkaError::MessageConsumptionFatal(_) => FaultKind::Fatal,
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::AdminOpCreation(_) | KafkaError::Nul(_) => {
            FaultKind::Lasting
        }
        other => other.rdkafka_error_code().map_or(FaultKind::Passing, kind_of_code),
    }
}

/// What is not known to last is taken to pass: trying again harms nothing, giving up might.
pub(super) fn kind_of_code(code: Code) -> FaultKind {
    match code {
        Code::Fatal | Code::Fenced | Code::FencedInstanceId | Code::GaplessGuarantee => FaultKind::Fatal,
        // Brokers no longer take this producer's id, or its epoch.
        Code::InvalidProducerEpoch | Code::UnknownProducerId | Code::InvalidProducerIdMapping | Code::ProducerFenced => {
            FaultKind::Fatal
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::UnsupportedSASLMechanism
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation
        | Code::AutoOffsetReset
        | Code::OffsetOutOfRange
        | Code::InconsistentGroupProtocol
        | Code::InvalidSessionTimeout => FaultKind::Lasting,
        _other => FaultKind::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_sorted_by_what_helps() {
        let kind = |error| Fault::of(&error, "reading").kind;
        assert_eq!(kind(KafkaError::MessageConsumption(Code::AllBrokersDown)), FaultKind::Passing);
        assert_eq!(kind(KafkaError::MessageConsumption(Code::AutoOffsetReset)), FaultKind::Lasting);
        assert_eq!(kind(KafkaError::MessageConsumption(Code::TopicAuthorizationFailed)), FaultKind::Lasting);
        assert_eq!(kind(KafkaError::MessageConsumptionFatal(Code::Fatal)), FaultKind::Fatal);
    }
}
