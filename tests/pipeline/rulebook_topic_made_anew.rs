//! The rulebook's topic is deleted and made again under a process that runs: it is not ready, says what to do, and presses are told by the last
//! rules. (It read the topic never again, and `/readyz` said 200 and that Kafka did not answer.) So it is where it may not read.

use std::time::Duration;

use crate::rig::{Follower, Rules, Site, World, publish, wait_for};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn a_process_whose_rulebook_topic_was_made_anew_says_so() {
    let site = Site::new(World::new("rules-anew"), &Rules::of(&["dev-1"]));
    let world = &site.world;
    let mut role = site.run();
    let alerts = Follower::start(&world.kafka, &site.alerts_topic());
    world.kafka.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &world.kafka_topic("rulebook")]);
    wait_for(SOON, "the topic to be made again", || {
        let output = site.must(&["topics", "create"]);
        if output.contains(&format!("made {}", world.kafka_topic("rulebook"))) { Ok(()) } else { Err(output) }
    });
    wait_for(SOON, "the process to say so", || {
        let (status, text) = role.get("/readyz");
        if status == 503 && text.contains("rulebook: NOT READY: its Kafka topic was made anew") { Ok(()) } else { Err(text) }
    });
    publish(&world.mosquitto, "lw/v1/dev-1/duress", br#"{"id":"press-1"}"#);
    alerts.wait_alerts(SOON, "the press", |alerts| alerts.iter().any(|alert| alert.text("tenant") == "acme").then_some(()));
    site.apply();
    assert_eq!(role.stop().code(), Some(0));
}

#[test]
fn a_process_that_may_not_read_its_rulebook_is_not_ready_and_says_why() {
    let site = Site::new(World::new("rules-denied"), &Rules::of(&["dev-1"]));
    let topic = site.world.kafka_topic("rulebook");
    for (list, operation) in [("--deny-principal", "Read"), ("--allow-principal", "All")] {
        let arguments = ["--add", list, "User:ANONYMOUS", "--operation", operation, "--topic", &topic, "--force"];
        site.world.kafka.tool("org.apache.kafka.tools.AclCommand", &arguments);
    }
    let role = site.launch("run");
    wait_for(SOON, "the process to say so", || {
        let (status, text) = role.get("/readyz");
        let says =
            text.contains("rulebook: NOT READY: not read to its end yet: reading ") && text.contains("authorization failed");
        if status == 503 && says { Ok(()) } else { Err(text) }
    });
}
