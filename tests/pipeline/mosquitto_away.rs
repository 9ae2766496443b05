//! The MQTT broker is gone: `/readyz` says why, the centre is told that we are blind within 15 s, and when we see again.

use std::time::Duration;

use lonewatch::clock::wall_millis;

use crate::rig::{Follower, Rules, SeenAlert, Site, World, figure, once_a_second, outline, publish, timed, wait_for, wait_until};

/// P5.
const BLIND_WITHIN_MILLIS: i64 = 15_000;
/// On cores that builds and other tests share.
const READ_WITHIN: Duration = Duration::from_secs(25);
const SILENCE_SECONDS: i64 = 10;
const SOON: Duration = Duration::from_secs(30);

#[test]
fn readyz_says_why_and_the_centre_hears_that_we_are_blind() {
    let site = Site::new(World::new("mqtt-away"), &Rules::of(&["dev-1"]).silence(&format!("{SILENCE_SECONDS}s")));
    let mut role = site.start("run");
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let say = || publish(&site.world.mosquitto, "lw/v1/dev-1/report", br#"{"battery":80}"#);
    role.wait_watching_while(once_a_second(say));
    say();

    let stopped_at = wall_millis();
    let (blind, read_after) = timed(|| {
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
            let since = |alert: &&SeenAlert| alert.json["raised_at"].as_i64() >= Some(stopped_at);
            alerts.iter().filter(|alert| alert.text("kind") == "blind").find(since).cloned()
        })
    });
    let raised_after = blind.json["raised_at"].as_i64().expect("an alert says when it was raised") - stopped_at;
    figure(&format!("blind is raised {raised_after} ms after Mosquitto was told to stop, and read after {read_after:?}"));
    assert!(raised_after < BLIND_WITHIN_MILLIS, "{raised_after} ms");
    assert!(read_after < READ_WITHIN, "{read_after:?}");
    assert_eq!(blind.text("state"), "active");
    assert_eq!((blind.text("feed"), blind.text("severity")), ("main", "critical"));
    assert_eq!(blind.json["tenants"], serde_json::json!(["acme"]));

    wait_until(SOON, "the silence limit to pass", || wall_millis() - stopped_at > (SILENCE_SECONDS + 3) * 1_000);
    let ((), seeing_after) = timed(|| {
        site.world.mosquitto.restart();
        let mut say = once_a_second(say);
        wait_for(SOON, "blindness to be over", || {
            say();
            let seen = alerts.alerts();
            let over = seen.iter().any(|alert| alert.id == blind.id && alert.text("state") == "cleared");
            if over { Ok(()) } else { Err(outline(&seen)) }
        });
    });
    figure(&format!("seeing again is told {seeing_after:?} after Mosquitto was started again"));
    role.wait_ready();
    say();
    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", b"and presses arrive");
    let seen = alerts.wait_alerts(SOON, "a press afterwards", |alerts| {
        alerts.iter().any(|alert| alert.text("kind") == "duress" && alert.revision == 2).then(|| alerts.to_vec())
    });
    // The device was as unheard as the broker, for longer than its limit: our outage, not its silence (P4).
    assert!(!seen.iter().any(|alert| alert.text("kind") == "lost_contact"), "{}", outline(&seen));
}
