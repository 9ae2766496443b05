//! The MQTT broker does not let our probes through: reports and presses still arrive, and we say that we cannot prove to hear.

use std::time::Duration;

use crate::rig::{Follower, MosquittoOptions, Rules, Site, World, publish, wait_for};

const SOON: Duration = Duration::from_secs(40);

/// Everybody may read everything; only the device may write.
const ACCESS: &str = "topic read #\ntopic write lw/v1/dev-1/#\n";

#[test]
fn refused_probes_make_us_unready_and_blind_and_presses_go_through() {
    let options = MosquittoOptions { acl: Some(ACCESS.to_owned()), ..MosquittoOptions::default() };
    let site = Site::new(World::with_mosquitto("probes-refused", &options), &Rules::of(&["dev-1"]));
    let role = site.launch("run");
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    // The connection of the probes may say so before the lane of the presses listens.
    let listens = ["subscribed", "no probe of ours"].map(|word| format!("lane duress: NOT READY: {word}"));
    wait_for(SOON, "/readyz to name the MQTT topics", || match role.get("/readyz") {
        (503, text)
            if text.contains("lw/v1/_probe-a/duress")
                && text.contains("access list")
                && listens.iter().any(|words| text.contains(words)) =>
        {
            Ok(())
        }
        (status, text) => Err(format!("{status} {text}")),
    });
    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", br#"{"id":"p-1"}"#);
    // Nothing was ever heard, so nobody has named a rulebook to the machines: the heartbeat says that the feed was never heard.
    alerts.wait_alerts(SOON, "both revisions of the press", |alerts| {
        let revisions: Vec<u64> =
            alerts.iter().filter(|alert| alert.text("kind") == "duress").map(|alert| alert.revision).collect();
        (revisions.contains(&1) && revisions.contains(&2)).then_some(())
    });
    let heard_nothing = |value: &[u8]| String::from_utf8_lossy(value).contains(r#""heard_behind_millis":null"#);
    wait_for(SOON, "a heartbeat that says so", || {
        let said = alerts.records().iter().any(|record| record.value.as_deref().is_some_and(heard_nothing));
        if said { Ok(()) } else { Err("no such heartbeat".to_owned()) }
    });
}

/// All but one of the probes may be written. The reports lane blamed the right to read all of its filters, and subscribed anew every 10 s.
#[test]
fn one_refused_probe_of_several_is_named_and_ends_no_connection() {
    let write = ["lw/v1/dev-1/#", "lw/v1/_probe-a/duress", "lw/v1/_probe-a/report", "owntracks/_probe-a/_probe-a/#"];
    let acl = format!("topic read #\n{}", write.map(|topic| format!("topic write {topic}\n")).concat());
    let options = MosquittoOptions { acl: Some(acl), ..MosquittoOptions::default() };
    let site = Site::new(World::with_mosquitto("one-probe-refused", &options), &Rules::of(&["dev-1"]));
    let role = site.launch("run");
    let of = |text: &str, part: &str| text.lines().find(|line| line.starts_with(part)).unwrap_or_default().to_owned();
    wait_for(SOON, "/readyz to name the one MQTT topic, twice", || {
        let (_, text) = role.get("/readyz");
        let [lane, probes] = ["feed main lane reports:", "feed main probes:"].map(|part| of(&text, part));
        let says = |line: &str, words: &str| line.contains(words) && !line.contains("_probe-a/report");
        let both = says(&lane, "no probe of ours has come back on lw/v1/+/status for 10 s or more")
            && says(&lane, "publish on lw/v1/_probe-a/status in")
            && says(&probes, "publish on lw/v1/_probe-a/status in");
        if both { Ok(()) } else { Err(text) }
    });
    assert!(!role.log().contains("Subscribing anew"), "{}", role.tail());
}
