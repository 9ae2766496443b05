//! Ingesters are killed and frozen under load (F1, F2, F4).

use std::time::Duration;

use lonewatch::clock::wall_millis;
use lonewatch::limits;

use crate::rig::{Cast, Stage, World, length, say};

/// Longer than the silence limit, and than the broker's patience with a client (one and a half keep-alives).
const FROZEN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));
const DEAD: (Duration, Duration) = (Duration::from_secs(16), Duration::from_secs(30));
const SOON: Duration = Duration::from_mins(1);

#[test]
fn one_of_two_ingesters_is_killed_and_then_the_other_frozen() {
    let mut stage = Stage::start(World::new("f1"), Cast::default());
    stage.go_on_for(Duration::from_secs(3));
    say("SIGKILL of ingester a");
    let killed_at = wall_millis();
    stage.ingesters[0].kill();
    stage.go_on_for(length(Duration::from_secs(1), Duration::from_secs(10)));
    stage.restart_ingester(0);
    stage.ingesters[0].wait_ready();
    stage.go_on_for(stage.silence() + Duration::from_secs(1));

    say("SIGSTOP of ingester b");
    stage.ingesters[1].freeze();
    stage.go_on_for(length(FROZEN.0, FROZEN.1));
    say("SIGCONT of ingester b");
    let thawed_at = wall_millis();
    stage.ingesters[1].thaw();
    stage.ingesters[1].wait_ready();
    stage.must_see_again(thawed_at);
    stage.go_on_for(Duration::from_secs(3));
    let mut blind: Vec<_> = stage.centre.said().into_iter().filter(|said| said.at >= killed_at && said.blind).collect();
    // Heartbeats that pause say that the detector stood still, on a machine that did: nothing of the ingesters.
    if stage.centre.longest_heartbeat_gap_millis(killed_at) >= limits::HEARTBEAT_MISSING_MILLIS {
        blind.retain(|said| said.by_alert);
    }
    assert!(blind.is_empty(), "the other one heard all the time: {blind:?}");
    stage.must_tell_a_true_silence(1);
    stage.judge();
}

#[test]
fn both_ingesters_are_killed_for_a_while() {
    let mut stage = Stage::start(World::new("f2"), Cast::default());
    stage.go_on_for(Duration::from_secs(3));
    say("SIGKILL of both ingesters");
    let killed_at = wall_millis();
    stage.ingesters[0].kill();
    stage.ingesters[1].kill();
    stage.must_be_blind(killed_at, "");
    let died_for = wall_millis() - killed_at;
    stage.go_on_for(length(DEAD.0, DEAD.1).saturating_sub(Duration::from_millis(died_for.unsigned_abs())));

    let healed_at = wall_millis();
    stage.restart_ingester(0);
    stage.restart_ingester(1);
    stage.must_see_again(healed_at);
    stage.wait_receipted(SOON);
    stage.go_on_for(stage.silence());
    let verdict = stage.judge();
    let outage = wall_millis() - killed_at;
    assert!(verdict.worst_millis() < outage, "{}", verdict.line());
}
