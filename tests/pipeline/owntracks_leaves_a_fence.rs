//! A phone with OwnTracks walks out of a GeoJSON fence, and the centre reads it with a client that is not ours.

use std::time::Duration;

use lonewatch::clock::wall_millis;

use crate::rig::{Follower, Rules, Site, World, figure, publish, timed};

const SOON: Duration = Duration::from_secs(20);
const HOME: (f64, f64) = (51.507, -0.127);

/// As the app publishes it; times in whole seconds.
pub(crate) fn location((lat, lon): (f64, f64), age_seconds: i64) -> String {
    let tst = wall_millis() / 1_000 - age_seconds;
    format!(
        r#"{{"_type":"location","tid":"JP","lat":{lat},"lon":{lon},"acc":8,"alt":12,"vel":4,"cog":90,"batt":81,"bs":1,"conn":"w","t":"u","tst":{tst}}}"#
    )
}

#[test]
fn owntracks_leaves_a_fence() {
    let site = Site::new(World::new("owntracks"), &Rules::of(&["jane.phone"]).keep_in("home", HOME, 0.001));
    let _role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let walk = |at, age| publish(&site.world.mosquitto, "owntracks/jane/phone", location(at, age).as_bytes());
    walk(HOME, 2);
    // 90 m off the fence's edge: past the accuracy of 8 m and the buffer of 15 m.
    let outside = (HOME.0 + 0.0018, HOME.1);
    let (seen, took) = timed(|| {
        walk(outside, 0);
        alerts.wait_device_alerts(SOON, "the fence to be left", |alerts| alerts.first().cloned())
    });
    figure(&format!("a fence exit is read by kcat {took:?} after publishing began"));
    assert_eq!((seen.text("kind"), seen.text("device"), seen.text("subject")), ("fence_exited", "jane.phone", "home"));
    assert_eq!((seen.revision, seen.text("state"), seen.text("grade")), (1, "active", "certain"));
    assert_eq!(seen.json["place"]["lat"], outside.0);

    walk(HOME, 0);
    let back = alerts.wait_device_alerts(SOON, "the device to be back", |alerts| alerts.get(1).cloned());
    assert_eq!((back.id.as_str(), back.revision, back.text("state")), (seen.id.as_str(), 2, "cleared"));
}
