//! A tracker behind Traccar, configured as docs/DEVICES.md says, word for word: it leaves a fence, and its SOS alerts whatever its position.

use std::time::Duration;

use lonewatch::clock::wall_millis;

use crate::rig::{
    Follower, MosquittoOptions, PARTITIONS, Rules, SeenAlert, Site, World, figure, ids, keep_within_a_day, outline, publish_with,
    revisions, timed, wait_for,
};

const SOON: Duration = Duration::from_secs(30);
const HOME: (f64, f64) = (51.507, -0.127);
const OUTSIDE: (f64, f64) = (51.509, -0.127);
const IMEI: &str = "356307042441013";

#[test]
fn traccar_gateway() {
    let documents = include_str!("../../docs/DEVICES.md");
    let options = MosquittoOptions { acl: Some(block(documents, "user traccar\n").to_owned()), ..MosquittoOptions::default() };
    let site = Site::new(World::with_mosquitto("traccar", &options), &Rules::of(&[IMEI]).keep_in("home", HOME, 0.001));
    let address = site.world.mosquitto.address();
    let feed = block(documents, "name = \"trackers\"").replace("\"trackers\"", "\"main\"\nusername = \"lonewatch-a\"");
    let ours = site.configuration("main", PARTITIONS);
    let (before, after) = ours.split_once("[[ingest.feeds]]").expect("the rig's configuration has a feed");
    let (_, after) = after.split_once("[detect]").expect("the rig's configuration has a detector");
    site.configure(&format!("{before}{}\n[detect]{after}", feed.replace("127.0.0.1:1883", &address)));
    let role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let forward =
        |payload: &str| publish_with(&site.world.mosquitto, "traccar/gw-1/positions", payload.as_bytes(), &["-u", "traccar"]);

    keep_within_a_day(SOON);
    forward(&position(IMEI, HOME, 3, "motion"));
    let outside = position(IMEI, OUTSIDE, 2, "lowBattery,sos");
    let (press, took) = timed(|| {
        forward(&outside);
        alerts.wait_alerts(SOON, "the press", |alerts| alerts.iter().find(|alert| alert.is_express()).cloned())
    });
    figure(&format!("an SOS that Traccar forwards is read by kcat {took:?} after publishing began"));
    assert_eq!((press.text("device"), press.revision), (IMEI, 1));
    assert_eq!(press.json["place"]["lat"], OUTSIDE.0);
    assert!(press.is_express(), "from ingest, as soon as it is decoded");
    let answered = |seen: &[SeenAlert], presses: usize| {
        let pressed: Vec<SeenAlert> = seen.iter().filter(|alert| alert.text("kind") == "duress").cloned().collect();
        (revisions(&pressed).len() == presses && revisions(&pressed).values().all(|seen| *seen == [1, 2].into())).then_some(())
    };
    alerts.wait_alerts(SOON, "both revisions", |seen| answered(seen, 1));
    let left = alerts.wait_alerts(SOON, "the fence to be left", |alerts| {
        alerts.iter().find(|alert| alert.text("kind") == "fence_exited").cloned()
    });
    assert_eq!((left.text("device"), left.text("subject")), (IMEI, "home"));

    // What Traccar delivers twice is one press; what has no place, or no legal name, is one more.
    forward(&outside);
    forward(&position(IMEI, HOME, 1, "sos").replace("\"valid\":true", "\"valid\":false"));
    forward(&position("no legal id", HOME, 0, "sos"));
    alerts.wait_alerts(SOON, "three presses in all", |seen| answered(seen, 3));
    wait_for(SOON, "the repeat to be known as one", || {
        let repeats = role.metric("lonewatch_records_total", &["outcome=\"press_repeat\""]);
        if repeats >= 1.0 { Ok(()) } else { Err(outline(&alerts.alerts())) }
    });
    let seen = alerts.alerts();
    let pressed: Vec<SeenAlert> = seen.iter().filter(|alert| alert.text("kind") == "duress").cloned().collect();
    assert_eq!(ids(&pressed).len(), 3, "{}", outline(&seen));
    assert_eq!(pressed.iter().filter(|alert| alert.text("device").starts_with("x-")).count(), 2, "in two revisions");
    assert!(!seen.iter().any(|alert| alert.id == left.id && alert.revision > 1), "no fix, so nobody is back; {}", outline(&seen));
    let quarantined = |reason: &str| role.metric("lonewatch_quarantined_total", &[&format!("reason=\"{reason}\"")]);
    assert_eq!((quarantined("illegal_device_id"), role.metric("lonewatch_quarantined_total", &[])), (1.0, 1.0));
}

/// The fenced block of a document that has these words.
fn block<'a>(document: &'a str, words: &str) -> &'a str {
    let blocks = document.split("```").skip(1).step_by(2);
    let found = blocks.map(|block| block.split_once('\n').map_or("", |(_language, text)| text)).find(|text| text.contains(words));
    found.unwrap_or_else(|| panic!("docs/DEVICES.md has no block with {words:?}"))
}

/// A position as Traccar forwards it; fix and message are so old.
fn position(device: &str, (latitude, longitude): (f64, f64), age_seconds: i64, alarm: &str) -> String {
    let at = iso(wall_millis() / 1_000 - age_seconds);
    format!(
        r#"{{"position":{{"id":0,"attributes":{{"batteryLevel":64,"alarm":"{alarm}","motion":true}},"deviceId":7,"protocol":"gt06","serverTime":"{at}","deviceTime":"{at}","fixTime":"{at}","outdated":false,"valid":true,"latitude":{latitude},"longitude":{longitude},"altitude":0.0,"speed":0.0,"course":0.0,"address":null,"accuracy":0.0,"network":null}},"device":{{"id":7,"name":"a tracker","uniqueId":"{device}","status":"online"}}}}"#
    )
}

/// The time as Java writes it.
fn iso(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut day) = (1970, days);
    while day >= if is_leap(year) { 366 } else { 365 } {
        day -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year}-{:02}-{:02}T{hour:02}:{minute:02}:{:02}.000+00:00", month + 1, day + 1, second % 60)
}
