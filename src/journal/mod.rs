//! What the log holds: records, their bytes (`proto/journal.proto`), and the partition of a device.

mod codec;
mod partition;
mod press;
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated; the .proto is its documentation")]
#[rustfmt::skip]
mod proto;
mod record;

pub use codec::{RecordFault, decode, encode};
pub use partition::{Partition, PartitionCount};
pub use record::{Counted, Heard, IngestFault, MessageContent, MessageRecord, Observation, Press, Record};
