//! One thing that a check found: where, how bad, what, and how to mend it.

use std::fmt;

use serde::Serialize;

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The configuration.
    Config,
    /// A feed's MQTT broker.
    Mqtt,
    /// Kafka's brokers.
    Kafka,
    /// Kafka's topics.
    Topics,
    /// What our principal may do in Kafka.
    Permissions,
    /// Our clock against Kafka's.
    Clocks,
    /// The rulebook in force.
    Rulebook,
    /// One device.
    Device,
}

impl Part {
    /// The part's word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Mqtt => "mqtt",
            Self::Kafka => "kafka",
            Self::Topics => "topics",
            Self::Permissions => "permissions",
            Self::Clocks => "clocks",
            Self::Rulebook => "rulebook",
            Self::Device => "device",
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// Could not be looked at, with the reason.
    Unchecked,
    /// Works, and could be better.
    Note,
    /// Stops something, or endangers somebody.
    Wrong,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub part: Part,
    /// Which one: a feed, a Kafka topic, a filter.
    pub subject: String,
    /// How bad.
    pub verdict: Verdict,
    /// What is.
    pub says: String,
    /// What to do; none where nothing need be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    /// As it must be.
    pub fn ok(part: Part, subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self { part, subject: subject.into(), verdict: Verdict::Ok, says: says.into(), mend: None }
    }

    /// Could not be looked at, with the reason.
    pub fn unchecked(part: Part, subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self { verdict: Verdict::Unchecked, ..Self::ok(part, subject, says) }
    }

    /// Works, and could be better.
    pub fn note(part: Part, subject: impl Into<String>, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Note, mend: Some(mend.into()), ..Self::ok(part, subject, says) }
    }

    /// Stops something, or endangers somebody.
    pub fn wrong(part: Part, subject: impl Into<String>, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Wrong, mend: Some(mend.into()), ..Self::ok(part, subject, says) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.says)?;
        match &self.mend {
            Some(mend) => write!(f, ". Mend: {mend}"),
            None => Ok(()),
        }
    }
}
