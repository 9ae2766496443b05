//! Kafka stands still, and with it the window in which the MQTT broker hands us messages at QoS 1, our probes among them. What comes at
//! QoS 0 overtakes them: its device was never silent.

use std::time::Duration;

use crate::rig::{Follower, Probes, Publisher, Rules, Site, World, outline, publish_with};

const SOON: Duration = Duration::from_mins(1);
/// Seconds between two reports; the limit is 10.
const EVERY: usize = 6;

#[test]
fn a_device_that_reports_at_qos_0_is_not_lost_when_kafka_returns() {
    let site = Site::new(World::with_own_kafka("qos-0"), &Rules::of(&["dev-1"]).silence("10s"));
    let world = &site.world;
    let mut role = site.start("run");
    let alerts = Follower::start(&world.kafka, &site.alerts_topic());
    let probes = Probes::start(&world.mosquitto);
    let report = || publish_with(&world.mosquitto, "lw/v1/dev-1/report", br#"{"battery":80}"#, &["-q", "0"]);
    report();
    role.wait_watching();
    report();
    world.kafka.freeze();
    // Of a device that nobody watches: more than the broker may have on its way to us.
    let mut crowd = Publisher::start(&world.mosquitto, "lw/v1/x-1/report");
    crowd.send(&vec!["{}"; 1_500].join("\n"));
    for _ in 0..4 {
        probes.wait_further(EVERY);
        report();
    }
    world.kafka.thaw();
    for _ in 0..3 {
        probes.wait_further(EVERY);
        report();
    }
    crowd.finish();
    let lost = alerts.alerts_of("lost_contact");
    assert!(lost.is_empty(), "{}", outline(&lost));
    // One that is silent is lost all the same.
    alerts.wait_alerts(SOON, "the device to be lost", |alerts| {
        alerts.iter().any(|alert| alert.text("kind") == "lost_contact").then_some(())
    });
}
