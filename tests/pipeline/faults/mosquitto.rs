//! The MQTT broker is frozen, stopped and killed under load (F4, F5).

use std::time::Duration;

use lonewatch::clock::wall_millis;

use crate::rig::{Cast, FleetPlan, MosquittoOptions, Stage, World, length, say};

const SOON: Duration = Duration::from_mins(1);
const KILLS: usize = 2;

/// Devices need a moment to come back after the broker, so there is a grace; and what a broker holds while it is frozen is dated by the
/// first probe after, so silence is longer than the shorter freeze by some seconds.
fn cast() -> Cast {
    Cast { silence_seconds: length(8, 20), grace_seconds: 6, ..Cast::default() }
}

#[test]
fn mosquitto_is_frozen_for_longer_than_anybody_waits() {
    let stage = Stage::start(World::new("f4-mosquitto"), cast());
    stage.go_on_for(Duration::from_secs(3));
    let mosquitto = &stage.site.world.mosquitto;
    for frozen in
        [length(Duration::from_secs(4), Duration::from_secs(5)), length(Duration::from_secs(16), Duration::from_secs(30))]
    {
        say(&format!("SIGSTOP of Mosquitto, for {frozen:?}"));
        let frozen_at = wall_millis();
        mosquitto.freeze();
        stage.go_on_for(frozen);
        if frozen > Duration::from_secs(15) {
            stage.must_be_blind(frozen_at, "");
        }
        say("SIGCONT of Mosquitto");
        let thawed_at = wall_millis();
        mosquitto.thaw();
        stage.must_see_again(thawed_at);
        stage.wait_receipted(SOON);
        stage.go_on_for(stage.silence() + Duration::from_secs(2));
    }
    stage.must_tell_a_true_silence(1);
    stage.judge();
}

/// A will would call a device lost after `after_will`. Those that the ending broker sends say nothing of their devices.
#[test]
fn mosquitto_ends_and_devices_come_back_long_after_it() {
    let (silence_seconds, grace_seconds, after_will_seconds) = length((25, 14, 4), (600, 300, 120));
    let fleet = FleetPlan { wills: true, ..Cast::default().fleet };
    let after_will_seconds = Some(after_will_seconds);
    let cast = Cast { silence_seconds, grace_seconds, after_will_seconds, fleet, ..Cast::default() };
    let stage = Stage::start(World::new("f5-sigterm"), cast);
    stage.go_on_for(Duration::from_secs(3));
    stage.fleet.stay_away_for(length(Duration::from_secs(9), Duration::from_mins(3)));
    say("SIGTERM of Mosquitto: every will is sent");
    stage.site.world.mosquitto.stop();
    stage.go_on_for(length(Duration::from_secs(1), Duration::from_secs(5)));
    let healed_at = wall_millis();
    stage.site.world.mosquitto.restart();
    say("Mosquitto is back");
    stage.must_see_again(healed_at);
    stage.wait_receipted(length(SOON, Duration::from_mins(5)));
    // Past the grace.
    stage.go_on_for(length(Duration::from_secs(10), Duration::from_mins(3)));
    // A will that no trouble of ours explains is believed: the limit is the shorter one.
    stage.must_tell_a_true_silence(1);
    stage.judge();
}

#[test]
fn mosquitto_with_a_store_is_killed() {
    // Its store is a second old at most, and so tells of messages again that were acknowledged since.
    let further_lines = vec!["autosave_interval 1".to_owned()];
    killed("f5-kill-store", &MosquittoOptions { further_lines, ..MosquittoOptions::default() });
}

#[test]
fn mosquitto_without_a_store_is_killed() {
    killed("f5-kill", &MosquittoOptions { forgets: true, ..MosquittoOptions::default() });
}

fn killed(name: &str, options: &MosquittoOptions) {
    let stage = Stage::start(World::with_mosquitto(name, options), cast());
    for _ in 0..KILLS {
        stage.go_on_for(Duration::from_secs(3));
        say("SIGKILL of Mosquitto");
        stage.site.world.mosquitto.kill();
        stage.go_on_for(length(Duration::from_secs(1), Duration::from_secs(10)));
        let healed_at = wall_millis();
        stage.site.world.mosquitto.restart();
        stage.must_see_again(healed_at);
        stage.wait_receipted(SOON);
    }
    stage.go_on_for(stage.silence() + Duration::from_secs(2));
    stage.judge();
}
