//! One fix leaves two fences: two causes to act on, so two alerts under two ids.

use std::time::Duration;

use crate::owntracks_leaves_a_fence::location;
use crate::rig::{Follower, Rules, Site, World, ids, publish};

const SOON: Duration = Duration::from_secs(20);
const HOME: (f64, f64) = (51.507, -0.127);

#[test]
fn a_fix_that_leaves_two_fences_gives_two_ids() {
    let rules = Rules::of(&["jane.phone"]).keep_in("house", HOME, 0.001).keep_in("street", HOME, 0.002);
    let site = Site::new(World::new("two-fences"), &rules);
    let _role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let walk = |at, age| publish(&site.world.mosquitto, "owntracks/jane/phone", location(at, age).as_bytes());
    walk(HOME, 2);
    walk((HOME.0 + 0.01, HOME.1), 0);
    let seen = alerts.wait_device_alerts(SOON, "both fences to be left", |alerts| (alerts.len() >= 2).then(|| alerts.to_vec()));
    assert_eq!(ids(&seen).len(), 2);
    let subjects: Vec<&str> = seen.iter().map(|alert| alert.text("subject")).collect();
    assert_eq!(subjects, ["house", "street"], "in the order of their names");
    assert!(seen.iter().all(|alert| alert.text("kind") == "fence_exited" && alert.revision == 1));
    assert_eq!(seen[0].json["cause"], seen[1].json["cause"], "one event is the cause of both");
}
