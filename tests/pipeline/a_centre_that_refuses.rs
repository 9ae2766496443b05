//! Kafka takes nothing for one centre: the presses of its devices are told at the feed's fallback centre, those of everybody else arrive as
//! ever, and when the topic is mended its presses are there. Nor does a quarantine that takes nothing hold anybody up. (The lane gave its
//! connection up, got the same press first again, and so on without end: one centre's missing topic silenced the feed.)

use std::collections::BTreeSet;
use std::time::Duration;

use crate::rig::{
    CENTRE, Follower, PARTITIONS, Probes, Rules, Site, Subscriber, World, figure, outline, publish, timed, wait_for,
};

const SOON: Duration = Duration::from_secs(40);
/// Far longer than a press takes, far shorter than an outage; the machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(5);
const PRESSES: usize = 20;

#[test]
fn a_centre_whose_topic_takes_nothing_costs_nobody_else_a_press() {
    let site = Site::new(World::new("refuses"), &Rules::of(&["dev-1"]));
    let world = &site.world;
    let mut role = site.run();
    let north = Follower::start(&world.kafka, &site.alerts_topic());
    let mut receipts = Subscriber::start(&world.mosquitto, "lw/v1/+/rx");
    let probes = Probes::start(&world.mosquitto);
    add_south(&site);
    let version = role.metric("lonewatch_rulebook_version", &[]);
    site.apply();
    wait_for(SOON, "the new centre to be known", || {
        let now = role.metric("lonewatch_rulebook_version", &[]);
        if now > version { Ok(()) } else { Err(now) }
    });
    for topic in ["alerts.south", "quarantine"] {
        world.kafka.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &world.kafka_topic(topic)]);
    }

    publish(&world.mosquitto, "lw/v1/dev-s/duress", br#"{"id":"south-1"}"#);
    publish(&world.mosquitto, "lw/v1/dev-1/report", b"nobody can read this");
    publish(&world.mosquitto, "lw/v1/dev-1/duress", &[0xff; 40]);
    let mut slowest = Duration::ZERO;
    for number in 1..=PRESSES {
        publish(&world.mosquitto, "lw/v1/dev-1/duress", format!("{{\"id\":\"north-{number}\"}}").as_bytes());
        let ((), took) = timed(|| {
            north.wait_alerts(AT_ONCE, "a press of another centre", |alerts| {
                let of_dev_1 = alerts.iter().filter(|alert| alert.is_express() && alert.text("device") == "dev-1");
                let told: BTreeSet<&str> = of_dev_1.map(|alert| alert.text("id")).collect();
                (told.len() > number).then_some(())
            });
        });
        slowest = slowest.max(took);
        probes.wait_further(1);
    }
    figure(&format!("{PRESSES} presses beside a centre that refuses: the slowest alerts after {slowest:?}"));
    let south = world.kafka_topic("alerts.south");
    let told = wait_for(SOON, "the fallback centre to hear of it", || {
        let told = north.alerts().into_iter().find(|alert| alert.text("device") == "dev-s");
        told.ok_or_else(|| format!("{}; {}", role.get("/readyz").1, role.tail()))
    });
    assert_eq!((told.text("centre"), told.revision), ("south", 1));
    let (status, text) = role.get("/readyz");
    let said = format!("lane duress to {south}: NOT READY: Kafka refuses what is written there (topic_gone)");
    assert!(status == 503 && text.contains(&said) && text.contains("Kafka refuses the quarantine"), "{status} {text}");
    assert!(text.contains("feed main lane duress: ready") && text.contains("feed main lane duress to Kafka: ready"), "{text}");
    receipts.wait_message(SOON, "the receipt of the last", |message| {
        String::from_utf8_lossy(&message.payload).contains(&format!("north-{PRESSES}"))
    });
    let receipted = receipts.messages().iter().any(|message| String::from_utf8_lossy(&message.payload).contains("south-1"));
    assert!(!receipted, "its own centre has it not");
    wait_for(SOON, "everything to be acknowledged", || {
        let waiting = role.metric("lonewatch_mqtt_unacknowledged", &[]);
        if waiting < 3.0 { Ok(()) } else { Err(waiting) }
    });

    site.must(&["topics", "create"]);
    let south = Follower::start(&world.kafka, &south);
    south.wait_alerts(SOON, "both revisions where they belong", |alerts| {
        let seen = |revision| alerts.iter().any(|alert| alert.text("device") == "dev-s" && alert.revision == revision);
        (seen(1) && seen(2)).then_some(())
    });
    role.wait_ready();
    assert!(south.alerts().iter().all(|alert| alert.text("centre") == "south"), "{}", outline(&south.alerts()));
}

