//! What each partition of the journal is still to be told of our listening.
//!
//! One observation of a lane is under way to a partition at a time; what is heard meanwhile is joined and goes with the next. So a
//! partition that Kafka does not take records for costs one record, not one a second, and nothing heard is lost.

use crate::journal::{Heard, Partition, PartitionCount};
use crate::kafka::Ticket;
use crate::limits;

/// Set in the tickets of observations, and in no message's: those count from 0.
const OBSERVATION: u64 = 1 << 63;

/// What one lane owes to all partitions.
#[derive(Debug)]
pub(super) struct Observing(Vec<Owed>);

/// What it owes to one.
#[derive(Clone, Debug, Default)]
struct Owed {
    under_way: bool,
    heard: Vec<Heard>,
}

impl Observing {
    pub(super) fn new(partitions: PartitionCount) -> Self {
        Self(partitions.all().map(|_| Owed::default()).collect())
    }

    /// The lane was heard: every partition is to know.
    pub(super) fn heard(&mut self, heard: Heard) {
        for owed in &mut self.0 {
            match owed.heard.last_mut() {
                // The same stretch, further on.
                Some(last) if last.from == heard.from => last.to = heard.to,
                Some(_) | None => {
                    if owed.heard.len() == limits::STRETCHES_OWED_MAX {
                        owed.heard.remove(0);
                    }
                    owed.heard.push(heard);
                }
            }
        }
    }

    /// What to tell a partition now; none while an observation is under way to it. Counts as under way from here on.
    pub(super) fn begin(&mut self, partition: Partition) -> Option<(Ticket, Vec<Heard>)> {
        let owed = self.of(partition)?;
        let free = !std::mem::replace(&mut owed.under_way, true);
        free.then(|| (Ticket(OBSERVATION | u64::from(partition.0)), std::mem::take(&mut owed.heard)))
    }

    /// The observation under this ticket is under way no more: its partition, and whether it is owed another. None where the ticket is
    /// a message's.
    pub(super) fn over(&mut self, ticket: Ticket) -> Option<(Partition, bool)> {
        let number = ticket.0.checked_sub(OBSERVATION)?;
        let partition = Partition(u32::try_from(number).ok()?);
        let owed = self.of(partition)?;
        owed.under_way = false;
        Some((partition, !owed.heard.is_empty()))
    }

    fn of(&mut self, partition: Partition) -> Option<&mut Owed> {
        self.0.get_mut(usize::try_from(partition.0).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Lane;
    use crate::time::ProbeMillis;

    fn heard(from: i64, to: i64) -> Heard {
        Heard { lane: Lane::Reports, from: ProbeMillis::new(from), to: ProbeMillis::new(to) }
    }

    #[test]
    fn a_partition_that_does_not_answer_is_owed_one_observation_and_misses_nothing() {
        let (dead, lives) = (Partition(0), Partition(1));
        let mut observing = Observing::new(PartitionCount::new(2).unwrap());
        observing.heard(heard(1, 1));
        let (under_way, _) = observing.begin(dead).unwrap();
        for second in 2..=30_000 {
            observing.heard(heard(if second < 20_000 { 1 } else { 20_000 }, second));
            assert_eq!(observing.begin(dead), None, "one is under way");
            let (ticket, told) = observing.begin(lives).unwrap();
            assert_eq!((told.last().map(|heard| heard.to.get()), observing.over(ticket)), (Some(second), Some((lives, false))));
        }
        assert_eq!(observing.over(under_way), Some((dead, true)));
        assert_eq!(observing.begin(dead).unwrap().1, [heard(1, 19_999), heard(20_000, 30_000)], "both stretches, whole");
        assert_eq!(observing.over(Ticket(0)), None, "a message's");
    }

    #[test]
    fn stretches_that_wait_are_bounded_and_the_newest_are_kept() {
        let mut observing = Observing::new(PartitionCount::new(1).unwrap());
        for second in 0..100 {
            observing.heard(heard(second, second));
        }
        let (_, told) = observing.begin(Partition(0)).unwrap();
        assert_eq!((told.len(), told.last()), (limits::STRETCHES_OWED_MAX, Some(&heard(99, 99))));
    }
}
