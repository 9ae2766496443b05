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

/// At real length one stop is longer than the 300 s after which librdkafka's producers give up by default. Every stop here is longer
/// than the group's session (6 s), than the socket timeout of the duress lane (5 s) and than the time after which a lane calls Kafka
/// silent.
#[test]
fn kafka_is_frozen_stopped_and_killed() {
    let scaled = &[(Fault::Freeze, 18), (Fault::Term, 25), (Fault::Kill, 2)][..];
    let real = &[(Fault::Freeze, 30), (Fault::Term, 60), (Fault::Kill, 30), (Fault::Term, 360)][..];
    let stage = Stage::start(World::with_own_kafka("f6"), Cast::default());
    let kafka = &stage.site.world.kafka;
    for (fault, seconds) in length(scaled, real) {
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
