//! Two feeds, each with a broker of its own. One tenant's devices may speak on both, another's on one. When one broker is gone, silence
//! stands still for every tenant that it carries, also on the feed that is heard; presses there go on; afterwards silence counts again.

use std::time::Duration;

use crate::rig::{
    CENTRE, Follower, Mosquitto, PARTITIONS, Probes, Rules, SeenAlert, Site, World, ids, once_a_second, outline, publish,
    wait_for,
};

const SOON: Duration = Duration::from_secs(40);
/// Longer than the silence limit and the reconnect grace together.
const STILL_SECONDS: usize = 14;

#[test]
fn a_tenants_silence_counts_while_all_of_its_feeds_are_heard() {
    let site = Site::bare(World::new("feeds"));
    let second = Mosquitto::start();
    install(&site, &second);
    let mut role = site.launch("run");
    role.wait_ready();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let main = &site.world.mosquitto;
    let probes = Probes::start(main);
    // The third device of these rules never speaks, and its tenant is not on the second feed.
    let speak = || {
        publish(main, "lw/v1/both/report", b"{}");
        publish(&second, "lw/v1/second-only/report", b"{}");
    };
    role.wait_watching_while(once_a_second(speak));
    speak();

    second.stop();
    let blind = alerts.wait_alerts(SOON, "the second feed to be blind", |seen| {
        seen.iter().find(|alert| is_blind(alert) && alert.text("state") == "active").cloned()
    });
    assert_eq!(blind.json["tenants"], serde_json::json!(["acme", "beta"]), "those that it carries");
    probes.wait_further(STILL_SECONDS);
    publish(main, "lw/v1/both/duress", br#"{"id":"p-1"}"#);
    alerts.wait_alerts(SOON, "the press on the feed that is heard", |seen| {
        seen.iter().any(|alert| alert.text("kind") == "duress" && alert.revision == 2).then_some(())
    });
    // Whoever is on the first feed alone is watched all the time, and was silent for long enough.
    let lost = alerts.wait_alerts(SOON, "the silence on the feed that is heard", |seen| {
        seen.iter().find(|alert| alert.text("kind") == "lost_contact").cloned()
    });
    assert_eq!(lost.text("device"), "main-only");
    let devices = lost_devices(&alerts);
    assert_eq!(devices, ["main-only"], "{}", outline(&alerts.alerts()));

    second.restart();
    wait_for(SOON, "silence to count again", || {
        let devices = lost_devices(&alerts);
        if devices == ["both", "main-only", "second-only"] { Ok(()) } else { Err(format!("{devices:?}; {}", role.tail())) }
    });
    let seen: Vec<SeenAlert> = alerts.alerts().into_iter().filter(is_blind).collect();
    assert_eq!(ids(&seen).len(), 1, "{}", outline(&seen));
    assert!(seen.iter().any(|alert| alert.text("state") == "cleared"), "{}", outline(&seen));
    let other: Vec<SeenAlert> = alerts.unexplained_blindness().into_iter().filter(|alert| !is_blind(alert)).collect();
    assert!(other.is_empty(), "the first feed was heard all the time: {}", outline(&other));
}

/// (Nothing started: a feed that somebody had taken out of the rulebook did no harm until the ingesters' next restart, which then heard nobody.)
#[test]
fn a_feed_that_cannot_start_keeps_no_other_waiting_and_starts_when_it_can() {
    let site = Site::new(World::new("late-feed"), &Rules::of(&["dev-1"]));
    let second = Mosquitto::start();
    configure(&site, &second);
    let mut role = site.launch("run");
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let text = wait_for(SOON, "the first feed to be heard", || {
        let (_, text) = role.get("/readyz");
        if text.contains("feed main lane duress: ready") { Ok(text) } else { Err(text) }
    });
    assert!(text.contains("feed second lane duress: NOT READY: the rulebook has no feed second"), "{text}");
    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", br#"{"id":"p-1"}"#);
    alerts.wait_alerts(SOON, "the press on the feed that runs", |seen| (!seen.is_empty()).then_some(()));

    let installation = site.rules_folder().join("installation.toml");
    let text = std::fs::read_to_string(&installation).expect("the rulebook's folder");
    let entry = format!("[feeds.second]\ntenants = [\"acme\"]\nfallback_centre = \"{CENTRE}\"\n");
    std::fs::write(&installation, text + &entry).expect("write the rulebook");
    site.apply();
    role.wait_ready();
    publish(&second, "lw/v1/dev-1/duress", br#"{"id":"p-2"}"#);
    alerts.wait_alerts(SOON, "the press on the feed that came late", |seen| {
        seen.iter().any(|alert| alert.is_express() && alert.text("feed") == "second").then_some(())
    });
    assert_eq!(role.stop().code(), Some(0));
}

/// That we do not hear the feed whose broker is gone.
fn is_blind(alert: &SeenAlert) -> bool {
    alert.text("kind") == "blind" && alert.text("feed") == "second"
}

/// Devices that were ever said to be lost, in order.
fn lost_devices(alerts: &Follower) -> Vec<String> {
    let mut devices: Vec<String> = alerts.alerts_of("lost_contact").iter().map(|alert| alert.text("device").to_owned()).collect();
    devices.sort();
    devices.dedup();
    devices
}

fn configure(site: &Site, second: &Mosquitto) {
    let feed = format!("[[ingest.feeds]]\nname = \"second\"\nurl = \"mqtt://{}\"\n[detect]", second.address());
    site.configure(&site.configuration("main", PARTITIONS).replacen("[detect]", &feed, 1));
}

fn install(site: &Site, second: &Mosquitto) {
    configure(site, second);
    let write = |file: &str, text: String| {
        let path = site.rules_folder().join(file);
        std::fs::create_dir_all(path.parent().expect("a file of the folder")).expect("make the rulebook folder");
        std::fs::write(path, text).expect("write the rulebook");
    };
    let feed = |name: &str, tenants: &str| format!("[feeds.{name}]\ntenants = {tenants}\nfallback_centre = \"{CENTRE}\"\n");
    write(
        "installation.toml",
        format!(
            "reconnect_grace = \"1s\"\n[rules]\nlost_contact = {{ silence = \"10s\" }}\nbattery_low = false\n[centres.{CENTRE}]\n{}{}",
            feed("main", r#"["acme", "gamma"]"#),
            feed("second", r#"["acme", "beta"]"#),
        ),
    );
    for (tenant, device) in [("acme", "both"), ("beta", "second-only"), ("gamma", "main-only")] {
        let text = format!("centre = \"{CENTRE}\"\nzone = \"Europe/London\"\n[devices.\"{device}\"]\n");
        write(&format!("tenants/{tenant}.toml"), text);
    }
    site.must(&["topics", "create"]);
    site.apply();
}
