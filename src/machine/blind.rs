//! A lane of a feed that we do not hear: said to every centre that has devices on it, and by one partition alone.

use std::collections::BTreeMap;

use crate::alert::{Kind, Lane, Severity};
use crate::ids::FeedName;
use crate::journal::{Partition, PartitionCount};
use crate::limits;
use crate::rulebook::Rulebook;
use crate::time::AppendMillis;

use super::actions::Actions;
use super::clocks::Clocks;
use super::digest::StateHasher;
use super::raise::Scene;
use super::standing::{Standing, Trouble};

/// Which feeds are this partition's to judge, since when, and what is open.
#[derive(Clone, Debug)]
pub(super) struct Blindness {
    partition: Partition,
    count: PartitionCount,
    /// When a feed's entry came into force: a feed never heard is blind from here.
    known_since: BTreeMap<FeedName, AppendMillis>,
    standing: Standing,
}

impl Blindness {
    pub(super) fn new(partition: Partition, count: PartitionCount) -> Self {
        Self { partition, count, known_since: BTreeMap::new(), standing: Standing::default() }
    }

    /// Takes a new rulebook: feeds that it no longer names are no longer judged.
    pub(super) fn install(&mut self, now: AppendMillis, rulebook: &Rulebook) {
        let (partition, count) = (self.partition, self.count);
        self.known_since.retain(|name, _| rulebook.feed(name).is_some());
        for feed in rulebook.feeds().filter(|feed| count.of(feed.name.as_str()) == partition) {
            self.known_since.entry(feed.name.clone()).or_insert(now);
        }
    }

    /// Raises, changes and clears what is due.
    pub(super) fn sweep(&mut self, scene: Scene<'_>, clocks: &Clocks, actions: &mut Actions) {
        // Kafka's clock was ahead when the feed was entered: it is known since now, and not since a time to come.
        let leapt = |since: &AppendMillis| *since == scene.now && since.since(scene.appended_at) > limits::CLOCK_FAULT_MILLIS;
        self.known_since.values_mut().filter(|since| leapt(since)).for_each(|since| *since = scene.appended_at);
        let judged = self.known_since.iter().filter_map(|(feed, since)| trouble(scene, clocks, feed, *since));
        let troubles: Vec<Trouble> = judged.collect();
        self.standing.settle(scene, &troubles, "the feed is heard again, or no longer this centre's", actions);
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.count(self.known_since.len());
        for (feed, since) in &self.known_since {
            hash.text(feed.as_str()).int(since.get());
        }
        self.standing.digest(hash);
    }
}

/// The lanes of a feed that are too far behind, if any, and since when the one furthest behind is.
fn trouble(scene: Scene<'_>, clocks: &Clocks, feed: &FeedName, known_since: AppendMillis) -> Option<Trouble> {
    let heard_to = |lane: Lane| clocks.heard_to(feed, lane).map_or(known_since.get(), |to| to.get().max(known_since.get()));
    let deaf = |lane: &Lane| {
        let heard_to = heard_to(*lane);
        held_against(scene, heard_to).get().saturating_sub(heard_to) >= limits::BLIND_MILLIS
    };
    let lanes: Vec<Lane> = Lane::ALL.into_iter().filter(deaf).collect();
    let began_at = lanes.iter().map(|lane| heard_to(*lane)).min()?;
    Some(Trouble {
        kind: Kind::Blind,
        severity: Severity::Critical,
        feed: feed.clone(),
        subject: feed.to_string(),
        began_at: Some(began_at),
        text: format!("nothing is heard of {} of feed {feed}", words(&lanes)),
        lanes,
        limits: vec![("blind_millis", limits::BLIND_MILLIS)],
    })
}

/// What time it is, for what was heard up to then. Where Kafka's clock was ahead for a moment, `now` stands still and says nothing: then
/// the record's own time, unless that lies before what was heard, and so is itself the wrong one.
fn held_against(scene: Scene<'_>, heard_to: i64) -> AppendMillis {
    let own = scene.appended_at;
    let leapt = scene.now.since(own) > limits::CLOCK_FAULT_MILLIS;
    if leapt && heard_to <= own.plus(limits::CLOCK_FAULT_MILLIS).get() { own } else { scene.now }
}

fn words(lanes: &[Lane]) -> &'static str {
    match lanes {
        [Lane::Duress] => "presses",
        [Lane::Reports] => "reports",
        _ => "presses and reports",
    }
}
