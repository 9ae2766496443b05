//! `lonewatch check device`: what a device does wrong shows while it does it, and is summed up with its mend.

use std::time::Duration;

use crate::rig::{Lonewatch, MosquittoOptions, Rules, Site, World, publish, publish_with, wait_for};

const SOON: Duration = Duration::from_mins(1);

/// Starts the watch, and returns when its subscriptions stand.
#[track_caller]
fn watch(site: &Site, device: &str) -> Lonewatch {
    let mut watch = site.follow(&["check", "device", device]);
    watch.wait_said(SOON, "watching");
    wait_for(SOON, "its subscription", || {
        let log = site.world.mosquitto.log();
        if log.lines().any(|line| line.contains("lonewatch-check-") && line.contains("/rx")) { Ok(()) } else { Err(watch.tail()) }
    });
    watch
}

#[track_caller]
fn conclude(mut watch: Lonewatch) -> (bool, String) {
    let status = watch.stop(SOON);
    (status.success(), String::from_utf8_lossy(&watch.stdout()).into_owned())
}

#[track_caller]
fn must_have(said: &str, words: &[&str]) {
    let found = said.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "no line has {words:?}:\n{said}");
}

#[test]
fn quality_of_service_gaps_and_repeats_until_the_receipt_are_seen() {
    let site = Site::new(World::new("check-device"), &Rules::of(&["dev-1"]).silence("600s"));
    let mosquitto = &site.world.mosquitto;
    let mut watch = watch(&site, "dev-1");
    let report = |sequence: u32| format!(r#"{{"seq":{sequence},"fix":{{"lat":51.50741,"lon":-0.12781,"accuracy":8}}}}"#);
    publish(mosquitto, "lw/v1/dev-1/report", report(1).as_bytes());
    publish(mosquitto, "lw/v1/dev-1/report", report(4).as_bytes());
    publish_with(mosquitto, "lw/v1/dev-1/report", br#"{"seq":5,"fix":{"lat":51.50741,"lon":-0.12781}}"#, &["-q", "0"]);
    watch.wait_said(SOON, "unsaid accuracy");
    // Nobody stores it yet, so no receipt comes and the device repeats.
    let press = br#"{"id":"p-1"}"#;
    publish(mosquitto, "lw/v1/dev-1/duress", press);
    publish(mosquitto, "lw/v1/dev-1/duress", press);
    watch.wait_said(SOON, "copy 2");
    let _role = site.run();
    publish(mosquitto, "lw/v1/dev-1/duress", press);
    watch.wait_said(SOON, "receipt of the press");
    let (well, said) = conclude(watch);
    must_have(&said, &["lw/v1/dev-1/report", "QoS 1", "fix within 8 m"]);
    must_have(&said, &["lw/v1/dev-1/report", "QoS 1", "2 MISSING before it"]);
    must_have(&said, &["lw/v1/dev-1/report", "QoS 0", "unsaid accuracy"]);
    must_have(&said, &["lw/v1/dev-1/duress", "PRESS", "copy 3"]);
    must_have(&said, &["lw/v1/dev-1/rx", "receipt of the press", "3 copies"]);
    must_have(&said, &["ok", "rulebook", "a device of acme", "silence limit 600 s"]);
    must_have(&said, &["note", "QoS", "1 of 6 messages came at QoS 0", "Mend: publish at QoS 1"]);
    must_have(&said, &["note", "accuracy", "Mend:"]);
    must_have(&said, &["WRONG", "sequence", "2 missing", "Mend:"]);
    must_have(&said, &["ok", "receipt", "1 of 1 press had a receipt"]);
    assert!(!well, "a gap endangers: {said}");
    for digits in ["51.5", "50741", "12781"] {
        assert!(!said.contains(digits), "positions stay out: {said}");
    }
}

#[test]
fn a_device_that_does_all_wrong_is_told_so() {
    let options = MosquittoOptions { retain: true, ..MosquittoOptions::default() };
    let site = Site::new(World::with_mosquitto("check-device-wrong", &options), &Rules::of(&["dev-1"]));
    let mosquitto = &site.world.mosquitto;
    let mut watch = watch(&site, "joe.phone");
    let location = br#"{"_type":"location","lat":51.50741,"lon":-0.12781,"acc":12,"tst":1700000000}"#;
    publish_with(mosquitto, "owntracks/joe/phone", location, &["-r"]);
    watch.wait_said(SOON, "RETAINED");
    publish(mosquitto, "lw/v1/joe.phone/duress", br#"{"battery":50}"#);
    watch.wait_said(SOON, "PRESS");
    let (well, said) = conclude(watch);
    assert!(!well);
    must_have(&said, &["WRONG", "rulebook", "does not know the device", "[devices.\"joe.phone\"]"]);
    must_have(&said, &["WRONG", "retained", "pubRetain"]);
    must_have(&said, &["WRONG", "press id", "had no id"]);
    must_have(&said, &["note", "clock", "its freshest fix is"]);
}

#[test]
fn a_device_that_is_not_heard_is_told_where_it_should_speak() {
    let site = Site::new(World::new("check-device-silent"), &Rules::of(&["dev-1"]));
    let (status, said, _) = site.command(&["check", "device", "dev-1", "--seconds", "1"]);
    assert_eq!(status.code(), Some(1));
    must_have(&said, &["WRONG", "nothing in ", "lw/v1/dev-1/report"]);
    let (status, _, log) = site.command(&["check", "device", "dev-1", "--feed", "harbour"]);
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("no feed harbour; it has main"), "{log}");
}
