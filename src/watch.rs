//! What a centre concludes from heartbeats: a partition that nobody claims, or that lags, is not watched. Pure, so that `alerts
//! follow`, a console and a reference consumer judge alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::{Alert, FeedBeat, Heartbeat, Lane};
use crate::ids::{AlertId, FeedName};
use crate::limits;

/// Alerts whose newest revision is remembered; past it the one with the smallest id is forgotten, and may be shown again.
const ALERTS_REMEMBERED_MAX: usize = 100_000;

/// A change in what is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// Not watched any more, or watched again.
    pub blind: bool,
    /// What, and why.
    pub text: String,
}

/// The state of a centre's view. Times are the reader's own clock, in milliseconds since the epoch.
#[derive(Debug)]
pub struct Watch {
    began_at: i64,
    partition_count: Option<u32>,
    partitions: BTreeMap<u32, Claim>,
    /// Since when.
    unread: BTreeMap<u32, i64>,
    blind: BTreeSet<Subject>,
    revisions: BTreeMap<AlertId, u32>,
}

#[derive(Clone, Debug)]
struct Claim {
    detector: String,
    seen_at: i64,
    /// None before the detector has read anything of the partition.
    now_behind_millis: Option<i64>,
    oldest_unacknowledged_millis: Option<i64>,
    feeds: BTreeMap<(FeedName, Lane), Heard>,
}

/// When a lane was last heard.
#[derive(Clone, Copy, Debug)]
enum Heard {
    At(i64),
    /// Never, as far as anybody has told; first said then.
    NeverSince(i64),
}

/// What can be watched or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Everything,
    Partition(u32),
    /// A partition of the alerts topic: what stands there is not known.
    Unread(u32),
    /// Alerts that a partition has raised, to whichever centre.
    HeldUp(u32),
    Feed(FeedName, Lane),
}

impl Watch {
    /// A view that begins now.
    pub fn new(now_millis: i64) -> Self {
        Self {
            began_at: now_millis,
            partition_count: None,
            partitions: BTreeMap::new(),
            unread: BTreeMap::new(),
            blind: BTreeSet::new(),
            revisions: BTreeMap::new(),
        }
    }

    /// Takes a heartbeat. One that has waited in the log says nothing of the present.
    pub fn beat(&mut self, beat: &Heartbeat, now_millis: i64) {
        let age_millis = now_millis.saturating_sub(beat.at);
        if age_millis >= limits::HEARTBEAT_MISSING_MILLIS {
            return;
        }
        self.partition_count = Some(beat.partition_count);
        for partition in &beat.partitions {
            let seen_at = beat.at.min(now_millis);
            let known = self.partitions.get(&partition.partition);
            let heard = |feed: &FeedBeat| {
                let lane = (feed.feed.clone(), feed.lane);
                // A detector that has just taken over knows nothing yet: what its predecessor said still holds.
                let before = || known.and_then(|claim| claim.feeds.get(&lane)).copied();
                let heard = feed.heard_behind_millis.map(|behind| Heard::At(seen_at.saturating_sub(behind)));
                let heard = heard.or_else(before).unwrap_or(Heard::NeverSince(seen_at));
                (lane, heard)
            };
            let feeds = partition.feeds.iter().map(heard).collect();
            let claim = Claim {
                detector: beat.detector.clone(),
                seen_at,
                now_behind_millis: partition.now_behind_millis,
                oldest_unacknowledged_millis: partition.oldest_unacknowledged_alert_millis,
                feeds,
            };
            self.partitions.insert(partition.partition, claim);
        }
    }

    /// Takes which partitions of the alerts topic were not read to their end yet. For 10 s that means nothing.
    pub fn unread(&mut self, partitions: &BTreeSet<u32>, now_millis: i64) {
        self.unread.retain(|partition, _| partitions.contains(partition));
        for partition in partitions {
            self.unread.entry(*partition).or_insert(now_millis);
        }
    }

    /// Whether a revision is news: higher than any seen of its alert.
    pub fn is_news(&mut self, alert: &Alert) -> bool {
        let newest = self.revisions.get(&alert.id).copied().unwrap_or(0);
        if alert.revision <= newest {
            return false;
        }
        if self.revisions.len() >= ALERTS_REMEMBERED_MAX {
            self.revisions.pop_first();
        }
        self.revisions.insert(alert.id, alert.revision);
        true
    }

