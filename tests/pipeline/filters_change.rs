//! Filters leave the configuration while a session at the broker still holds them, and the mirror still has them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::rig::{Follower, Rules, Site, World, outline, publish, wait_for};

const SOON: Duration = Duration::from_secs(40);

/// Ends the section of the feed with these sources: lane and filter.
fn configure(site: &Site, sources: &[(&str, &str)]) {
    let detect = "[detect]";
    let source = |(lane, filter): &(&str, &str)| format!("[[ingest.feeds.sources]]\nlane = \"{lane}\"\nfilter = \"{filter}\"\n");
    let sources = sources.iter().map(source).collect::<Vec<_>>().concat();
    let plain = site.configuration("main", crate::rig::PARTITIONS);
    site.configure(&plain.replace(detect, &format!("{sources}{detect}")));
}

/// Each probe of the mirror became a critical press of nobody, one a second; and so did each report of a filter that had gone from the
/// duress lane to the other, for as long as the session lived.
#[test]
fn what_a_former_filter_still_brings_is_no_probe_turned_press() {
    let site = Site::new(World::new("filters-change"), &Rules::of(&["dev-1"]));
    let kept = [("duress", "lw/v1/+/duress"), ("reports", "lw/v1/+/report")];
    configure(&site, &[kept[0], ("duress", "old/+/duress"), ("duress", "moved/+/word"), kept[1]]);
    let mut former = site.run();
    let mut mirror = site.launch_as("ingest", "b");
    mirror.wait_ready();
    assert_eq!(former.stop().code(), Some(0));
    configure(&site, &[kept[0], kept[1], ("reports", "moved/+/word")]);
    let role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    wait_for(SOON, "probes of the mirror to be passed over", || {
        let passed_over = role.metric("lonewatch_mqtt_passed_over_total", &[]);
        if passed_over >= 3.0 { Ok(()) } else { Err(passed_over) }
    });
    let session = "feed main lane duress session: ready, but the session";
    assert!(!role.get("/readyz").1.contains(session), "probes alone show nothing that anybody need mend");
    // It would tell of a press on what its own configuration calls duress.
    assert_eq!(mirror.stop().code(), Some(0));
    publish(&site.world.mosquitto, "moved/dev-1/word", b"{}");
    publish(&site.world.mosquitto, "old/dev-1/duress", b"{}");
    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", br#"{"id":"p-1"}"#);
    let seen = alerts.wait_alerts(SOON, "both presses", |alerts| {
        let whole = crate::rig::revisions(alerts).values().filter(|seen| **seen == [1, 2].into()).count();
        (whole >= 2).then(|| alerts.to_vec())
    });
    let pressed: BTreeSet<&str> =
        seen.iter().filter(|alert| alert.text("kind") == "duress").map(|alert| &alert.text("device")[..2]).collect();
    let count = crate::rig::ids(&seen.iter().filter(|alert| alert.text("kind") == "duress").cloned().collect::<Vec<_>>()).len();
    assert_eq!((pressed, count), (BTreeSet::from(["de", "x-"]), 2), "{}", outline(&seen));
    let (status, text) = role.get("/readyz");
    assert!(status == 200 && text.contains(session), "{text}");
}
