//! Alerts about ourselves: each stands while something is the matter with a feed, once for every centre concerned.
//!
//! `blind.rs` and `ingest_faults.rs` judge what is the matter; here that is held against what is open.

use std::collections::BTreeMap;

use crate::alert::{Alert, Kind, Lane, Severity};
use crate::ids::{CentreName, FeedName, TenantName};
use crate::rulebook::{Feed, Rulebook};

use super::actions::Actions;
use super::digest::StateHasher;
use super::raise::{Cleared, Scene, millis};

/// Something that is the matter with a feed that the rulebook names.
pub(super) struct Trouble {
    pub(super) kind: Kind,
    pub(super) severity: Severity,
    pub(super) feed: FeedName,
    /// The feed, or what of it is at fault.
    pub(super) subject: String,
    pub(super) began_at: Option<i64>,
    pub(super) lanes: Vec<Lane>,
    pub(super) text: String,
    pub(super) limits: Vec<(&'static str, i64)>,
}

/// What it is, of what, and who is told.
type Key = (Kind, String, CentreName);

/// What is open. Every trouble has one kind and subject here, so that each centre has one alert of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    open: BTreeMap<Key, Box<Alert>>,
    /// Alerts that were cleared while their trouble goes on, because it is no longer their centre's: it may become so again. And the last
    /// few of each feed's blindness.
    cleared: BTreeMap<Key, Vec<Cleared>>,
}

/// How many of a key are remembered: one of each beginning that Kafka's clock, leaping to and fro, can give a blindness.
const REMEMBERED: usize = 4;

impl Standing {
    /// Clears what is over (and says so with `over`), then raises and changes what is left, until what is open is what holds.
    pub(super) fn settle(&mut self, scene: Scene<'_>, troubles: &[Trouble], over: &str, actions: &mut Actions) {
        let mut wanted: BTreeMap<Key, &Trouble> = BTreeMap::new();
        for trouble in troubles {
            for centre in scene.rulebook.feed(&trouble.feed).map_or_else(Vec::new, |feed| centres(scene.rulebook, feed)) {
                wanted.insert((trouble.kind, trouble.subject.clone(), centre), trouble);
            }
        }
        self.open.retain(|key, alert| {
            let holds = wanted.contains_key(key);
            if !holds {
                let cleared = scene.clear(alert, over);
                let known = self.cleared.entry(key.clone()).or_default();
                known.retain(|it| !it.was(cleared.id));
                known.push(Cleared::of(&cleared));
                if known.len() > REMEMBERED {
                    known.remove(0);
                }
                actions.raise(cleared);
            }
            holds
        });
        // What is the matter again has begun anew, and so has another id; but for a lane that Kafka's clock, in a leap, called heard or
        // deaf although nothing was heard since.
        let goes_on =
            |(kind, subject, _): &Key| troubles.iter().any(|trouble| trouble.kind == *kind && trouble.subject == *subject);
        let blind =
            |(kind, subject, _): &Key| *kind == Kind::Blind && scene.rulebook.feeds().any(|feed| feed.name.as_str() == subject);
        self.cleared.retain(|key, _| goes_on(key) || blind(key));
        for (key, trouble) in wanted {
            self.raise(scene, key, trouble, actions);
        }
    }

    fn raise(&mut self, scene: Scene<'_>, key: Key, trouble: &Trouble, actions: &mut Actions) {
        let centre = &key.2;
        let tenants = tenants_of(scene.rulebook, &trouble.feed, centre);
        let mut next = match self.open.get(&key) {
            Some(open) if open.lanes == trouble.lanes && open.tenants == tenants => return,
            Some(open) => open.next_revision(scene.appended_at.get()),
            None => {
                let first = first_revision(scene, centre, trouble);
                self.cleared.get(&key).into_iter().flatten().fold(first, |first, cleared| cleared.resume(first))
            }
        };
        next.reason.text.clone_from(&trouble.text);
        next.lanes.clone_from(&trouble.lanes);
        next.tenants = tenants;
        actions.raise(next.clone());
        self.open.insert(key, Box::new(next));
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.count(self.open.len());
        for ((kind, subject, centre), alert) in &self.open {
            hash.text(kind.as_str()).text(subject).text(centre.as_str()).alert(Some(alert));
        }
        hash.count(self.cleared.len());
        for ((kind, subject, centre), cleared) in &self.cleared {
            hash.text(kind.as_str()).text(subject).text(centre.as_str()).count(cleared.len());
            for it in cleared {
                it.digest(hash);
            }
        }
    }
}

fn first_revision(scene: Scene<'_>, centre: &CentreName, trouble: &Trouble) -> Alert {
    let mut alert = scene.blank(centre.clone(), trouble.kind);
    // Each centre's alert is its own: one centre's acknowledgement must not silence another's.
    alert.id = Alert::id_of(None, trouble.kind, &format!("{}/{centre}", trouble.subject), None, trouble.began_at);
    (alert.severity, alert.severity_now) = (trouble.severity, trouble.severity);
    alert.feed = Some(trouble.feed.clone());
    alert.subject.clone_from(&trouble.subject);
    alert.cause.began_at = trouble.began_at;
    alert.occurred_at = trouble.began_at.unwrap_or(scene.appended_at.get());
    alert.reason.limits = trouble.limits.iter().map(|(name, limit)| ((*name).to_owned(), millis(*limit))).collect();
    alert
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
