//! The heartbeat: what a detector says of itself to every centre, so that its death shows.

use std::collections::BTreeMap;

use crate::alert::{FORMAT, FeedBeat, Heartbeat, Lane, PartitionBeat};
use crate::journal::{Partition, PartitionCount};
use crate::metrics;
use crate::rulebook::Rulebook;
use crate::time::ProbeMillis;

use super::alerts::AlertWriter;
use super::owned::Owned;

/// What this detector says now. `rulebook` is the newest that it has read: a feed that was never heard is named too.
pub(super) fn heartbeat(
    detector: &str,
    count: PartitionCount,
    owned: &BTreeMap<Partition, Owned>,
    alerts: &AlertWriter,
    rulebook: &Rulebook,
    now_millis: i64,
) -> Heartbeat {
    Heartbeat {
        format: FORMAT,
        detector: detector.to_owned(),
        at: now_millis,
        partition_count: count.get(),
        partitions: owned.values().map(|owned| partition_beat(owned, alerts, rulebook, now_millis)).collect(),
    }
}

fn partition_beat(owned: &Owned, alerts: &AlertWriter, rulebook: &Rulebook, now_millis: i64) -> PartitionBeat {
    let now = owned.machine.now();
    let heard: BTreeMap<_, _> = owned.machine.heard_to().map(|(feed, lane, to)| ((feed.clone(), lane), to)).collect();
    let lanes = rulebook.feeds().flat_map(|feed| Lane::ALL.map(|lane| (feed.name.clone(), lane)));
    let feeds = lanes.map(|(feed, lane)| {
        let to = heard.get(&(feed.clone(), lane)).copied().flatten();
        let heard_behind_millis = to.zip(now).map(|(to, now): (ProbeMillis, _)| now.get() - to.get());
        if let Some(millis) = heard_behind_millis {
            metrics::heard_behind(owned.partition, &feed, lane, millis);
        }
        FeedBeat { feed, lane, heard_behind_millis }
    });
    let feeds = feeds.collect();
    let now_behind_millis = now.map(|now| now_millis - now.get());
    if let Some(millis) = now_behind_millis {
        metrics::now_behind(owned.partition, millis);
    }
    PartitionBeat {
        partition: owned.partition.0,
        now_behind_millis,
        feeds,
        oldest_unacknowledged_alert_millis: alerts.oldest_unacknowledged(owned.partition).map(|at| now_millis - at),
    }
}
