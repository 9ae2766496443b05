//! SIGTERM while Kafka is away: the end comes within the time that Kubernetes gives, instead of waiting for a broker without end.

use std::time::Duration;

use crate::rig::{Rules, Site, World, figure, publish, timed};

/// What Kubernetes gives by default before it kills.
const GRACE: Duration = Duration::from_secs(30);

#[test]
fn sigterm_while_kafka_is_away_ends_in_time() {
    let site = Site::new(World::with_own_kafka("no-kafka"), &Rules::of(&["dev-1"]));
    let mut role = site.run();
    site.world.kafka.kill();
    publish(&site.world.mosquitto, "lw/v1/dev-1/duress", br#"{"id":"p-1"}"#);
    let (status, took) = timed(|| role.stop());
    figure(&format!("SIGTERM without Kafka took {took:?}"));
    assert_eq!(status.code(), Some(0), "{}", role.tail());
    assert!(took < GRACE, "{took:?}");
}

/// The first process of a container is not ended by a signal that it has no handler for: one that still waited for Kafka did not end.
#[test]
fn sigterm_is_heard_while_the_start_still_waits_for_kafka() {
    let site = Site::new(World::with_own_kafka("no-kafka-yet"), &Rules::of(&["dev-1"]));
    site.world.kafka.stop();
    let mut role = site.launch("run");
    role.wait_said(GRACE, "metrics and readiness are served");
    let (status, took) = timed(|| role.stop());
    assert_eq!(status.code(), Some(1), "its own word, and not the signal, has ended it: {}", role.tail());
    assert!(took < GRACE, "{took:?}");
}
