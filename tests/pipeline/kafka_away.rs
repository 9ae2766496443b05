//! Kafka is gone for 20 s while devices report every second and press: nobody is called silent, every press is told afterwards.

use std::time::Duration;

use crate::rig::{
    Follower, Probes, Role, Rules, Site, World, figure, ids, once_a_second, outline, publish, revisions, timed, wait_for,
};

const SOON: Duration = Duration::from_mins(1);
const AWAY_SECONDS: usize = 20;
const DEVICES: [&str; 2] = ["dev-1", "dev-2"];

#[test]
fn kafka_away_for_20_s_while_devices_report() {
    let site = Site::new(World::with_own_kafka("kafka-away"), &Rules::of(&DEVICES).silence("10s"));
    let world = &site.world;
    let mut role = site.start("run");
    let alerts = Follower::start(&world.kafka, &site.alerts_topic());
    let probes = Probes::start(&world.mosquitto);
    let report = || {
        for device in DEVICES {
            publish(&world.mosquitto, &format!("lw/v1/{device}/report"), br#"{"battery":80}"#);
        }
    };
    role.wait_watching_while(once_a_second(report));
    for _ in 0..3 {
        report();
        probes.wait_further(1);
    }

    // The devices go on meanwhile.
    let beside = |act: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            let acting = scope.spawn(act);
            while !acting.is_finished() {
                report();
                probes.wait_further(1);
            }
        });
    };
    beside(&|| world.kafka.stop());
    let mut presses = 0;
    let ((), away) = timed(|| {
        for second in 0..AWAY_SECONDS {
            report();
            if second % 5 == 2 {
                publish(&world.mosquitto, "lw/v1/dev-1/duress", format!("{{\"id\":\"press-{presses}\"}}").as_bytes());
                presses += 1;
            }
            probes.wait_further(1);
        }
    });
    let (status, text) = role.get("/readyz");
    figure(&format!("Kafka is away for {away:?}"));
    assert_eq!(status, 503, "{text}");
    for part in ["feed main lane duress", "feed main lane reports", "alerts writer"] {
        assert!(text.contains(&format!("{part} to Kafka: NOT READY: Kafka has acknowledged nothing")), "{text}");
    }

    let ((), took) = timed(|| beside(&|| world.kafka.restart()));
    figure(&format!("Kafka took {took:?} to start again"));
    let (seen, told) = timed(|| {
        wait_for(SOON, "every press in two revisions", || {
            report();
            probes.wait_further(1);
            let seen = alerts.alerts_of("duress");
            let whole = revisions(&seen).values().filter(|seen| **seen == [1, 2].into()).count();
            if whole == presses {
                Ok(seen)
            } else {
                Err(format!("{whole} of {presses}; {}\n{}\n{text}", outline(&seen), role.tail()))
            }
        })
    });
    figure(&format!("{presses} presses sent meanwhile are told, in both revisions, {told:?} after Kafka answered"));
    assert_eq!(ids(&seen).len(), presses);
    wait_over(&role, &alerts, || {
        report();
        probes.wait_further(1);
    });
    let gap = alerts.longest_heartbeat_gap_millis();
    figure(&format!("{} blind alerts, longest gap between heartbeats {gap} ms", ids(&alerts.alerts_of("blind")).len()));
    assert!(gap >= 15_000 || !alerts.alerts_of("blind").is_empty(), "nobody could have known");
    let lost = alerts.alerts_of("lost_contact");
    assert!(lost.is_empty(), "the devices spoke all the time; {}", outline(&lost));
}

/// What was missed shows: as an alert in the log that is over, or as heartbeats that were missing and are back.
#[track_caller]
fn wait_over(role: &Role, alerts: &Follower, meanwhile: impl Fn()) {
    wait_for(SOON, "all to be over", || {
        meanwhile();
        let blind = alerts.alerts_of("blind");
        let last = |id: &str| blind.iter().rfind(|alert| alert.id == id).expect("it has a revision");
        let open = ids(&blind).into_iter().any(|id| last(id).text("state") != "cleared");
        let (ready, why) = role.get("/readyz");
        if !open && ready == 200 { Ok(()) } else { Err(format!("{why} {}", outline(&blind))) }
    });
}
