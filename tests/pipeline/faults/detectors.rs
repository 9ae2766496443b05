//! Detectors are killed and frozen under load, for longer than their group waits (F3, F4): another takes over, and a zombie harms nobody.

use std::time::Duration;

use lonewatch::clock::wall_millis;
use lonewatch::limits;

use crate::rig::{Cast, Stage, World, length, say};

/// F1's bound for a press while a part that it does not need is away; the machine may be loaded.
const PRESS_MILLIS_MAX: i64 = 1_000;

#[test]
fn a_detector_is_killed_and_the_other_frozen_past_the_session() {
    let mut stage = Stage::start(World::alone("f3"), Cast { detectors: vec!["d-0", "d-1"], ..Cast::default() });
    let session = Duration::from_millis(limits::GROUP_SESSION_MILLIS.unsigned_abs());
    stage.go_on_for(Duration::from_secs(2));
    say("SIGKILL of detector d-0");
    stage.detectors[0].kill();
    stage.go_on_for(session + Duration::from_secs(5));
    let healed_at = wall_millis();
    stage.restart_detector(0);
    stage.must_see_again(healed_at);

    say("SIGSTOP of detector d-1");
    stage.detectors[1].freeze();
    stage.go_on_for(length(session + Duration::from_secs(5), Duration::from_secs(30)));
    say("SIGCONT of detector d-1");
    let healed_at = wall_millis();
    stage.detectors[1].thaw();
    stage.must_see_again(healed_at);
    stage.must_tell_a_true_silence(1);
    let verdict = stage.judge();
    assert!(verdict.worst_millis() < PRESS_MILLIS_MAX, "presses need no detector: {}", verdict.line());
}
