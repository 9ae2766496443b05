//! The entries of docs/RUNBOOK.md: a closed list, so that every refusal, every reason for not being ready and every system alert
//! can name its entry by type, and a test can hold document and program against each other.

use std::fmt;

use crate::alert::Kind;

/// An entry of docs/RUNBOOK.md. It prints itself as the place to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    // ---- it refuses to start ----
    /// The configuration cannot be read, or has mistakes.
    Configuration,
    /// A file with a password cannot be read.
    PasswordFile,
    /// Kafka's client refuses its settings.
    KafkaSettings,
    /// The admin port cannot be had.
    AdminPort,
    /// A Kafka topic is missing, or not as it must be.
    TopicsWrong,
    /// The rulebook has no entry for a feed.
    FeedWithoutEntry,
    /// The system gives no thread, or no random numbers.
    SystemResources,
    /// A role has panicked.
    RolePanicked,

    // ---- it is not ready, or ready with a remark ----
    /// Kafka does not answer at the start.
    KafkaUnreachable,
    /// Kafka acknowledges nothing.
    KafkaSilent,
    /// Kafka refuses what we write to a topic.
    KafkaRefuses,
    /// Kafka has refused one record for good.
    RecordRefused,
    /// A connection to a feed's MQTT broker is down, or cannot do its work.
    MqttConnection,
    /// Another client has our MQTT client id.
    MqttTakenOver,
    /// Our MQTT session holds what the configuration does not have.
    MqttSession,
    /// The MQTT broker refuses our receipts.
    ReceiptsRefused,
    /// Our probes do not come back.
    ProbesMissing,
    /// The rulebook is not read to its end, or its copy may be stale.
    RulebookUnread,
    /// Entries of the rulebook cannot be used.
    RulebookEntries,
    /// The detector is not in its group, or owns no partition.
    DetectorGroup,
    /// A partition waits for a version of the rulebook.
    PartitionWaits,
    /// A record of the journal cannot be read.
    ForeignRecord,
    /// The group's offset lies beyond the journal's end.
    OffsetBeyondEnd,

    // ---- what a centre reads ----
    /// The alert `blind`.
    Blind,
    /// The alert `clock_fault` about an ingester.
    ClockFault,
    /// Heartbeats are missing, or say that a partition lags.
    NotWatched,
}

impl Entry {
    /// Every entry, in the order of the document.
    pub const ALL: [Self; 26] = [
        Self::Configuration,
        Self::PasswordFile,
        Self::KafkaSettings,
        Self::AdminPort,
        Self::TopicsWrong,
        Self::FeedWithoutEntry,
        Self::SystemResources,
        Self::RolePanicked,
        Self::KafkaUnreachable,
        Self::KafkaSilent,
        Self::KafkaRefuses,
        Self::RecordRefused,
        Self::MqttConnection,
        Self::MqttTakenOver,
        Self::MqttSession,
        Self::ReceiptsRefused,
        Self::ProbesMissing,
        Self::RulebookUnread,
        Self::RulebookEntries,
        Self::DetectorGroup,
        Self::PartitionWaits,
        Self::ForeignRecord,
        Self::OffsetBeyondEnd,
        Self::Blind,
        Self::ClockFault,
        Self::NotWatched,
    ];

    /// The entry's heading in the document, which is also its anchor.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::PasswordFile => "password-file",
            Self::KafkaSettings => "kafka-settings",
            Self::AdminPort => "admin-port",
            Self::TopicsWrong => "topics-wrong",
            Self::FeedWithoutEntry => "feed-without-entry",
            Self::SystemResources => "system-resources",
            Self::RolePanicked => "role-panicked",
            Self::KafkaUnreachable => "kafka-unreachable",
            Self::KafkaSilent => "kafka-silent",
            Self::KafkaRefuses => "kafka-refuses",
            Self::RecordRefused => "record-refused",
            Self::MqttConnection => "mqtt-connection",
            Self::MqttTakenOver => "mqtt-taken-over",
            Self::MqttSession => "mqtt-session",
            Self::ReceiptsRefused => "receipts-refused",
            Self::ProbesMissing => "probes-missing",
            Self::RulebookUnread => "rulebook-unread",
            Self::RulebookEntries => "rulebook-entries",
            Self::DetectorGroup => "detector-group",
            Self::PartitionWaits => "partition-waits",
            Self::ForeignRecord => "foreign-record",
            Self::OffsetBeyondEnd => "offset-beyond-end",
            Self::Blind => "blind",
            Self::ClockFault => "clock-fault",
            Self::NotWatched => "not-watched",
        }
    }

    /// The entry of a system alert. None for what concerns devices: their centre knows what to do.
    pub const fn of_alert(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Blind => Some(Self::Blind),
            Kind::ClockFault => Some(Self::ClockFault),
            Kind::IngestFault => Some(Self::MqttTakenOver),
            // Nothing raises the first two yet.
            Kind::Unsupervised
            | Kind::LimitReached
            | Kind::Duress
            | Kind::ManDown
            | Kind::NoMotion
            | Kind::LostContact
            | Kind::CheckInMissed
            | Kind::VisitOverrun
            | Kind::FenceEntered
            | Kind::FenceExited
            | Kind::FenceCrossed
            | Kind::BatteryLow
            | Kind::Tamper
            | Kind::DeviceFault
            | Kind::FixStale
            | Kind::MassSilence => None,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docs/RUNBOOK.md#{}", self.slug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../docs/RUNBOOK.md");

    /// Every part that an entry must have: what is seen, what it means for people, what to do, how one knows that it is over.
    const PARTS: [&str; 4] = ["**You see**", "**It means**", "**Do**", "**It is over when**"];

    #[test]
    fn the_document_has_these_entries_and_no_other() {
        let headings: Vec<&str> = DOCUMENT.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        let slugs: Vec<&str> = Entry::ALL.iter().map(|entry| entry.slug()).collect();
        assert_eq!(headings, slugs);
    }

    #[test]
    fn every_entry_says_what_it_means_and_what_to_do() {
        for section in DOCUMENT.split("\n### ").skip(1) {
            let section = section.split("\n## ").next().unwrap_or_default();
            let heading = section.lines().next().unwrap_or_default();
            let places: Vec<_> = PARTS.iter().map(|part| section.find(part)).collect();
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{heading}: needs {PARTS:?} in this order");
        }
    }

    #[test]
    fn every_link_within_the_document_leads_to_an_entry() {
        for (at, _) in DOCUMENT.match_indices("](#") {
            let target = DOCUMENT[at + 3..].split(')').next().unwrap_or_default();
            assert!(Entry::ALL.iter().any(|entry| entry.slug() == target), "no entry {target}");
        }
    }

    #[test]
    fn an_entry_prints_itself_as_the_place_to_look() {
        assert_eq!(Entry::KafkaSilent.to_string(), "docs/RUNBOOK.md#kafka-silent");
    }
}
