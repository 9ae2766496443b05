//! How the log is kept: everything that speaks to Kafka.
//!
//! The journal's [`JournalReader`] and the [`Writer`] never give up on a fault that passes; a fault that lasts is handed to the
//! caller as a value. `topics` knows what each Kafka topic must look like. What the records mean, nothing here knows.
//! librdkafka's traps and what we do about them are named where they are met.

mod cluster;
mod examine;
mod fault;
mod reader;
mod rulebook;
mod tail;
mod topics;
mod writer;

pub use cluster::Cluster;
pub use examine::{ClockReading, PartitionKept, Permission, Reached, may_know_group, may_read, may_write, reach, read_clocks};
pub use fault::{Fault, FaultKind};
pub use reader::{GroupMember, JournalReader, ReaderItem};
pub use rulebook::{ApplyFault, RulebookItem, RulebookReader, rulebook_apply};
pub use tail::{StartAt, TailItem, TopicTail};
pub use topics::{Checked, Created, Topic, TopicFault, TopicNames, Weight, check as check_topics, create as create_topics};
pub use writer::{Deliveries, Delivery, Keep, Outcome, Outgoing, RefusedReason, Ticket, Urgency, Writer};
