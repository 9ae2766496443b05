//! `alerts follow` may not read, or not all: it says so. (It showed a calm and empty screen for ever: nobody saw an alert, and nobody knew.)

use std::time::Duration;

use crate::rig::{PARTITIONS, Rules, Site, World, produce};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn a_follower_that_may_not_read_says_so_and_that_nobody_is_watched() {
    let site = Site::new(World::new("follow-denied"), &Rules::of(&["dev-1"]));
    let topic = site.alerts_topic();
    for (list, operation) in [("--deny-principal", "Read"), ("--allow-principal", "All")] {
        let arguments = ["--add", list, "User:ANONYMOUS", "--operation", operation, "--topic", &topic, "--force"];
        site.world.kafka.tool("org.apache.kafka.tools.AclCommand", &arguments);
    }
    let mut follow = site.follow(&["alerts", "follow", "--centre", "north"]);
    follow.wait_said(SOON, "cannot read");
    follow.wait_said(SOON, &topic);
    follow.wait_said(SOON, "alerts of partitions 0, 1, 2: cannot be read");
    follow.wait_said(SOON, "the whole installation: no heartbeat was read yet");
}

#[test]
fn a_follower_reads_partitions_that_are_added_while_it_runs() {
    let site = Site::new(World::new("follow-grown"), &Rules::of(&["dev-1"]));
    let (kafka, topic) = (&site.world.kafka, site.alerts_topic());
    let mut follow = site.follow(&["alerts", "follow", "--centre", "north", "--output", "json"]);
    let grown = (PARTITIONS + 9).to_string();
    kafka.tool("org.apache.kafka.tools.TopicCommand", &["--alter", "--topic", &topic, "--partitions", &grown]);
    for key in 0..40 {
        produce(kafka, &topic, &format!("dev-{key}"), format!("record-{key}.").as_bytes());
    }
    for key in 0..40 {
        follow.wait_said(SOON, &format!("record-{key}."));
    }
}

#[test]
fn a_follower_goes_on_with_a_topic_that_was_made_anew_with_fewer_partitions() {
    let site = Site::new(World::new("follow-fewer"), &Rules::of(&["dev-1"]));
    let (kafka, topic) = (&site.world.kafka, site.alerts_topic());
    let mut follow = site.follow(&["alerts", "follow", "--centre", "north", "--from-beginning", "--output", "json"]);
    for key in 0..20 {
        produce(kafka, &topic, &format!("dev-{key}"), format!("before-{key}.").as_bytes());
    }
    follow.wait_said(SOON, "before-19.");
    kafka.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &topic]);
    kafka.create_topic(&topic, 1, &[]);
    produce(kafka, &topic, "dev-1", b"after.");
    follow.wait_said(SOON, "after.");
}
