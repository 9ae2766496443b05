//! All that an OwnTracks phone publishes, and the will of a native device, behind the access list that we advise: where the phone is
//! counts, what it tells besides is contact, what the broker says for it is not.

use std::collections::BTreeMap;
use std::time::Duration;

use lonewatch::journal::{self, MessageContent, Record};

use crate::owntracks_leaves_a_fence::location;
use crate::rig::{
    Follower, Guarded, MosquittoOptions, Rules, Site, World, consume, find_program, journal_records, outline, publish_with,
    wait_for,
};

const SOON: Duration = Duration::from_secs(30);
const HOME: (f64, f64) = (51.507, -0.127);
const OUTSIDE: (f64, f64) = (51.509, -0.127);
const PHONE: &str = "owntracks/joe/phone";
const AS_JOE: [&str; 2] = ["-u", "joe"];

const ACCESS: &str = "
pattern write lw/v1/%u/status
pattern write owntracks/%u/+
pattern write owntracks/%u/+/event

user lonewatch-a
topic read lw/v1/+/report
topic read lw/v1/+/duress
topic read lw/v1/+/status
topic read owntracks/+/+
topic read owntracks/+/+/event
topic write lw/v1/_probe-a/report
topic write lw/v1/_probe-a/duress
topic write lw/v1/_probe-a/status
topic write owntracks/_probe-a/_probe-a
topic write owntracks/_probe-a/_probe-a/event
topic write lw/v1/+/rx
";

#[test]
fn owntracks_whole() {
    let options = MosquittoOptions { acl: Some(ACCESS.to_owned()), retain: true, ..MosquittoOptions::default() };
    let world = World::with_mosquitto("owntracks-whole", &options);
    let site = Site::new(world, &Rules::of(&["joe.phone", "joe.old", "dev-1"]).keep_in("home", HOME, 0.001));
    site.configure(
        &site.configuration("main", crate::rig::PARTITIONS).replace("[detect]", "username = \"lonewatch-a\"\n[detect]"),
    );
    let say = |mqtt_topic: &str, payload: &str, further: &[&str]| {
        publish_with(&site.world.mosquitto, mqtt_topic, payload.as_bytes(), &[&AS_JOE, further].concat());
    };
    // The broker keeps this from before we listened: it must not look like a sign of life.
    say("owntracks/joe/old", &location(HOME, 0), &["-r"]);
    let role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());

    // Retained or not, what comes while we listen is the phone's word.
    say(PHONE, &location(HOME, 4), &["-r"]);
    let transition = location(OUTSIDE, 3).replace(
        "\"_type\":\"location\"",
        r#""_type":"transition","event":"leave","desc":"a region of the phone","wtst":1790000000"#,
    );
    say(&format!("{PHONE}/event"), &transition, &[]);
    let left = alerts.wait_device_alerts(SOON, "the fence to be left by a transition", |alerts| alerts.first().cloned());
    assert_eq!((left.text("kind"), left.text("device"), left.revision), ("fence_exited", "joe.phone", 1));

    // A region's coordinates, at home, are not where the phone is.
    say(PHONE, r#"{"_type":"waypoint","desc":"Home","lat":51.507,"lon":-0.127,"rad":100,"tst":1790000000}"#, &[]);
    say(PHONE, r#"{"_type":"status","android":{}}"#, &[]);
    say(PHONE, r#"{"_type":"card","name":"Joe","tid":"JO"}"#, &[]);
    say(PHONE, r#"{"_type":"encrypted","data":"AAAA"}"#, &[]);
    say(PHONE, r#"{"_type":"invented since","lat":51.507,"lon":-0.127,"tst":1790000000}"#, &[]);
    say(PHONE, r#"{"_type":"lwt","tst":1790340000}"#, &[]);
    say(PHONE, "", &[]);
    native_will(&site);
    wait_for(SOON, "all of it to be told", || {
        let of = |name: &str, label: &str| role.metric(name, &[label]);
        let unused = ["waypoint", "status", "card", "encrypted", "other"]
            .map(|what| of("lonewatch_unused_total", &format!("what=\"{what}\"")));
        let outcomes =
            ["contact_only", "will", "applied"].map(|outcome| of("lonewatch_records_total", &format!("outcome=\"{outcome}\"")));
        let seen = (unused, outcomes, of("lonewatch_mqtt_passed_over_total", "main"));
        if seen == ([1.0; 5], [5.0, 2.0, 2.0], 1.0) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let told = alerts.device_alerts();
    assert_eq!(told.len(), 1, "nothing has brought the phone home; {}", outline(&told));

    say(PHONE, &location(HOME, 0), &["-q", "0"]);
    let back = alerts.wait_device_alerts(SOON, "a location at QoS 0 to bring the phone home", |alerts| alerts.get(1).cloned());
    assert_eq!((back.id.as_str(), back.revision, back.text("state")), (left.id.as_str(), 2, "cleared"));

    let expected = [("dev-1 will", 1), ("joe.phone other", 5), ("joe.phone report", 3), ("joe.phone will", 1)];
    assert_eq!(journalled(&site), expected.map(|(what, count)| (what.to_owned(), count)).into());
    assert_eq!(consume(&site.world.kafka, &site.world.kafka_topic("quarantine")), []);
    assert_eq!(role.metric("lonewatch_mqtt_reconnects_total", &[]).to_bits(), 0_f64.to_bits());
}

/// A native device whose connection breaks without a word: the broker publishes its will.
fn native_will(site: &Site) {
    let port = site.world.mosquitto.port().to_string();
    let mut device = Guarded::start("mosquitto_sub", &find_program("mosquitto_sub"), |command| {
        command.args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-i", "dev-1", "-u", "dev-1", "-t", "lw/v1/dev-1/rx"]);
        command.args(["--will-topic", "lw/v1/dev-1/status", "--will-payload", "offline", "--will-qos", "1"]);
    });
    wait_for(SOON, "the device to be connected", || {
        if site.world.mosquitto.log().contains(" as dev-1 ") { Ok(()) } else { Err(device.tail()) }
    });
    device.kill();
}

/// Messages in the journal, by device and by what they are. None may be a retained copy.
fn journalled(site: &Site) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for record in journal_records(site) {
        match journal::decode(record.value.as_deref().unwrap_or_default()).expect("a record of the journal") {
            Record::Message(message) => {
                assert!(!message.retained, "{message:?}");
                let content = match message.content {
                    MessageContent::Report(_) => "report",
                    MessageContent::Will => "will",
                    MessageContent::Other => "other",
                    MessageContent::Unreadable(_) => "unreadable",
                };
                *counts.entry(format!("{} {content}", message.device)).or_default() += 1;
            }
            Record::Observation(_) | Record::Metronome { .. } | Record::Action => {}
        }
    }
    counts
}
