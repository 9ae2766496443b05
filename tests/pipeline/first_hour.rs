//! The first hour of a site: the README's commands, a press of junk and one of JSON, two revisions each, and the device's receipts.

use std::time::Duration;

use crate::rig::{Follower, Site, Subscriber, World, figure, ids, publish, revisions, timed};

const SOON: Duration = Duration::from_secs(20);

/// No UTF-8, and a zero byte in it.
const JUNK: &[u8] = b"help\xff\x00me";

#[test]
fn first_hour() {
    let site = Site::bare(World::new("first-hour"));
    let rules = site.rules_folder();
    let rules = rules.to_str().unwrap();
    site.must(&["topics", "create"]);
    site.must(&["rules", "init", rules]);
    site.must(&["rules", "check", rules]);
    site.must(&["rules", "apply", rules, "--reason", "the first devices"]);
    site.must(&["topics", "check"]);
    let mut role = site.run();
    let mut device = Subscriber::start(&site.world.mosquitto, "lw/v1/dev-1/rx");
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());

    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", JUNK);
    let sha256 = format!("{{\"sha256\":\"{}\"}}", lonewatch::ids::sha256_hex(JUNK));
    let ((), took) = timed(|| {
        device.wait_message(SOON, "the junk press's receipt", |message| message.payload == sha256.as_bytes());
    });
    figure(&format!("receipt of a junk press after {took:?}"));
    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", br#"{"id":"press-1","fix":{"lat":51.5,"lon":-0.12,"accuracy":8}}"#);
    device.wait_message(SOON, "the JSON press's receipt", |message| message.payload == br#"{"id":"press-1"}"#);

    let seen = alerts.wait_device_alerts(SOON, "two presses of two revisions", |alerts| {
        let whole = revisions(alerts).values().filter(|seen| seen.contains(&1) && seen.contains(&2)).count();
        (whole == 2).then(|| alerts.to_vec())
    });
    assert_eq!(ids(&seen).len(), 2, "nothing but the two presses");
    for alert in &seen {
        assert_eq!((alert.text("kind"), alert.text("device"), alert.text("severity")), ("duress", "dev-1", "critical"));
        assert_eq!(alert.is_express(), alert.revision == 1);
        if alert.revision == 2 {
            assert_eq!((alert.text("tenant"), alert.text("group")), ("acme", "visitors"), "revision 2 knows whose it is");
        }
    }
    let with_place = seen.iter().filter(|alert| alert.json["place"]["lat"] == 51.5).count();
    assert!(with_place >= 2, "the JSON press says where, in both revisions");

    let (status, text) = role.get("/readyz");
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("feed main lane duress: ready"), "{text}");
    assert_eq!(role.get("/livez").0, 200);
    assert!((role.metric("lonewatch_presses_total", &["feed=\"main\""]) - 2.0).abs() < 0.5);
    assert!((role.metric("lonewatch_duress_seconds_count", &[]) - 2.0).abs() < 0.5);
    assert_eq!(role.stop().code(), Some(0));
}
