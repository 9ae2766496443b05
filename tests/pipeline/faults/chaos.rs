//! A thousand presses while ingesters, detectors and both brokers are killed at random, one at a time, from a seed.
//!
//! The MQTT broker loses what it has acknowledged; devices repeat until their receipt, so that no press may be missing (I1).

use std::time::Duration;

use lonewatch::clock::wall_millis;

use crate::rig::{Cast, FleetPlan, MosquittoOptions, Stage, World, figure, say};

const PRESSES: usize = 1_000;
/// The seed of CI. Another one: `LONEWATCH_CHAOS_SEED`.
const SEED: u64 = 4;
const SOON: Duration = Duration::from_mins(1);
/// The longest time for which a victim stays dead, beyond what its start takes.
const DEAD_MILLIS_MAX: u64 = 8_000;
const ALIVE_MILLIS_MAX: u64 = 3_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Ingester(usize),
    Detector(usize),
    Mosquitto,
    Kafka,
}

/// Each in turn, in an order that the seed decides, so that none is left out.
const VICTIMS: [Victim; 6] =
    [Victim::Ingester(0), Victim::Ingester(1), Victim::Detector(0), Victim::Detector(1), Victim::Mosquitto, Victim::Kafka];

/// The generator `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn shuffled(&mut self) -> [Victim; 6] {
        let mut victims = VICTIMS;
        for end in (1..victims.len()).rev() {
            let other = self.below(end as u64 + 1);
            victims.swap(end, usize::try_from(other).expect("small"));
        }
        victims
    }
}

#[test]
fn a_thousand_presses_while_everything_is_killed_at_random() {
    let seed = std::env::var("LONEWATCH_CHAOS_SEED").map_or(SEED, |seed| seed.parse().expect("a seed is a whole number"));
    figure(&format!("chaos with LONEWATCH_CHAOS_SEED={seed}"));
    let fleet =
        FleetPlan { devices: 20, report_every: Duration::from_secs(1), press_every: Duration::from_millis(110), wills: true };
    let cast = Cast { detectors: vec!["d-0", "d-1"], silence_seconds: 6, grace_seconds: 6, fleet, ..Cast::default() };
    let further_lines = vec!["autosave_interval 5".to_owned()];
    let options = MosquittoOptions { further_lines, ..MosquittoOptions::default() };
    let mut stage = Stage::start(World::with_own_brokers("chaos", &options), cast);
    let mut chance = Chance(seed);
    let mut kills = 0;
    while stage.fleet.presses() < PRESSES {
        for victim in chance.shuffled() {
            let (dead, alive) = (chance.below(DEAD_MILLIS_MAX), chance.below(ALIVE_MILLIS_MAX));
            say(&format!("SIGKILL of {victim:?}, dead for {dead} ms; {} presses so far", stage.fleet.presses()));
            kill(&mut stage, victim);
            stage.go_on_for(Duration::from_millis(dead));
            restart(&mut stage, victim);
            kills += 1;
            stage.go_on_for(Duration::from_millis(alive));
        }
    }
    let healed_at = wall_millis();
    stage.must_see_again(healed_at);
    stage.wait_receipted(SOON);
    stage.go_on_for(stage.silence() + Duration::from_secs(2));
    let verdict = stage.judge();
    figure(&format!("chaos of seed {seed}: {kills} kills; {}", verdict.line()));
    assert!(verdict.presses >= PRESSES);
}

fn kill(stage: &mut Stage, victim: Victim) {
    match victim {
        Victim::Ingester(which) => stage.ingesters[which].kill(),
        Victim::Detector(which) => stage.detectors[which].kill(),
        Victim::Mosquitto => stage.site.world.mosquitto.kill(),
        Victim::Kafka => stage.site.world.kafka.kill(),
    }
}

/// Starts it, and waits until it serves: the next kill is another one's.
fn restart(stage: &mut Stage, victim: Victim) {
    match victim {
        Victim::Ingester(which) => {
            stage.restart_ingester(which);
            stage.ingesters[which].wait_ready();
        }
        Victim::Detector(which) => {
            stage.restart_detector(which);
            stage.detectors[which].wait_ready();
        }
        Victim::Mosquitto => {
            stage.site.world.mosquitto.restart();
            stage.ingesters.iter_mut().for_each(crate::rig::Role::wait_ready);
        }
        Victim::Kafka => {
            stage.site.world.kafka.restart();
            stage.ingesters.iter_mut().chain(&mut stage.detectors).for_each(crate::rig::Role::wait_ready);
        }
    }
}
