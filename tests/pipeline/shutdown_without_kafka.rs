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
