//! Our Kafka topics as a running process needs them: looked at before the start, and from then on.
//!
//! A start is refused where a topic would make us wrong. What is wrong with one centre's topics, or with the quarantine, keeps nobody's
//! presses waiting: it is said in `/readyz`, until it is mended. So is what somebody does to a topic while we run.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::run::{KAFKA_WITHIN, Refusal, Roles};
use crate::health::Health;
use crate::ids::CentreName;
use crate::journal::PartitionCount;
use crate::kafka::{Checked, Cluster, Topic, TopicNames, Weight, check_topics};
use crate::limits;
use crate::rulebook::Rulebook;
use crate::runbook::Entry;
use crate::shutdown::Ending;

/// The part's name in `/readyz`.
const PART: &str = "topics";
/// Between two looks at topics that were right.
const LOOK: Duration = Duration::from_millis(limits::TOPICS_LOOK_MILLIS.unsigned_abs());
/// Between two looks while one is wrong.
const LOOK_AGAIN: Duration = Duration::from_millis(limits::TOPICS_LOOK_AGAIN_MILLIS.unsigned_abs());

/// The topics of one process's roles.
#[derive(Clone)]
pub(super) struct TopicsWatch {
    pub(super) cluster: Cluster,
    pub(super) names: Arc<TopicNames>,
    pub(super) partitions: PartitionCount,
    pub(super) roles: Roles,
    pub(super) health: Health,
}

impl TopicsWatch {
    /// Looks at the topics that these centres need, and waits while no broker answers.
    ///
    /// # Errors
    /// A [`Refusal`] that names every fault where one of them would make us wrong, or where the end is asked for meanwhile.
    pub(super) fn check_before_start(
        &self,
        runtime: &Runtime,
        centres: &[CentreName],
        ending: &Ending,
    ) -> Result<Checked, Refusal> {
        let topics = self.topics(centres);
        loop {
            let checked = runtime.block_on(async {
                let mut ending = ending.clone();
                // The end first: the check holds the thread for as long as Kafka lets it wait.
                tokio::select! {
                    biased;
                    () = ending.wait() => None,
                    checked = check_topics(&self.cluster, &self.names, &topics, self.partitions, KAFKA_WITHIN) => Some(checked),
                }
            });
            match checked {
                None => return Err(Refusal::ended("ended before Kafka's topics were checked")),
                Some(Ok(checked)) if checked.allows_start() => return Ok(checked),
                Some(Ok(checked)) => return Err(Refusal::all(Entry::TopicsWrong, checked.faults)),
                Some(Err(fault)) => {
                    let why = format!("{fault}; still trying {}", self.cluster.brokers());
                    self.health.not_ready(PART, Entry::KafkaUnreachable, why);
                }
            }
        }
    }

    /// Logs what is short, says in `/readyz` what is wrong, and goes on looking on a thread of its own until the end.
    ///
    /// # Errors
    /// A [`Refusal`] where the system gives no thread.
    pub(super) fn watch(
        self,
        runtime: Runtime,
        first: &Checked,
        mut rulebook: watch::Receiver<Arc<Rulebook>>,
        ending: Ending,
    ) -> Result<(), Refusal> {
        for fault in first.faults.iter().filter(|fault| fault.weight == Weight::Warn) {
            tracing::warn!("{fault}");
        }
        for (topic, why) in &first.unanswered {
            tracing::info!(topic, why, "settings could not be checked");
        }
        self.say(first);
        let wrong = !first.is_right();
        rulebook.mark_unchanged();
        let thread = std::thread::Builder::new().name("topics".to_owned());
        // Nobody waits for its end: a look lasts for as long as Kafka lets it wait.
        thread
            .spawn(move || runtime.block_on(self.look_on(wrong, rulebook, ending)))
            .map(drop)
            .map_err(|fault| Refusal::resources(&fault))
    }

    async fn look_on(self, mut wrong: bool, mut rulebook: watch::Receiver<Arc<Rulebook>>, mut ending: Ending) {
        loop {
            tokio::select! {
                () = ending.wait() => return,
                () = tokio::time::sleep(if wrong { LOOK_AGAIN } else { LOOK }) => {}
                changed = rulebook.changed() => if changed.is_err() { return },
            }
            let centres: Vec<CentreName> = centres_of(&rulebook.borrow_and_update());
            let topics = self.topics(&centres);
            // While Kafka does not answer, others say so.
            let looked = check_topics(&self.cluster, &self.names, &topics, self.partitions, KAFKA_WITHIN).await;
            let Ok(checked) = looked else { continue };
            let was_wrong = std::mem::replace(&mut wrong, !checked.is_right());
            // Topics vanish from metadata for moments: what is newly wrong is believed the second time.
            if was_wrong || !wrong {
                self.say(&checked);
            }
        }
    }

    fn say(&self, checked: &Checked) {
        let mut wrong = checked.faults.iter().filter(|fault| fault.weight != Weight::Warn);
        let Some(first) = wrong.next() else { return self.health.ready(PART) };
        let further = match wrong.count() {
            0 => String::new(),
            count => format!(" (and {count} more: lonewatch topics check)"),
        };
        self.health.not_ready(PART, Entry::TopicsWrong, format!("{first}{further}"));
    }

    /// State is the detectors'; an ingester that starts without it is not wrong.
    fn topics(&self, centres: &[CentreName]) -> Vec<Topic> {
        let needed = |topic: &Topic| self.roles.detect || *topic != Topic::State;
        Topic::all(centres).into_iter().filter(needed).collect()
    }
}

/// The centres that a rulebook names.
pub(super) fn centres_of(rulebook: &Rulebook) -> Vec<CentreName> {
    rulebook.centres().map(|centre| centre.name.clone()).collect()
}
