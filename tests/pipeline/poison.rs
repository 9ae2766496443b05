//! Bytes that no decoder takes, through real MQTT: the session lives on, quarantine holds exactly them, and a press is never among the lost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::rig::{
    Follower, KafkaRecord, MosquittoOptions, Role, Rules, Site, World, consume, ids, outline, publish, publish_refused,
    publish_with, revisions, wait_for,
};

const SOON: Duration = Duration::from_secs(30);
const REPORT: &str = "lw/v1/dev-1/report";
const PRESS: &str = "lw/v1/dev-1/duress";

/// MQTT topic, bytes, and the reason that quarantine gives.
fn poison() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let deep = |open: &str, close: &str| [open.repeat(4_000), close.repeat(4_000)].concat().into_bytes();
    let nine_kib = format!(r#"{{"battery":50,"note":"{}"}}"#, "x".repeat(9 * 1024)).into_bytes();
    vec![
        (REPORT, b"{\"battery\":\xff\xfe}".to_vec(), "not_utf8"),
        (REPORT, deep("[", "]"), "not_json"),
        // 24 KB of it.
        (REPORT, deep(r#"{"a":"#, "}"), "too_large"),
        ("owntracks/jane/phone", deep("[", "]"), "not_json"),
        (REPORT, nine_kib, "too_large"),
        (REPORT, Vec::new(), "empty"),
        (REPORT, br#"{"fix":{"lat":NaN,"lon":1}}"#.to_vec(), "not_json"),
        (REPORT, br#"{"fix":{"lat":1e999,"lon":1}}"#.to_vec(), "not_json"),
        (REPORT, br#"{"fix":{"lat":91,"lon":1}}"#.to_vec(), "out_of_range"),
        (REPORT, br#"{"device":"dev-2","battery":50}"#.to_vec(), "another_device"),
        (REPORT, br#"{"battery":"full","fix":[]}"#.to_vec(), "wrong_shape"),
        ("lw/v1/bad id!/report", br#"{"battery":50}"#.to_vec(), "illegal_device_id"),
    ]
}

#[test]
fn poison_on_the_reports_lane() {
    let site = Site::new(World::new("poison-reports"), &Rules::of(&["dev-1", "dev-2", "jane.phone"]));
    let role = site.run();
    let poison = poison();
    for (mqtt_topic, payload, _) in &poison {
        publish(&site.world.mosquitto, mqtt_topic, payload);
    }
    publish_refused(&site.world.mosquitto, REPORT, &one_mebibyte(), &[]);
    publish(&site.world.mosquitto, REPORT, br#"{"battery":50}"#);
    wait_for(SOON, "the good report after all the bad", || {
        let applied = role.metric("lonewatch_records_total", &["outcome=\"applied\""]);
        if applied >= 1.0 { Ok(()) } else { Err(applied) }
    });
    let held = quarantine(&site);
    let expected: Vec<_> = poison.iter().map(|(topic, payload, reason)| (*topic, payload.as_slice(), *reason, false)).collect();
    assert_holds_exactly(&held, &expected);
    assert_one_session(&site, &role);
}

#[test]
fn poison_on_the_duress_lane_alerts() {
    let site = Site::new(World::new("poison-duress"), &Rules::of(&["dev-1"]));
    let role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let nine_kib = vec![b'7'; 9 * 1024];
    let deep = "[".repeat(4_000).into_bytes();
    let presses: Vec<(&str, &[u8], &str)> = vec![
        (PRESS, b"\xff\xfe junk \x00", "not_utf8"),
        (PRESS, b"", "empty"),
        (PRESS, &deep, "not_json"),
        (PRESS, &nine_kib, "too_large"),
        (PRESS, br#"{"device":"dev-2","id":"claims-another"}"#, "another_device"),
        (PRESS, br#"{"id":"press-7","fix":{"lat":"north","lon":1}}"#, "wrong_shape"),
        ("lw/v1/bad id!/duress", b"help", "illegal_device_id"),
        ("lw/v1/_probe-a/duress", b"somebody speaks in our name", "illegal_device_id"),
    ];
    for (mqtt_topic, payload, _) in &presses {
        publish(&site.world.mosquitto, mqtt_topic, payload);
    }
    // The broker has a limit, and the device is told by it; nothing of these reaches us.
    publish_refused(&site.world.mosquitto, PRESS, &one_mebibyte(), &[]);
    publish_refused(&site.world.mosquitto, PRESS, b"help", &["-r"]);
    let seen = alerts.wait_device_alerts(SOON, "every press in two revisions", |alerts| {
        let whole = revisions(alerts).values().filter(|seen| **seen == [1, 2].into()).count();
        (whole == presses.len()).then(|| alerts.to_vec())
    });
    let mut by_device: BTreeMap<&str, usize> = BTreeMap::new();
    for alert in seen.iter().filter(|alert| alert.revision == 2) {
        *by_device.entry(alert.text("device").split('-').next().unwrap()).or_default() += 1;
    }
    assert_eq!(by_device, BTreeMap::from([("dev", 6), ("x", 2)]), "an illegal id alerts under an id of ours");
    let held = quarantine(&site);
    let expected: Vec<_> = presses.iter().map(|(topic, payload, reason)| (*topic, *payload, *reason, true)).collect();
    assert_holds_exactly(&held, &expected);
    assert_one_session(&site, &role);
}

/// A broker that takes retained messages: such a press alerts once, and not again whenever an ingester subscribes.
#[test]
fn a_retained_press_alerts_once() {
    let options = MosquittoOptions { retain: true, ..MosquittoOptions::default() };
    let site = Site::new(World::with_mosquitto("poison-retained", &options), &Rules::of(&["dev-1"]));
    let mut role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let both = |count: usize| {
        alerts.wait_device_alerts(SOON, "every press in two revisions", |alerts| {
            let whole = revisions(alerts).values().filter(|seen| **seen == [1, 2].into()).count();
            (whole == count).then(|| alerts.to_vec())
        })
    };
    publish_with(&site.world.mosquitto, PRESS, b"help", &["-r"]);
    both(1);
    assert_eq!(role.stop().code(), Some(0));
    let _role = site.run();
    publish(&site.world.mosquitto, PRESS, br#"{"id":"p-1"}"#);
    let seen = both(2);
    assert_eq!(ids(&seen).len(), 2, "{}", outline(&seen));
}

fn one_mebibyte() -> Vec<u8> {
    vec![b'7'; 1 << 20]
}

#[track_caller]
fn quarantine(site: &Site) -> Vec<Value> {
    consume(&site.world.kafka, &site.world.kafka_topic("quarantine")).iter().map(KafkaRecord::json).collect()
}

/// Expected: MQTT topic, bytes, reason, whether it was a press.
#[track_caller]
fn assert_holds_exactly(held: &[Value], expected: &[(&str, &[u8], &str, bool)]) {
    let field = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let mut held: Vec<_> = held
        .iter()
        .map(|record| {
            (
                field(record, "mqtt_topic"),
                field(record, "sha256"),
                field(record, "reason"),
                record["press"] == true,
                record["bytes"].as_u64(),
            )
        })
        .collect();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(topic, payload, reason, press)| {
            let len = u64::try_from(payload.len()).ok();
            ((*topic).to_owned(), lonewatch::ids::sha256_hex(payload), (*reason).to_owned(), *press, len)
        })
        .collect();
    held.sort();
    expected.sort();
    assert_eq!(held, expected);
}

/// Neither lane has lost its MQTT session: we have not noticed, nor has the broker.
#[track_caller]
fn assert_one_session(site: &Site, role: &Role) {
    assert_eq!(role.metric("lonewatch_mqtt_reconnects_total", &[]).to_bits(), 0_f64.to_bits());
    let log = site.world.mosquitto.log();
    for lane in ["duress", "reports"] {
        let connects = log.matches(&format!("as lonewatch-a-main-{lane} ")).count();
        assert_eq!(connects, 1, "{log}");
    }
}
