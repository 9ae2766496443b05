//! A device without an id of its own sends the same bytes on two days: two calls for help, not a repeat of one.

use std::time::Duration;

use crate::rig::{Follower, Probes, Rules, Site, World, ids, publish, revisions};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_same_junk_press_on_two_days() {
    let site = Site::new(World::new("two-days"), &Rules::of(&["dev-1"]));
    let _role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    // Days differ by the probes between them; two are as good as a hundred thousand.
    let probes = Probes::start(&site.world.mosquitto);
    let both_revisions = |wanted: usize| {
        alerts.wait_device_alerts(SOON, "both revisions of each press", |alerts| {
            let whole = revisions(alerts).values().filter(|seen| **seen == [1, 2].into()).count();
            (whole == wanted).then(|| alerts.to_vec())
        })
    };
    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", b"SOS");
    both_revisions(1);
    probes.wait_further(2);
    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", b"SOS");
    let seen = both_revisions(2);
    assert_eq!(ids(&seen).len(), 2);
    // The machine sees them as one episode all the same.
    let second = seen.iter().rfind(|alert| alert.revision == 2).unwrap();
    assert_eq!(second.json["episode"]["press"], 2);
}
