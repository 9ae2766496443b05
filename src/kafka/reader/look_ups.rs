//! What the log holds of a partition, and what the group has committed of it: asked on a thread of its own, because the answer may wait
//! for a leader or a coordinator that is away, and the other partitions are read meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::events::Events;
use super::{instant, raw};
use crate::journal::Partition;
use crate::kafka::fault::{Fault, FaultKind};
use crate::kafka::handle::Handle;

/// How long one question may take: those about other partitions that are asked with it wait for its answer.
pub(super) const LOOK_UP: Duration = Duration::from_secs(1);
/// After a failure the next look-up waits for so long.
const AGAIN: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) log_start: i64,
    /// The offset after the newest record.
    pub(super) end: i64,
    /// None if the group never committed.
    pub(super) committed: Option<i64>,
}

/// A partition whose bounds are wanted.
struct Wanted {
    /// Tells an answer from that to an earlier question about the same partition.
    number: u64,
    /// When to ask; none once asked.
    due: Option<Instant>,
}

struct Answer {
    partition: Partition,
    number: u64,
    found: Result<Bounds, Fault>,
}

/// A look-up under way.
struct UnderWay {
    answers: Receiver<Answer>,
    thread: JoinHandle<()>,
}

/// The partitions whose bounds are wanted. Those that are due together are looked up together, one after another: who comes later does not
/// wait for them.
#[derive(Default)]
pub(super) struct LookUps {
    wanted: BTreeMap<Partition, Wanted>,
    next_number: u64,
    under_way: Vec<UnderWay>,
}

impl LookUps {
    /// Asks; what was asked of this partition before is forgotten.
    pub(super) fn ask(&mut self, partition: Partition) {
        self.ask_at(partition, instant());
    }

    /// Asks once more, in a while.
    pub(super) fn ask_again(&mut self, partition: Partition) {
        self.ask_at(partition, instant() + AGAIN);
    }

    fn ask_at(&mut self, partition: Partition, due: Instant) {
        self.next_number += 1;
        self.wanted.insert(partition, Wanted { number: self.next_number, due: Some(due) });
    }

    /// No answer is wanted any more. True if one was.
    pub(super) fn forget(&mut self, partition: Partition) -> bool {
        self.wanted.remove(&partition).is_some()
    }

    /// The consumer is spent: whose answers were wanted. Nobody waits for what is under way, which may be the last to hold the consumer, and
    /// then closes it.
    pub(super) fn give_up(self) -> impl Iterator<Item = Partition> {
        self.wanted.into_keys()
    }

    /// Whether no answer is wanted.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whether an answer may come at any moment.
    pub(super) fn are_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The next answer, if one is there; begins what is due. Waits for nothing.
    pub(super) fn next(
        &mut self,
        consumer: &Arc<Handle<BaseConsumer<Events>>>,
        topic: &str,
    ) -> Option<(Partition, Result<Bounds, Fault>)> {
        let mut at = 0;
        while let Some(under_way) = self.under_way.get(at) {
            match under_way.answers.try_recv() {
                Ok(Answer { partition, number, found }) => {
                    if self.wanted.get(&partition).is_some_and(|wanted| wanted.number == number) {
                        self.wanted.remove(&partition);
                        return Some((partition, found));
                    }
                }
                Err(TryRecvError::Empty) => at += 1,
                Err(TryRecvError::Disconnected) => {
                    if let Err(panic) = self.under_way.swap_remove(at).thread.join() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        self.begin(consumer, topic)
    }

    fn begin(&mut self, consumer: &Arc<Handle<BaseConsumer<Events>>>, topic: &str) -> Option<(Partition, Result<Bounds, Fault>)> {
        let now = instant();
        let due = |(partition, wanted): (&Partition, &mut Wanted)| {
            wanted.due.take_if(|due| *due <= now).map(|_| (*partition, wanted.number))
        };
        let due: Vec<(Partition, u64)> = self.wanted.iter_mut().filter_map(due).collect();
        let (first, _) = *due.first()?;
        let (sender, answers) = channel();
        let (asked, consumer, topic) = (due.clone(), Arc::clone(consumer), topic.to_owned());
        let thread = std::thread::Builder::new()
            .name("kafka-look-up".to_owned())
            .spawn(move || look_up(&consumer, &topic, &asked, &sender));
        match thread {
            Ok(thread) => {
                self.under_way.push(UnderWay { answers, thread });
                None
            }
            Err(error) => {
                for (partition, _) in due {
                    self.ask_again(partition);
                }
                let text = format!("starting a thread to look up a partition's bounds: {error}");
                Some((first, Err(Fault::new(FaultKind::Passing, text))))
            }
        }
    }

    /// Waits for what is under way, whose consumer is about to be closed: for one question at most.
    pub(super) fn wait(&mut self) {
        for UnderWay { thread, .. } in self.under_way.drain(..) {
            if thread.join().is_err() {
                tracing::error!(target: "kafka", "a look-up of a partition's bounds had panicked");
            }
        }
    }
}

fn look_up(consumer: &BaseConsumer<Events>, topic: &str, due: &[(Partition, u64)], answers: &Sender<Answer>) {
    let committed = committed(consumer, topic, due);
    for (partition, number) in due.iter().copied() {
        if consumer.context().is_closing() {
            return;
        }
        let found = committed.clone().and_then(|committed| {
            let committed = committed.get(&partition).cloned().unwrap_or(Ok(None))?;
            let (log_start, end) = consumer
                .fetch_watermarks(topic, raw(partition), LOOK_UP)
                .map_err(|error| Fault::of(&error, &format!("looking up the bounds of {topic} {partition}")))?;
            Ok(Bounds { log_start, end, committed })
        });
        if answers.send(Answer { partition, number, found }).is_err() {
            // Given up, with its consumer.
            return;
        }
    }
}

type Committed = BTreeMap<Partition, Result<Option<i64>, Fault>>;

/// What the group has committed of these partitions. Asked before the log's end, or an offset committed meanwhile could lie beyond that.
fn committed(consumer: &BaseConsumer<Events>, topic: &str, due: &[(Partition, u64)]) -> Result<Committed, Fault> {
    let doing = || format!("looking up the group's offsets of {topic}");
    let mut list = TopicPartitionList::new();
    for (partition, _) in due {
        list.add_partition(topic, raw(*partition));
    }
    let committed = consumer.committed_offsets(list, LOOK_UP).map_err(|error| Fault::of(&error, &doing()))?;
    let each = committed.elements().into_iter().filter_map(|element| {
        let partition = Partition(u32::try_from(element.partition()).ok()?);
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
        };
        let found = element.error().map(|()| offset).map_err(|error| Fault::of(&error, &doing()));
        Some((partition, found))
    });
    Ok(each.collect())
}
