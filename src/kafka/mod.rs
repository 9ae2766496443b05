//! How the log is kept: everything that speaks to Kafka.
//!
//! The journal's [`JournalReader`] and the [`Writer`] never give up on a fault that passes; a fault that lasts is handed to the
//! caller as a value. `topics` knows what each Kafka topic must look like. What the records mean, nothing here knows.
//! librdkafka's traps and what we do about them are named where they are met.

mod cluster;
mod examine;
mod fault;
mod handle;
mod reader;
#[cfg(test)]
mod relay;
mod rulebook;
mod tail;
mod topics;
mod writer;

pub use cluster::Cluster;
pub use examine::{ClockReading, PartitionKept, Permission, Reached, may_know_group, may_read, may_write, reach, read_clocks};
pub use fault::{Fault, FaultKind};
pub use handle::Handle;
pub use reader::{GroupMember, JOINS_ANEW, JournalReader, ReaderItem};
pub use rulebook::{ApplyFault, RulebookItem, RulebookReader, rulebook_apply};
pub use tail::{StartAt, TailItem, TopicTail};
pub use topics::{Checked, Created, Topic, TopicFault, TopicNames, Weight, check as check_topics, create as create_topics};
pub use writer::{Deliveries, Delivery, Keep, Outcome, Outgoing, RefusedReason, Ticket, Urgency, Writer};

/// An embedded Kafka for a test. It lives to the end of the test's process: taking it down has no deadline (docs/TRAPS.md).
#[cfg(test)]
pub(crate) type MockKafka =
    std::mem::ManuallyDrop<rdkafka::mocking::MockCluster<'static, rdkafka::producer::DefaultProducerContext>>;

/// An embedded Kafka of so many brokers.
#[cfg(test)]
pub(crate) fn mock(brokers: i32) -> MockKafka {
    MockKafka::new(rdkafka::mocking::MockCluster::new(brokers).expect("free ports on loopback"))
}