/// (The process refused to start: a centre whose topics nobody had made, or that somebody had deleted, silenced all others with the next
/// restart of the ingesters.)
#[test]
fn a_process_starts_though_a_centre_has_no_topics() {
    let site = Site::new(World::new("unmade"), &Rules::of(&["dev-1"]));
    let world = &site.world;
    add_south(&site);
    site.apply();
    for topic in ["alerts.south", "shadow.south", "actions.south", "quarantine"] {
        world.kafka.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &world.kafka_topic(topic)]);
    }
    let mut role = site.launch("run");
    let north = Follower::start(&world.kafka, &site.alerts_topic());
    let south = world.kafka_topic("alerts.south");
    let said = wait_for(SOON, "the lane to listen", || {
        let (_, text) = role.get("/readyz");
        if text.contains("feed main lane duress: ready") { Ok(text) } else { Err(text) }
    });
    assert!(said.contains("topics: NOT READY: ") && said.contains("is missing, but must be there"), "{said}");
    assert!(said.contains("(and 3 more: lonewatch topics check)"), "three of the centre, and the quarantine: {said}");

    publish(&world.mosquitto, "lw/v1/dev-s/duress", br#"{"id":"south-1"}"#);
    publish(&world.mosquitto, "lw/v1/dev-1/report", b"nobody can read this");
    publish(&world.mosquitto, "lw/v1/dev-1/duress", br#"{"id":"north-1"}"#);
    north.wait_alerts(SOON, "both presses", |alerts| {
        let told = |device: &str| alerts.iter().any(|alert| alert.is_express() && alert.text("device") == device);
        (told("dev-1") && told("dev-s")).then_some(())
    });

    site.must(&["topics", "create"]);
    let south = Follower::start(&world.kafka, &south);
    south.wait_alerts(SOON, "the press where it belongs", |alerts| {
        alerts.iter().any(|alert| alert.text("device") == "dev-s" && alert.revision == 2).then_some(())
    });
    role.wait_ready();
}

/// A second tenant with a centre of its own.
fn add_south(site: &Site) {
    let rules = site.rules_folder();
    let installation = format!(
        "reconnect_grace = \"1s\"\n[rules]\nlost_contact = false\nbattery_low = false\n[centres.{CENTRE}]\n[centres.south]\n\
         [feeds.main]\ntenants = [\"acme\", \"beta\"]\nfallback_centre = \"{CENTRE}\"\n"
    );
    std::fs::write(rules.join("installation.toml"), installation).expect("write the rulebook folder");
    std::fs::write(rules.join("tenants/beta.toml"), "centre = \"south\"\nzone = \"Europe/London\"\n[devices.\"dev-s\"]\n")
        .expect("write the rulebook folder");
}

#[test]
fn presses_that_are_too_large_together_are_not_too_large() {
    let world = World::with_own_kafka("batch");
    world.kafka.create_topic(&world.kafka_topic(&format!("alerts.{CENTRE}")), PARTITIONS, &["max.message.bytes=20000"]);
    let site = Site::new(world, &Rules::of(&["dev-1"]));
    let role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    site.world.kafka.stop();
    for number in 0..50 {
        publish(&site.world.mosquitto, "lw/v1/dev-1/duress", format!("{{\"id\":\"p-{number}\"}}").as_bytes());
    }
    site.world.kafka.restart();
    alerts.wait_alerts(SOON, "all presses to be told", |alerts| {
        let express = alerts.iter().filter(|alert| alert.is_express() && alert.text("kind") == "duress");
        (express.count() >= 50).then_some(())
    });
    let (_, text) = role.get("/readyz");
    assert!(!text.contains("refused"), "{text}");
}
