//! A lane of a feed that we do not hear: said to every centre that has devices on it, and by one partition alone.

use std::collections::BTreeMap;

use crate::alert::{Alert, Kind, Lane, Severity};
use crate::ids::{CentreName, FeedName, TenantName};
use crate::journal::{Partition, PartitionCount};
use crate::limits;
use crate::rulebook::{Feed, Rulebook};
use crate::time::AppendMillis;

use super::actions::Actions;
use super::clocks::Clocks;
use super::digest::StateHasher;
use super::raise::{Cleared, Scene, millis};

/// Which feeds are this partition's to judge, since when, and what is open.
#[derive(Clone, Debug)]
pub(super) struct Blindness {
    partition: Partition,
    count: PartitionCount,
    /// When a feed's entry came into force: a feed never heard is blind from here.
    known_since: BTreeMap<FeedName, AppendMillis>,
    open: BTreeMap<(FeedName, CentreName), Box<Alert>>,
    cleared: BTreeMap<(FeedName, CentreName), Cleared>,
}

impl Blindness {
    pub(super) const fn new(partition: Partition, count: PartitionCount) -> Self {
        Self { partition, count, known_since: BTreeMap::new(), open: BTreeMap::new(), cleared: BTreeMap::new() }
    }

    /// Takes a new rulebook: feeds that it no longer names are no longer judged.
    pub(super) fn install(&mut self, now: AppendMillis, rulebook: &Rulebook) {
        let (partition, count) = (self.partition, self.count);
        self.known_since.retain(|name, _| rulebook.feed(name).is_some());
        self.cleared.retain(|(name, _), _| rulebook.feed(name).is_some());
        for feed in rulebook.feeds().filter(|feed| count.of(feed.name.as_str()) == partition) {
            self.known_since.entry(feed.name.clone()).or_insert(now);
        }
    }

    /// Raises, changes and clears what is due.
    pub(super) fn sweep(&mut self, scene: Scene<'_>, clocks: &Clocks, actions: &mut Actions) {
        let mut wanted: BTreeMap<(FeedName, CentreName), (Vec<Lane>, Option<i64>)> = BTreeMap::new();
        for (name, since) in &self.known_since {
            let Some(feed) = scene.rulebook.feed(name) else { continue };
            let (lanes, began_at) = deaf_lanes(scene.now, clocks, name, *since);
            if !lanes.is_empty() {
                for centre in centres(scene.rulebook, feed) {
                    wanted.insert((name.clone(), centre), (lanes.clone(), began_at));
                }
            }
        }
        self.clear_healed(scene, &wanted, actions);
        for ((feed, centre), (lanes, began_at)) in wanted {
            self.raise(scene, feed, centre, lanes, began_at, actions);
        }
    }

    fn clear_healed<T>(&mut self, scene: Scene<'_>, wanted: &BTreeMap<(FeedName, CentreName), T>, actions: &mut Actions) {
        self.open.retain(|key, alert| {
            let blind = wanted.contains_key(key);
            if !blind {
                let cleared = scene.clear(alert, "the feed is heard again, or no longer this centre's");
                self.cleared.entry(key.clone()).or_default().note(&cleared);
                actions.raise(cleared);
            }
            blind
        });
    }

    fn raise(
        &mut self,
        scene: Scene<'_>,
        feed: FeedName,
        centre: CentreName,
        lanes: Vec<Lane>,
        began_at: Option<i64>,
        actions: &mut Actions,
    ) {
        let text = format!("nothing is heard of {} of feed {feed}", words(&lanes));
        let tenants = tenants_of(scene.rulebook, &feed, &centre);
        let next = match self.open.get(&(feed.clone(), centre.clone())) {
            Some(open) if open.lanes == lanes && open.tenants == tenants => return,
            Some(open) => open.next_revision(scene.now.get()),
            None => {
                let mut alert = scene.blank(centre.clone(), Kind::Blind);
                // Each centre's alert is its own: one centre's acknowledgement must not silence another's.
                alert.id = Alert::id_of(None, Kind::Blind, &format!("{feed}/{centre}"), None, began_at);
                (alert.severity, alert.severity_now) = (Severity::Critical, Severity::Critical);
                alert.feed = Some(feed.clone());
                alert.subject = feed.to_string();
                alert.cause.began_at = began_at;
                alert.occurred_at = began_at.unwrap_or(scene.now.get());
                alert.reason.limits.insert("blind_millis".to_owned(), millis(limits::BLIND_MILLIS));
                alert
            }
        };
        let mut next = match self.cleared.get(&(feed.clone(), centre.clone())) {
            Some(cleared) => cleared.resume(next),
            None => next,
        };
        next.reason.text = text;
        (next.lanes, next.tenants) = (lanes, tenants);
        actions.raise(next.clone());
        self.open.insert((feed, centre), Box::new(next));
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.count(self.known_since.len()).count(self.open.len());
        for (feed, since) in &self.known_since {
            hash.text(feed.as_str()).int(since.get());
        }
        for ((feed, centre), alert) in &self.open {
            hash.text(feed.as_str()).text(centre.as_str()).alert(Some(alert));
        }
        hash.count(self.cleared.len());
        for ((feed, centre), cleared) in &self.cleared {
            cleared.digest(hash.text(feed.as_str()).text(centre.as_str()));
        }
    }
}

/// The lanes of a feed that are too far behind, and since when the one furthest behind is.
fn deaf_lanes(now: AppendMillis, clocks: &Clocks, feed: &FeedName, known_since: AppendMillis) -> (Vec<Lane>, Option<i64>) {
    let heard_to = |lane: Lane| clocks.heard_to(feed, lane).map_or(known_since.get(), |to| to.get().max(known_since.get()));
    let deaf: Vec<Lane> =
        Lane::ALL.into_iter().filter(|lane| now.get().saturating_sub(heard_to(*lane)) >= limits::BLIND_MILLIS).collect();
    let began_at = deaf.iter().map(|lane| heard_to(*lane)).min();
    (deaf, began_at)
}

/// The centres that must know: those of the feed's tenants, and the one that takes unknown devices' presses.
fn centres(rulebook: &Rulebook, feed: &Feed) -> Vec<CentreName> {
    let of_tenants = feed.tenants.iter().filter_map(|tenant| rulebook.tenant(tenant)).map(|tenant| tenant.centre.clone());
    let mut centres: Vec<CentreName> = of_tenants.chain([feed.fallback_centre.clone()]).collect();
    centres.sort_unstable();
    centres.dedup();
    centres
}

fn tenants_of(rulebook: &Rulebook, feed: &FeedName, centre: &CentreName) -> Vec<TenantName> {
    let tenants = rulebook.feed(feed).map_or(&[][..], |feed| &feed.tenants);
    let theirs = tenants.iter().filter_map(|tenant| rulebook.tenant(tenant)).filter(|tenant| tenant.centre == *centre);
    theirs.map(|tenant| tenant.name.clone()).collect()
}

fn words(lanes: &[Lane]) -> &'static str {
    match lanes {
        [Lane::Duress] => "presses",
        [Lane::Reports] => "reports",
        _ => "presses and reports",
    }
}
