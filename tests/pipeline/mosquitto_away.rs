//! The MQTT broker is gone: `/readyz` says why, the centre is told that we are blind within 15 s, and when we see again.

use std::time::Duration;

use crate::rig::{Follower, Rules, Site, World, figure, outline, publish, timed, wait_for};

/// P5.
const BLIND_WITHIN: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(30);

#[test]
fn readyz_says_why_and_the_centre_hears_that_we_are_blind() {
    let site = Site::new(World::new("mqtt-away"), &Rules::of(&["dev-1"]).silence("5s"));
    let mut role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    publish(&site.world.mosquitto, "lw/v1/dev-1/report", br#"{"battery":80}"#);

    let ((), blind_after) = timed(|| {
        site.world.mosquitto.stop();
        let text = wait_for(SOON, "/readyz to say no", || match role.get("/readyz") {
            (503, text)
                if text.contains("feed main lane duress: NOT READY") && text.contains("feed main lane reports: NOT READY") =>
            {
                Ok(text)
            }
            (status, text) => Err(format!("{status} {text}")),
        });
        assert!(text.contains("feed main lane duress: NOT READY: "), "{text}");
        assert!(!text.contains("NOT READY: \n"), "a reason stands behind it: {text}");
        alerts.wait_alerts(SOON, "blindness to be told", |alerts| {
            alerts.iter().any(|alert| alert.text("kind") == "blind" && alert.text("state") == "active").then_some(())
        });
    });
    figure(&format!("blind is on the alerts topic {blind_after:?} after Mosquitto was told to stop"));
    assert!(blind_after < BLIND_WITHIN, "{blind_after:?}");
    let blind = alerts.alerts_of("blind").remove(0);
    assert_eq!((blind.text("feed"), blind.text("severity")), ("main", "critical"));
    assert_eq!(blind.json["tenants"], serde_json::json!(["acme"]));

    let ((), seeing_after) = timed(|| {
        site.world.mosquitto.restart();
        alerts.wait_alerts(SOON, "blindness to be over", |alerts| {
            let over = |id: &str| alerts.iter().any(|alert| alert.id == id && alert.text("state") == "cleared");
            over(&blind.id).then_some(())
        });
    });
    figure(&format!("seeing again is told {seeing_after:?} after Mosquitto was started again"));
    role.wait_ready();
    publish(&site.world.mosquitto, "lw/v1/dev-1/report", br#"{"battery":80}"#);
    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", b"and presses arrive");
    let seen = alerts.wait_alerts(SOON, "a press afterwards", |alerts| {
        alerts.iter().any(|alert| alert.text("kind") == "duress" && alert.revision == 2).then(|| alerts.to_vec())
    });
    // The device was as unheard as the broker, for longer than its limit: our outage, not its silence (P4).
    assert!(!seen.iter().any(|alert| alert.text("kind") == "lost_contact"), "{}", outline(&seen));
}