    /// What has changed since the last look; partitions with the same to say are said together.
    pub fn judge(&mut self, now_millis: i64) -> Vec<Sighted> {
        let wanted = self.not_watched(now_millis);
        let healed = self.blind.iter().filter(|subject| !wanted.contains_key(*subject)).map(|subject| (String::new(), subject));
        let news = wanted
            .iter()
            .filter(|(subject, _)| !self.blind.contains(*subject))
            .map(|(subject, why)| (format!(": {why}"), subject));
        let mut changes = sighted(now_millis, false, healed);
        changes.extend(sighted(now_millis, true, news));
        self.blind = wanted.into_keys().collect();
        changes
    }

    fn not_watched(&self, now_millis: i64) -> BTreeMap<Subject, String> {
        let limit = limits::HEARTBEAT_MISSING_MILLIS;
        let waited = now_millis.saturating_sub(self.began_at) >= limit;
        let mut blind = BTreeMap::new();
        if !waited && !self.unread.is_empty() {
            return blind;
        }
        for (partition, _) in self.unread.iter().filter(|(_, since)| now_millis.saturating_sub(**since) >= limit) {
            blind.insert(Subject::Unread(*partition), "cannot be read, or not to their end yet".to_owned());
        }
        let Some(count) = self.partition_count else {
            if waited {
                let why =
                    if self.unread.is_empty() { "no detector has said anything for 10 s" } else { "no heartbeat was read yet" };
                blind.insert(Subject::Everything, why.to_owned());
            }
            return blind;
        };
        for partition in 0..count {
            match self.partitions.get(&partition) {
                None if waited => {
                    blind.insert(Subject::Partition(partition), "no detector claims it".to_owned());
                }
                None => {}
                Some(claim) => judge_claim(partition, claim, now_millis, &mut blind),
            }
        }
        blind
    }
}

fn judge_claim(partition: u32, claim: &Claim, now_millis: i64, blind: &mut BTreeMap<Subject, String>) {
    let limit = limits::HEARTBEAT_MISSING_MILLIS;
    let silent_millis = now_millis.saturating_sub(claim.seen_at);
    if silent_millis >= limit {
        let why = format!("detector {} has said nothing for {} s", claim.detector, silent_millis / 1_000);
        blind.insert(Subject::Partition(partition), why);
        return;
    }
    if claim.now_behind_millis.is_none_or(|behind| behind >= limit) {
        let behind =
            claim.now_behind_millis.map_or_else(|| "has read nothing yet".to_owned(), |b| format!("lags by {} s", b / 1_000));
        blind.insert(Subject::Partition(partition), format!("detector {} {behind}", claim.detector));
    }
    if let Some(millis) = claim.oldest_unacknowledged_millis.filter(|millis| *millis >= limit) {
        let why = format!("the oldest, to this centre or to another, has waited {} s for Kafka", millis / 1_000);
        blind.insert(Subject::HeldUp(partition), why);
    }
    for ((feed, lane), heard) in &claim.feeds {
        let (Heard::At(since) | Heard::NeverSince(since)) = *heard;
        let millis = claim.seen_at.saturating_sub(since);
        if millis >= limit {
            let why = match heard {
                Heard::At(_) => format!("not heard for {} s", millis / 1_000),
                Heard::NeverSince(_) => "was never heard".to_owned(),
            };
            blind.insert(Subject::Feed(feed.clone(), *lane), why);
        }
    }
}

