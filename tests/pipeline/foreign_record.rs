//! Something that is none of ours stands in the journal: its partition stops, aloud; the others go on, and presses of all go through.

use std::time::Duration;

use lonewatch::journal::PartitionCount;

use crate::rig::{Follower, PARTITIONS, Rules, Site, World, produce, publish, wait_for};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_record_that_is_none_of_ours_stops_its_partition_aloud() {
    let site = Site::new(World::new("foreign"), &Rules::of(&["dev-1", "dev-2", "dev-3", "dev-4"]));
    let role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    produce(&site.world.kafka, &site.world.kafka_topic("journal"), "", b"\xff\xff\xff none of ours");
    let text = wait_for(SOON, "/readyz to say which partition stands still", || match role.get("/readyz") {
        (503, text) if text.contains("stands still at offset") => Ok(text),
        (status, text) => Err(format!("{status} {text}")),
    });
    let count = PartitionCount::new(PARTITIONS).expect("at least one");
    let stopped: Vec<u32> =
        count.all().map(|partition| partition.0).filter(|n| text.contains(&format!("partition {n}: NOT READY"))).collect();
    assert_eq!(stopped.len(), 1, "{text}");

    for device in ["dev-1", "dev-2", "dev-3", "dev-4"] {
        publish(&site.world.mosquitto, &format!("lw/v1/{device}/duress"), br#"{"id":"p-1"}"#);
    }
    let stands = |device: &str| stopped.contains(&count.of(device).0);
    alerts.wait_alerts(SOON, "every press, and its second revision where the partition works", |alerts| {
        let told =
            |device: &str, revision: u64| alerts.iter().any(|alert| alert.text("device") == device && alert.revision == revision);
        let devices = ["dev-1", "dev-2", "dev-3", "dev-4"];
        devices.iter().all(|device| told(device, 1) && (stands(device) || told(device, 2))).then_some(())
    });
    assert!(
        !alerts.alerts().iter().any(|alert| stands(alert.text("device")) && alert.revision > 1),
        "a stopped partition says nothing more"
    );
}
