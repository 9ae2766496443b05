//! SIGKILL of the detector under load: the next one says again only what was not committed, with the same ids and the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::rig::{
    Follower, PARTITIONS, Publisher, Rules, SeenAlert, Site, World, alerts_among, committed, consume, ends, figure,
    journal_records, replay, rulebook_versions, timed, wait_for, wait_until,
};

const SOON: Duration = Duration::from_mins(1);
const DEVICES: [&str; 4] = ["dev-1", "dev-2", "dev-3", "dev-4"];
const ROUNDS: usize = 3;
/// Presses of each device in a round: some seconds of work for the detector.
const PRESSES: usize = 150;

#[test]
fn a_detector_killed_under_load_repeats_only_what_it_had_not_committed() {
    let site = Site::new(World::new("killed"), &Rules::of(&DEVICES));
    let ingest = site.start("ingest");
    let mut detect = site.start("detect");
    detect.wait_watching();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let journal = site.world.kafka_topic("journal");
    let group = || committed(&site.world.kafka, &site.group(), &journal, PARTITIONS);
    let answered = || alerts.alerts().iter().filter(|alert| alert.revision == 2).count();

    let mut at_kill = Vec::new();
    for round in 0..ROUNDS {
        let publishers = DEVICES.map(|device| {
            let mut publisher = Publisher::start(&site.world.mosquitto, &format!("lw/v1/{device}/duress"));
            let lines: Vec<String> = (0..PRESSES).map(|press| format!("{{\"id\":\"{round}.{press}\"}}")).collect();
            publisher.send(&lines.join("\n"));
            publisher
        });
        let (before, offsets) = (answered(), group());
        wait_until(SOON, "a commit", || group() != offsets);
        let committed_then = answered().max(before);
        wait_until(SOON, "alerts since", || {
            answered() >= committed_then + 5 || answered() >= (round + 1) * PRESSES * DEVICES.len()
        });
        detect.kill();
        // Nobody reads or commits any more. The killed one has said nothing of what lies beyond the journal's end.
        at_kill.push(Kill { committed: group(), ends: ends(&site.world.kafka, &journal, PARTITIONS) });
        publishers.into_iter().for_each(Publisher::finish);
        let (next, took) = timed(|| site.start("detect"));
        detect = next;
        let wanted = (round + 1) * PRESSES * DEVICES.len();
        let ((), caught_up) = timed(|| {
            wait_for(SOON, "every press to be answered", || {
                let seen = alerts.alerts();
                let answered: BTreeSet<_> = seen.iter().filter(|alert| alert.revision == 2).map(|alert| &alert.id).collect();
                if answered.len() == wanted { Ok(()) } else { Err(format!("{} of {wanted}; {}", answered.len(), detect.tail())) }
            });
        });
        figure(&format!("round {round}: ready again after {took:?}, caught up after {caught_up:?} more"));
    }
    drop(ingest);
    assert_eq!(detect.stop().code(), Some(0), "{}", detect.tail());
    judge(&site, &at_kill, &group());
}

/// How far all had come when the detector was killed, by partition.
struct Kill {
    committed: BTreeMap<u32, Option<i64>>,
    ends: BTreeMap<u32, i64>,
}

/// Holds the alerts topic against the journal, read by the machine alone.
fn judge(site: &Site, at_kill: &[Kill], end: &BTreeMap<u32, Option<i64>>) {
    let (journal, versions) = (journal_records(site), rulebook_versions(site));
    let should = replay(&journal, &versions, PARTITIONS, |partition| end[&partition].expect("the group has committed"));
    let topic = consume(&site.world.kafka, &site.alerts_topic());
    let mut copies: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for SeenAlert { bytes, .. } in alerts_among(&topic).into_iter().filter(|alert| !alert.is_express()) {
        *copies.entry(bytes).or_default() += 1;
    }
    let mut repeats = 0;
    for (partition, offset, bytes) in &should.alerts {
        let found = copies.remove(bytes).unwrap_or_default();
        // Each kill allows one more copy of what was not committed then and may have been written.
        let open = |kill: &&Kill| (kill.committed[partition].unwrap_or(0)..kill.ends[partition]).contains(offset);
        let allowed = at_kill.iter().filter(open).count();
        let text = String::from_utf8_lossy(bytes);
        assert!(found >= 1, "missing: {text}");
        assert!(found <= 1 + allowed, "{found} copies, though committed: {text}");
        repeats += found - 1;
    }
    assert!(
        copies.is_empty(),
        "alerts with other bytes than the journal gives: {:?}",
        copies.keys().map(|bytes| String::from_utf8_lossy(bytes)).collect::<Vec<_>>()
    );
    figure(&format!("{} machine alerts, {ROUNDS} kills, {repeats} repeats, nothing missing", should.alerts.len()));
    assert!(repeats > 0, "no kill fell between an alert and its commit: nothing was shown");
}
