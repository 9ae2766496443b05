//! librdkafka's callbacks: what the group coordinator decided, on its way to the reader.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use super::partitions_of;
use crate::journal::Partition;
use crate::kafka::cluster::log_line;
use crate::kafka::fault::{Fault, FaultKind};

/// What the group coordinator decided, in order.
pub(super) enum Change {
    Assign(Vec<Partition>),
    Revoke { partitions: TopicPartitionList, lost: bool },
    Failed(Fault),
}

/// librdkafka's callbacks. They only queue: the owner's thread acts on them at its next poll.
#[derive(Default)]
pub(super) struct Events {
    inner: Mutex<EventsInner>,
}

#[derive(Default)]
struct EventsInner {
    changes: VecDeque<Change>,
    closing: bool,
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, EventsInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, change: Change) {
        self.lock().changes.push_back(change);
    }

    pub(super) fn next(&self) -> Option<Change> {
        self.lock().changes.pop_front()
    }

    /// The consumer is about to be closed: nobody polls any more.
    pub(super) fn close(&self) {
        self.lock().closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Takes new partitions, paused until their bounds are known, and with them the place to read from.
    fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let mut positions = TopicPartitionList::new();
        for element in list.elements() {
            if let Err(error) = positions.add_partition_offset(element.topic(), element.partition(), Offset::Beginning) {
                self.push(Change::Failed(Fault::of(&error, "taking partitions")));
            }
        }
        let taken = consumer.incremental_assign(&positions).and_then(|()| consumer.pause(&positions));
        if let Err(error) = taken {
            self.push(Change::Failed(Fault::of(&error, "taking partitions")));
        }
        self.push(Change::Assign(partitions_of(list)));
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // The same comes back from `poll`, as a fault.
        tracing::debug!(target: "kafka", %error, "consumer: {reason}");
    }
}

impl ConsumerContext for Events {
    /// Lets go of revoked partitions only at the owner's next poll, so that it can commit, unless they are lost or the consumer is closing
    /// (a `Drop` that waits for an `incremental_unassign` which never comes hangs).
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                let lost = consumer.assignment_lost();
                if (lost || self.is_closing())
                    && let Err(error) = consumer.incremental_unassign(partitions)
                {
                    self.push(Change::Failed(Fault::of(&error, "giving up partitions")));
                }
                self.push(Change::Revoke { partitions: partitions.clone(), lost });
            }
            other => {
                let code = Code::from(other);
                self.push(Change::Failed(Fault::new(FaultKind::Passing, format!("rebalance: {code}"))));
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            // Nothing to commit is no fault; it happens when two commits fall together.
            Ok(()) | Err(KafkaError::ConsumerCommit(Code::NoOffset)) => {}
            Err(error) => self.push(Change::Failed(Fault::of(&error, "committing"))),
        }
    }
}
