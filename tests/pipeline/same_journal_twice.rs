//! The journal of a busy half minute, read again: the same alerts byte for byte, the same hash chain, and what was on the topic then.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::rig::{
    Lonewatch, PARTITIONS, Site, World, alerts_among, committed, consume, figure, journal_records, replay, replay_alerts,
    rulebook_versions, timed,
};

const FLEET_DEADLINE: Duration = Duration::from_mins(2);

#[test]
fn the_same_journal_read_twice_gives_the_same_alerts() {
    let site = Site::bare(World::new("read-twice"));
    site.must(&["topics", "create"]);
    let rules = site.rules_folder();
    let rules = rules.to_str().unwrap();
    // 30 s is the shortest time in which the fleet does everything that it can do.
    let fleet = ["simulate", "--devices", "40", "--seconds", "30", "--seed", "7", "--output", "json"];
    site.must(&[&fleet[..], &["--rules", rules]].concat());
    site.apply();
    let mut role = site.run();
    let broker = format!("mqtt://{}", site.world.mosquitto.address());
    let (status, output, log) = Lonewatch::run(FLEET_DEADLINE, &[&fleet[..], &["--broker", &broker]].concat(), []);
    assert!(status.success(), "{output}\n{log}");
    assert_eq!(role.stop().code(), Some(0), "{}", role.tail());

    let journal = journal_records(&site);
    let versions = rulebook_versions(&site);
    // What lies beyond was written as it ended, and need not have been read.
    let committed = committed(&site.world.kafka, &site.group(), &site.world.kafka_topic("journal"), PARTITIONS);
    let below = |partition: u32| committed[&partition].expect("the group has committed");
    let (first, took) = timed(|| replay(&journal, &versions, PARTITIONS, below));
    let second = replay(&journal, &versions, PARTITIONS, below);
    assert!(first == second, "two readings differ");

    let topic = consume(&site.world.kafka, &site.world.kafka_topic("alerts.demo"));
    let then: BTreeSet<_> =
        alerts_among(&topic).into_iter().filter(|alert| !alert.is_express()).map(|alert| alert.bytes).collect();
    let again: BTreeSet<_> = first.alerts.iter().map(|(_, _, bytes)| bytes.clone()).collect();
    // Where the last commit took too long, what was told reaches beyond it.
    let whole: BTreeSet<_> = replay_alerts(&journal, &versions, PARTITIONS).into_iter().map(|(_, _, bytes)| bytes).collect();
    let text =
        |only: Vec<&Vec<u8>>| only.into_iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect::<Vec<_>>();
    assert_eq!(text(then.difference(&whole).collect()), Vec::<String>::new(), "on the topic and not in the replay");
    assert_eq!(text(again.difference(&then).collect()), Vec::<String>::new(), "in the replay and not on the topic");
    let kinds: BTreeSet<_> = alerts_among(&topic).into_iter().map(|alert| alert.text("kind").to_owned()).collect();
    figure(&format!("{} records, {} machine alerts of {kinds:?}, one replay in {took:?}", journal.len(), again.len()));
    for kind in ["duress", "lost_contact", "fence_exited", "battery_low"] {
        assert!(kinds.contains(kind), "the fleet did too little: {kinds:?}");
    }
}
