//! The records of the journal, as the machine reads them.

use crate::alert::Lane;
use crate::device::{Decoder, RejectReason, Report};
use crate::ids::{CentreName, DeviceId, EventId, FeedName, Incarnation, IngesterName, ProbeRef};
use crate::time::{IngestMillis, ProbeMillis};

/// One journal record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A device's message.
    Message(Box<MessageRecord>),
    /// Up to when an ingester heard a feed.
    Observation(Observation),
    /// Time goes on.
    Metronome {
        /// The detector that wrote it.
        detector: String,
    },
    /// What somebody at a centre did. Carried by the journal; read by no rule yet.
    Action,
}

/// One MQTT message of a device, as one ingester received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// Who spoke.
    pub device: DeviceId,
    /// Through which feed.
    pub feed: FeedName,
    /// On which lane.
    pub lane: Lane,
    /// Which ingester received this copy.
    pub ingester: IngesterName,
    /// The message's identity: the same for both mirrored copies.
    pub event: EventId,
    /// When this ingester received it.
    pub received_at: IngestMillis,
    /// When the MQTT connection began on which it came.
    pub connected_at: IngestMillis,
    /// The newest probe before it on that connection.
    pub after_probe: Option<ProbeRef>,
    /// How long after that probe's sending it came, where that is known: a message at QoS 0 does not wait where probes do. Else 0, and in
    /// journals of earlier versions.
    pub past_probe_millis: i64,
    /// The broker had kept it: no sign of life.
    pub retained: bool,
    /// How it was read.
    pub decoder: Decoder,
    /// What it says.
    pub content: MessageContent,
    /// Set on every press.
    pub press: Option<Press>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageContent {
    /// The device speaks.
    Report(Box<Report>),
    /// The broker speaks for it: no contact.
    Will,
    /// Contact only.
    Other,
    /// Contact only; the bytes are in quarantine.
    Unreadable(RejectReason),
}

/// A press for help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Press {
    /// The centre to which revision 1 went.
    pub centre: CentreName,
    /// Set where no probe had come lately: what else its receiver knows. Journals of earlier versions have none.
    pub counted: Option<Counted>,
}

/// A message by its receiver's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The receiver's run.
    pub incarnation: Incarnation,
    /// As which message of that run.
    pub counter: u64,
    /// For how long no probe had come; where none came on its connection, since that began.
    pub quiet_millis: i64,
}

/// Up to when one ingester provably heard a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The feed.
    pub feed: FeedName,
    /// Who heard it.
    pub ingester: IngesterName,
    /// In which run.
    pub incarnation: Incarnation,
    /// The newest rulebook version that it has read whole.
    pub rulebook_version: i64,
    /// Per lane: from when to when. Empty where it only says a fault.
    pub heard: Vec<Heard>,
    /// What is wrong with this ingester, as it sees it.
    pub faults: Vec<IngestFault>,
}

/// Something that is wrong with an ingester: said again each second while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IngestFault {
    /// Its clock differs from Kafka's by more than the limit.
    Clock,
    /// Another client of the same id takes its MQTT sessions.
    TakenOver,
}

/// A stretch of listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The lane.
    pub lane: Lane,
    /// From this probe on, without a break...
    pub from: ProbeMillis,
    /// ...to this one.
    pub to: ProbeMillis,
}

impl MessageRecord {
    /// Whether its device was alive to send it: neither a retained copy nor the broker's word.
    pub fn is_contact(&self) -> bool {
        !self.retained && self.content != MessageContent::Will
    }

    /// The report in it, if a device spoke in a way that could be read.
    pub fn report(&self) -> Option<&Report> {
        match &self.content {
            MessageContent::Report(report) => Some(report),
            MessageContent::Will | MessageContent::Other | MessageContent::Unreadable(_) => None,
        }
    }
}
