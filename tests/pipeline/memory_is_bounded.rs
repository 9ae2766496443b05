//! One device sends as much as the broker lets through while Kafka stands still: what does not fit waits at the broker, and nobody is
//! killed for it.

use std::time::Duration;

use crate::rig::{Probes, Publisher, Rules, Site, World, figure, wait_for};

const SOON: Duration = Duration::from_mins(2);
/// Some 2,000 find room.
const PRESSES: u16 = 2_500;
/// Half the limit of a pod in the Helm chart: a feed's lanes do not fill up together by one device.
const MEGABYTES_MAX: u64 = 256;

#[test]
fn large_presses_wait_at_the_broker_while_kafka_stands_still() {
    let site = Site::new(World::with_own_kafka("memory"), &Rules::of(&["dev-1"]));
    let role = site.start("ingest");
    let before = resident(role.pid());
    site.world.kafka.freeze();
    let mut device = Publisher::start(&site.world.mosquitto, "lw/v1/dev-1/duress");
    device.send(&vec!["7".repeat(65_000); PRESSES.into()].join("\n"));
    device.finish();
    let count = || role.metric("lonewatch_mqtt_messages_total", &["lane=\"duress\""]);
    let probes = Probes::start(&site.world.mosquitto);
    let mut last = 0.0;
    wait_for(SOON, "the lane to read no further", || {
        probes.wait_further(3);
        let now = count();
        let still = now > 1_000.0 && now.total_cmp(&std::mem::replace(&mut last, now)).is_eq();
        if still { Ok(()) } else { Err(now) }
    });
    assert!(last < f64::from(PRESSES), "it read them all");
    let full = resident(role.pid());
    figure(&format!("{last} of {PRESSES} presses of 65,000 bytes read: {before} MB before, {full} MB then"));
    assert!(full < MEGABYTES_MAX, "{full} MB");
    site.world.kafka.thaw();
    wait_for(SOON, "every press to be read, and stored", || {
        let waiting = role.metric("lonewatch_mqtt_unacknowledged", &["lane=\"duress\""]);
        if count() >= f64::from(PRESSES) && waiting < 1.0 { Ok(()) } else { Err(format!("{} read, {waiting} waiting", count())) }
    });
    figure(&format!("{} MB after", resident(role.pid())));
}

/// What a process holds, in megabytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_000
}
