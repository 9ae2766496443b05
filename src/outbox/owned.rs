//! One partition that this detector owns: its machine, how far its replay is, and the records that wait for a rulebook.

use std::collections::VecDeque;

use crate::journal::{Partition, PartitionCount, Record};
use crate::machine::{Actions, Machine, Start};
use crate::rulebooks::{Version, Versions};
use crate::time::AppendMillis;

/// A record that was read.
pub(super) struct Read {
    pub(super) offset: i64,
    pub(super) appended_at: AppendMillis,
    pub(super) record: Record,
}

/// A rulebook version for which a partition stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    pub(super) version: i64,
    /// The rulebook's topic no longer holds it.
    pub(super) gone: bool,
}

impl Awaited {
    /// Why the partition stands still, with the mend.
    pub(super) fn words(self) -> String {
        let version = self.version;
        if self.gone {
            format!(
                "a journal record names rulebook version {version}, which the rulebook's topic no longer holds: its \
                 min.compaction.lag.ms was shorter than the journal's retention. Restore the topic, or begin a new journal"
            )
        } else {
            format!("waits until rulebook version {version} is read")
        }
    }
}

/// A partition at work.
pub(super) struct Owned {
    pub(super) partition: Partition,
    pub(super) machine: Machine,
    /// Alerts of records below this were acknowledged before: the replay keeps them to itself.
    pub(super) emit_from: i64,
    /// The last offset committed, by this detector or before it.
    pub(super) committed: i64,
    /// Where the replay ends; none once it has.
    pub(super) replay: Option<Replay>,
    waiting: VecDeque<Read>,
    paused: bool,
    /// Set once a record could not be read: the partition stands still, and says so.
    pub(super) stopped: bool,
}

/// A replay under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    pub(super) end: i64,
    pub(super) began_at: i64,
}

impl Owned {
    pub(super) fn new(
        partition: Partition,
        count: PartitionCount,
        (log_start, committed, end): (i64, Option<i64>, i64),
        now_millis: i64,
    ) -> Self {
        let start = if log_start == 0 { Start::Whole } else { Start::Truncated };
        Self {
            partition,
            machine: Machine::new(partition, count, start),
            emit_from: committed.unwrap_or(log_start),
            committed: committed.unwrap_or(log_start),
            replay: (end > log_start).then_some(Replay { end, began_at: now_millis }),
            waiting: VecDeque::new(),
            paused: false,
            stopped: false,
        }
    }

    /// The partition has come back: its machine goes on where it was, silently below what somebody else committed meanwhile.
    #[must_use]
    pub(super) fn returned(mut self, (_, committed, end): (i64, Option<i64>, i64), now_millis: i64) -> Self {
        let next_offset = self.machine.next_offset();
        self.emit_from = self.emit_from.max(committed.unwrap_or(next_offset));
        self.committed = self.committed.max(committed.unwrap_or(self.committed));
        self.replay = (end > next_offset).then_some(Replay { end, began_at: now_millis });
        self.waiting.clear();
        self.paused = false;
        self
    }

    /// Takes a record; it is applied by [`Owned::apply_next`].
    pub(super) fn push(&mut self, read: Read) {
        self.waiting.push_back(read);
    }

    /// For what the next record waits; nothing where it can be applied, or where there is none.
    pub(super) fn awaits(&mut self, versions: &Versions) -> Option<Awaited> {
        let version = self.machine.awaits(&self.waiting.front()?.record)?;
        match versions.get(version) {
            Version::Built(rulebook) => {
                self.machine.install(rulebook);
                None
            }
            Version::NotYet => Some(Awaited { version, gone: false }),
            Version::Gone => Some(Awaited { version, gone: true }),
        }
    }

    /// Applies the next record; its offset, if there was one. The caller has asked [`Owned::awaits`].
    pub(super) fn apply_next(&mut self, actions: &mut Actions) -> Option<i64> {
        let Read { offset, appended_at, record } = self.waiting.pop_front()?;
        self.machine.apply(offset, appended_at, &record, actions);
        Some(offset)
    }

    /// Notes that reading pauses; true where it did not before.
    pub(super) fn pause(&mut self) -> bool {
        !std::mem::replace(&mut self.paused, true)
    }

    /// Notes that reading goes on; true where it had paused.
    pub(super) fn resume(&mut self) -> bool {
        std::mem::replace(&mut self.paused, false)
    }

    /// Whether reading has paused.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether it reads what was there before it came, to be judged anew.
    pub(super) const fn replays(&self) -> bool {
        self.replay.is_some() && !self.stopped
    }

    /// Whether records wait here.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}
