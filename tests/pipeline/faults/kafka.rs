//! Kafka is stopped, killed and frozen under load, for seconds and for longer than the group's session and every client's patience (F4, F6).

use std::time::Duration;

use lonewatch::clock::wall_millis;

use crate::rig::{Cast, Kafka, Stage, World, length, say};

const SOON: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Term,
    Kill,
    Freeze,
}

impl Fault {
    fn begin(self, kafka: &Kafka) {
        match self {
            Self::Term => kafka.stop(),
            Self::Kill => kafka.kill(),
            Self::Freeze => kafka.freeze(),
        }
    }

    #[track_caller]
    fn end(self, kafka: &Kafka) {
        match self {
            Self::Term | Self::Kill => kafka.restart(),
            Self::Freeze => kafka.thaw(),
        }
    }
}

#[test]
fn kafka_is_stopped_killed_and_frozen() {
    let scaled = [(Fault::Freeze, 18), (Fault::Term, 18), (Fault::Kill, 2)];
    let real = [(Fault::Freeze, 30), (Fault::Term, 60), (Fault::Kill, 30)];
    run("f6", &length(scaled, real));
}

/// Beyond the 300 s after which librdkafka's producers give up by default. Seconds long in CI, where it is one stop more.
#[test]
fn kafka_is_stopped_for_longer_than_any_producer_timeout() {
    run("f6-long", &[(Fault::Term, length(25, 360))]);
}

fn run(name: &str, faults: &[(Fault, u64)]) {
    let stage = Stage::start(World::with_own_kafka(name), Cast::default());
    let kafka = &stage.site.world.kafka;
    for (fault, seconds) in faults {
        stage.go_on_for(Duration::from_secs(3));
        say(&format!("Kafka: {fault:?} for {seconds} s, with {} presses so far", stage.fleet.presses()));
        let began_at = wall_millis();
        fault.begin(kafka);
        if *seconds >= 15 {
            stage.must_be_blind(began_at, "");
        }
        let passed = Duration::from_millis((wall_millis() - began_at).unsigned_abs());
        stage.go_on_for(Duration::from_secs(*seconds).saturating_sub(passed));
        fault.end(kafka);
        let healed_at = wall_millis();
        say(&format!("Kafka answers again after {} ms, with {} presses so far", healed_at - began_at, stage.fleet.presses()));
        stage.must_see_again(healed_at);
        stage.wait_receipted(SOON);
    }
    stage.go_on_for(stage.silence() + Duration::from_secs(2));
    stage.must_tell_a_true_silence(1);
    stage.judge();
}
