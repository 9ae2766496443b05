//! What is wrong with an ingester: its clock, or another client that takes its MQTT sessions. Said by the ingester itself, or seen by its
//! observations being ahead of Kafka's clock; told to the centres of its feed by the feed's home partition alone.
//!
//! A fault shows again and again while it lasts, and is over once it has not for a while of `now`: one observation without it
//! proves nothing, and an outage in which nobody could show it counts for hardly anything.

use std::collections::BTreeMap;

use crate::alert::{Kind, Severity};
use crate::ids::{FeedName, IngesterName};
use crate::journal::{IngestFault, Observation, Partition, PartitionCount};
use crate::limits;
use crate::rulebook::Rulebook;
use crate::time::{AppendMillis, SECOND_MILLIS};

use super::actions::Actions;
use super::digest::StateHasher;
use super::raise::Scene;
use super::standing::{Standing, Trouble};

/// A fault that has shown lately.
#[derive(Clone, Copy, Debug)]
struct Shown {
    began_at: AppendMillis,
    /// How long it has not shown, as `now` goes.
    quiet_millis: i64,
}

/// Faults of ingesters on the feeds that are this partition's to judge.
#[derive(Clone, Debug)]
pub(super) struct IngestFaults {
    partition: Partition,
    count: PartitionCount,
    shown: BTreeMap<(FeedName, IngesterName, IngestFault), Shown>,
    swept_at: Option<AppendMillis>,
    standing: Standing,
}

impl IngestFaults {
    pub(super) fn new(partition: Partition, count: PartitionCount) -> Self {
        Self { partition, count, shown: BTreeMap::new(), swept_at: None, standing: Standing::default() }
    }

    /// Takes a new rulebook: what feeds it no longer names is no longer judged.
    pub(super) fn install(&mut self, rulebook: &Rulebook) {
        self.shown.retain(|(feed, ..), _| rulebook.feed(feed).is_some());
    }

    /// Takes what an observation shows; `ahead` where it lies ahead of its append time. False where there was no room for all of it.
    pub(super) fn note(
        &mut self,
        appended_at: AppendMillis,
        rulebook: &Rulebook,
        observation: &Observation,
        ahead: bool,
    ) -> bool {
        let feed = &observation.feed;
        if self.count.of(feed.as_str()) != self.partition || rulebook.feed(feed).is_none() {
            return true;
        }
        let mut room = true;
        for fault in observation.faults.iter().copied().chain(ahead.then_some(IngestFault::Clock)) {
            let key = (feed.clone(), observation.ingester.clone(), fault);
            if let Some(known) = self.shown.get_mut(&key) {
                known.quiet_millis = 0;
            } else if self.shown.len() < limits::INGEST_FAULTS_MAX {
                self.shown.insert(key, Shown { began_at: appended_at, quiet_millis: 0 });
            } else {
                room = false;
            }
        }
        room
    }

    /// Raises and clears what is due.
    pub(super) fn sweep(&mut self, scene: Scene<'_>, actions: &mut Actions) {
        let passed = self.swept_at.map_or(0, |before| scene.appended_at.since(before)).clamp(0, limits::NOW_STEP_MILLIS_MAX);
        self.swept_at = Some(scene.appended_at);
        self.shown.retain(|_, shown| {
            shown.quiet_millis = shown.quiet_millis.saturating_add(passed);
            shown.quiet_millis < limits::INGEST_FAULT_OVER_MILLIS
        });
        let troubles: Vec<Trouble> =
            self.shown.iter().map(|((feed, ingester, fault), shown)| trouble(feed, ingester, *fault, shown.began_at)).collect();
        self.standing.settle(scene, &troubles, "it has not shown for a while, or the feed is no longer this centre's", actions);
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.option(self.swept_at.map(AppendMillis::get)).count(self.shown.len());
        for ((feed, ingester, fault), shown) in &self.shown {
            hash.text(feed.as_str()).text(ingester.as_str()).text(kind(*fault).as_str());
            hash.int(shown.began_at.get()).int(shown.quiet_millis);
        }
        self.standing.digest(hash);
    }
}

const fn kind(fault: IngestFault) -> Kind {
    match fault {
        IngestFault::Clock => Kind::ClockFault,
        IngestFault::TakenOver => Kind::IngestFault,
    }
}

fn trouble(feed: &FeedName, ingester: &IngesterName, fault: IngestFault, began_at: AppendMillis) -> Trouble {
    let over = ("ingest_fault_over_millis", limits::INGEST_FAULT_OVER_MILLIS);
    let (text, limits) = match fault {
        IngestFault::Clock => {
            let seconds = limits::CLOCK_FAULT_MILLIS / SECOND_MILLIS;
            let text = format!(
                "the clock of ingester {ingester} is wrong by more than {seconds} s: what it hears of feed {feed} may not count as heard, its \
                 reports and presses still pass; set its host's clock by NTP"
            );
            (text, vec![("clock_fault_millis", limits::CLOCK_FAULT_MILLIS), over])
        }
        IngestFault::TakenOver => {
            let text = format!(
                "another client takes the MQTT sessions of ingester {ingester} of feed {feed}: two processes bear the same ingest.name; stop \
                 one, or give each a name of its own"
            );
            (text, vec![over])
        }
    };
    Trouble {
        kind: kind(fault),
        severity: Severity::Warning,
        feed: feed.clone(),
        subject: format!("{feed}/{ingester}"),
        began_at: Some(began_at.get()),
        lanes: Vec::new(),
        text,
        limits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;
    use crate::rulebook::{StarterAnswers, check, starter_folder};

    #[test]
    fn faults_are_bounded_and_those_in_mind_go_on() {
        let rulebook = check(&starter_folder(&StarterAnswers::default())).unwrap().rulebook();
        let mut faults = IngestFaults::new(Partition(0), PartitionCount::new(1).unwrap());
        let mut note = |n: usize| {
            let observation = Observation {
                feed: FeedName::parse("main").unwrap(),
                ingester: IngesterName::parse(&format!("i-{n}")).unwrap(),
                incarnation: Incarnation(1),
                rulebook_version: 0,
                heard: Vec::new(),
                faults: vec![IngestFault::TakenOver],
            };
            faults.note(AppendMillis::new(0), &rulebook, &observation, false)
        };
        assert!((0..limits::INGEST_FAULTS_MAX).all(&mut note));
        assert!(!note(limits::INGEST_FAULTS_MAX), "no room");
        assert!(note(0), "known already");
    }
}