/// One line for each reason; the subjects that share it stand together.
fn sighted<'a>(at: i64, blind: bool, changes: impl Iterator<Item = (String, &'a Subject)>) -> Vec<Sighted> {
    let mut lines: Vec<Sighted> = Vec::new();
    let mut partitions: BTreeMap<(&str, String), Vec<u32>> = BTreeMap::new();
    for (why, subject) in changes {
        let (what, partition) = match subject {
            Subject::Everything => {
                lines.push(Sighted { at, blind, text: format!("the whole installation{why}") });
                continue;
            }
            Subject::Feed(feed, lane) => {
                lines.push(Sighted { at, blind, text: format!("{} of feed {feed}{why}", lane.as_str()) });
                continue;
            }
            Subject::Partition(partition) => ("devices", partition),
            Subject::Unread(partition) => ("alerts", partition),
            Subject::HeldUp(partition) => ("alerts on their way", partition),
        };
        partitions.entry((what, why)).or_default().push(*partition);
    }
    lines.extend(partitions.into_iter().map(|((what, why), partitions)| {
        let numbers: Vec<String> = partitions.iter().map(u32::to_string).collect();
        let noun = if partitions.len() == 1 { "partition" } else { "partitions" };
        Sighted { at, blind, text: format!("{what} of {noun} {}{why}", numbers.join(", ")) }
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{FORMAT, PartitionBeat};

    fn beat(at: i64, partitions: &[(u32, i64, i64)]) -> Heartbeat {
        let partitions = partitions.iter().map(|(partition, now_behind, heard_behind)| PartitionBeat {
            partition: *partition,
            now_behind_millis: Some(*now_behind),
            feeds: vec![FeedBeat {
                feed: FeedName::parse("main").unwrap(),
                lane: Lane::Duress,
                heard_behind_millis: Some(*heard_behind),
            }],
            oldest_unacknowledged_alert_millis: None,
        });
        Heartbeat { format: FORMAT, detector: "d-0".into(), at, partition_count: 2, partitions: partitions.collect() }
    }

    fn said(watch: &mut Watch, now: i64) -> Vec<(bool, String)> {
        watch.judge(now).into_iter().map(|sighted| (sighted.blind, sighted.text)).collect()
    }

    #[test]
    fn silence_from_the_start_is_said_after_ten_seconds() {
        let mut watch = Watch::new(0);
        assert!(said(&mut watch, 9_999).is_empty());
        assert_eq!(
            said(&mut watch, 10_000),
            [(true, "the whole installation: no detector has said anything for 10 s".to_owned())]
        );
        assert!(said(&mut watch, 11_000).is_empty(), "once is enough");
        watch.beat(&beat(12_000, &[(0, 0, 0), (1, 0, 0)]), 12_000);
        assert_eq!(said(&mut watch, 12_000), [(false, "the whole installation".to_owned())]);
    }

    #[test]
    fn a_partition_that_nobody_claims_and_a_detector_that_died_are_said() {
        let mut watch = Watch::new(0);
        watch.beat(&beat(1_000, &[(0, 0, 0)]), 1_000);
        assert!(said(&mut watch, 5_000).is_empty());
        let lines = said(&mut watch, 11_000);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].1.contains("partition 0") && lines[0].1.contains("nothing for 10 s"), "{lines:?}");
        assert!(lines[1].1.contains("partition 1") && lines[1].1.contains("no detector claims it"), "{lines:?}");
    }

    #[test]
    fn lag_and_deaf_lanes_are_said_and_over() {
        let mut watch = Watch::new(0);
        watch.beat(&beat(1_000, &[(0, 10_000, 0), (1, 0, 12_000)]), 1_000);
        let lines = said(&mut watch, 1_000);
        let both = lines[0].1.contains("duress of feed main: not heard for 12 s") && lines[1].1.contains("lags by 10 s");
        assert!(both, "{lines:?}");
        watch.beat(&beat(6_000, &[(0, 0, 0), (1, 0, 0)]), 6_000);
        assert_eq!(said(&mut watch, 6_000).iter().filter(|(blind, _)| !blind).count(), 2);
    }

    #[test]
    fn partitions_of_one_dead_detector_are_one_line() {
        let mut watch = Watch::new(0);
        watch.beat(&beat(1_000, &[(0, 0, 0), (1, 0, 0)]), 1_000);
        let lines = said(&mut watch, 11_000);
        assert_eq!(lines, [(true, "devices of partitions 0, 1: detector d-0 has said nothing for 10 s".to_owned())]);
        watch.beat(&beat(12_000, &[(0, 0, 0), (1, 0, 0)]), 12_000);
        assert_eq!(said(&mut watch, 12_000), [(false, "devices of partitions 0, 1".to_owned())]);
    }

    /// After a restart of all within seconds, each partition and lane was said to be never heard.
    #[test]
    fn a_detector_that_has_just_taken_over_makes_nobody_blind_for_not_having_heard_yet() {
        let mut watch = Watch::new(0);
        watch.beat(&beat(1_000, &[(0, 0, 0), (1, 0, 0)]), 1_000);
        let mut fresh = beat(4_000, &[(0, 0, 0), (1, 0, 0)]);
        for at in [4_000, 10_000, 11_000] {
            fresh.at = at;
            fresh
                .partitions
                .iter_mut()
                .flat_map(|partition| &mut partition.feeds)
                .for_each(|feed| feed.heard_behind_millis = None);
            watch.beat(&fresh, at);
            let expected: &[_] = if at < 11_000 { &[] } else { &[(true, "duress of feed main: not heard for 10 s".to_owned())] };
            assert_eq!(said(&mut watch, at), expected);
        }
        let mut watch = Watch::new(0);
        for at in [1_000, 10_999, 11_000] {
            fresh.at = at;
            watch.beat(&fresh, at);
            let expected: &[_] = if at < 11_000 { &[] } else { &[(true, "duress of feed main: was never heard".to_owned())] };
            assert_eq!(said(&mut watch, at), expected);
        }
    }

    /// A centre that could not read a partition, or none, had a calm and empty screen for ever.
    #[test]
    fn what_cannot_be_read_is_said_after_ten_seconds() {
        let mut watch = Watch::new(0);
        watch.unread(&BTreeSet::from([0, 2]), 0);
        watch.beat(&beat(1_000, &[(0, 0, 0), (1, 0, 0)]), 1_000);
        assert!(said(&mut watch, 9_999).is_empty());
        watch.beat(&beat(9_000, &[(0, 0, 0), (1, 0, 0)]), 9_000);
        let unread = "alerts of partitions 0, 2: cannot be read, or not to their end yet";
        assert_eq!(said(&mut watch, 10_000), [(true, unread.to_owned())]);
        watch.unread(&BTreeSet::new(), 11_000);
        assert_eq!(said(&mut watch, 11_000), [(false, "alerts of partitions 0, 2".to_owned())]);
        watch.unread(&BTreeSet::from([3]), 12_000);
        assert!(said(&mut watch, 12_000).is_empty(), "one that was added a moment ago");

        let mut watch = Watch::new(0);
        watch.unread(&BTreeSet::from([0, 1]), 0);
        let lines = said(&mut watch, 10_000);
        assert_eq!((lines.len(), &*lines[0].1), (2, "the whole installation: no heartbeat was read yet"));
    }

    #[test]
    fn alerts_that_cannot_get_out_are_said_and_hide_nothing_else() {
        let mut watch = Watch::new(0);
        let mut held_up = beat(1_000, &[(0, 0, 0), (1, 0, 0)]);
        held_up.partitions[1].oldest_unacknowledged_alert_millis = Some(9_999);
        watch.beat(&held_up, 1_000);
        assert!(said(&mut watch, 1_000).is_empty());
        held_up.at = 6_000;
        held_up.partitions[1].oldest_unacknowledged_alert_millis = Some(14_000);
        watch.beat(&held_up, 6_000);
        let text = "alerts on their way of partition 1: the oldest, to this centre or to another, has waited 14 s for Kafka";
        assert_eq!(said(&mut watch, 6_000), [(true, text.to_owned())]);
        watch.beat(&beat(7_000, &[(0, 0, 0), (1, 12_000, 0)]), 7_000);
        let lines = said(&mut watch, 7_000);
        assert_eq!(lines[0], (false, "alerts on their way of partition 1".to_owned()));
        assert!(lines[1].1.contains("lags by 12 s"), "{lines:?}");
    }

    #[test]
    fn an_old_heartbeat_proves_no_life() {
        let mut watch = Watch::new(100_000);
        watch.beat(&beat(1_000, &[(0, 0, 0), (1, 0, 0)]), 100_000);
        assert_eq!(said(&mut watch, 110_000).len(), 1);
    }
}
