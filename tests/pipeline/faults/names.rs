//! Two ingesters bear one name, and so one MQTT client id (F18): each takes the session from the other. Neither may do so at full speed,
//! both must say it, and no press may fall between them.

use std::time::Duration;

use lonewatch::clock::wall_millis;

use crate::rig::{Cast, Role, SAID_WITHIN, Stage, World, length, say, wait_for};

const SOON: Duration = Duration::from_mins(1);
/// Times that a lane may change hands in [`WATCHED`]: whoever was thrown out stays away for 5 s and more. At full speed it would be
/// hundreds.
const TAKEOVERS_MAX: usize = 12;
const WATCHED: Duration = Duration::from_secs(20);

#[test]
fn two_ingesters_with_one_name() {
    let cast = Cast { ingesters: vec!["a"], grace_seconds: length(6, 20), ..Cast::default() };
    let stage = Stage::start(World::new("f18-names"), cast);
    stage.go_on_for(Duration::from_secs(2));
    say("another ingester of the same name is started");
    let began_at = wall_millis();
    let other = stage.site.launch_named("ingest", "a", "d-0");
    wait_for(SAID_WITHIN, "/readyz to say that somebody bears its name", || {
        let (status, text) = stage.ingesters[0].get("/readyz");
        let said = status == 503 && text.contains("another client has connected under our MQTT client id");
        if said { Ok(()) } else { Err(format!("{status} {text}")) }
    });
    say(&format!("said after {} ms", wall_millis() - began_at));
    stage.go_on_for(WATCHED);
    let log = stage.site.world.mosquitto.log();
    let connects = log.matches("as lonewatch-a-main-duress ").count();
    say(&format!("the duress lane's session was taken {connects} times in {WATCHED:?}"));
    assert!((2..=TAKEOVERS_MAX).contains(&connects), "{connects} times: {log}");

    say("the other one is ended");
    end(other);
    let healed_at = wall_millis();
    stage.must_see_again_within(healed_at, length(SOON, SOON));
    stage.wait_receipted(SOON);
    stage.judge();
}

#[track_caller]
fn end(mut role: Role) {
    assert_eq!(role.stop().code(), Some(0), "{}", role.tail());
}
