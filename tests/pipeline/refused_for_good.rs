//! Kafka takes neither a press's alert nor its quarantine record, now or later: no receipt is sent, `/readyz` says why, and the lane goes
//! on. (It stood still: what was refused twice never counted as done.)

use std::time::Duration;

use crate::rig::{CENTRE, PARTITIONS, Rules, Site, Subscriber, World, publish, wait_for};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn what_is_refused_for_good_gets_no_receipt_and_holds_up_nothing() {
    let world = World::new("refused");
    for topic in [format!("alerts.{CENTRE}"), "quarantine".to_owned()] {
        world.kafka.create_topic(&world.kafka_topic(&topic), PARTITIONS, &["max.message.bytes=200"]);
    }
    let site = Site::new(world, &Rules::of(&["dev-1"]));
    let role = site.run();
    let receipts = Subscriber::start(&site.world.mosquitto, "lw/v1/+/rx");
    for press in ["p-1", "p-2"] {
        publish(&site.world.mosquitto, "lw/v1/dev-1/duress", format!("{{\"id\":\"{press}\"}}").as_bytes());
    }
    wait_for(SOON, "/readyz to say why", || match role.get("/readyz") {
        (503, text) if text.contains("lane duress refused: NOT READY: Kafka has refused a record for good (too_large)") => Ok(()),
        (status, text) => Err(format!("{status} {text}")),
    });
    wait_for(SOON, "both presses to be let go", || {
        let (seen, waiting) =
            (role.metric("lonewatch_presses_total", &[]), role.metric("lonewatch_mqtt_unacknowledged", &["lane=\"duress\""]));
        if seen >= 2.0 && waiting < 1.0 { Ok(()) } else { Err(format!("{seen} seen, {waiting} waiting")) }
    });
    // The reports lane works: a receipt that is owed comes, and it is the only one.
    publish(&site.world.mosquitto, "lw/v1/dev-1/report", br#"{"id":"r-1","receipt":true}"#);
    wait_for(SOON, "the report's receipt", || if receipts.messages().is_empty() { Err("none".to_owned()) } else { Ok(()) });
    let all: Vec<String> =
        receipts.messages().iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect();
    assert_eq!(all, [r#"{"id":"r-1"}"#]);
}
