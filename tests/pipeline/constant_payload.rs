//! A tracker whose payload never changes is alive as long as it sends: arrival is contact, not news in the bytes.

use std::time::Duration;

use crate::rig::{Follower, Probes, Rules, Site, World, figure, once_a_second, outline, publish, timed};

const SOON: Duration = Duration::from_secs(30);
const SILENCE_SECONDS: usize = 8;

#[test]
fn constant_payload() {
    let site = Site::new(World::new("constant"), &Rules::of(&["dev-1"]).silence(&format!("{SILENCE_SECONDS}s")));
    let mut role = site.start("run");
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let probes = Probes::start(&site.world.mosquitto);
    let say = || publish(&site.world.mosquitto, "lw/v1/dev-1/report", br#"{"battery":80}"#);
    role.wait_watching_while(once_a_second(say));
    for _ in 0..2 * SILENCE_SECONDS {
        say();
        probes.wait_further(1);
    }
    say();
    let told = alerts.device_alerts();
    assert!(told.is_empty(), "the device spoke every second; {}", outline(&told));

    let (lost, took) = timed(|| alerts.wait_device_alerts(SOON, "the silence to be told", |alerts| alerts.first().cloned()));
    figure(&format!("lost contact is told {took:?} after the last report, the limit being {SILENCE_SECONDS} s"));
    assert_eq!((lost.text("kind"), lost.text("device"), lost.revision), ("lost_contact", "dev-1", 1));
    probes.wait_further(2 * SILENCE_SECONDS);
    say();
    let restored = alerts.wait_device_alerts(SOON, "the return to be told", |alerts| alerts.get(1).cloned());
    assert_eq!((restored.id.as_str(), restored.revision, restored.text("state")), (lost.id.as_str(), 2, "cleared"));
    let told = alerts.device_alerts();
    assert_eq!(told.len(), 2, "told once, restored once; {}", outline(&told));
}
