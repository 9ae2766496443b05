//! The broker's access list takes the duress subscription away on a live session (F18): no error comes, only nothing.

use std::time::Duration;

use lonewatch::clock::wall_millis;

use crate::rig::{Cast, MosquittoOptions, SAID_WITHIN, Stage, World, say, wait_for};

const SOON: Duration = Duration::from_mins(1);
const ALL: &str = "topic readwrite #\n";
/// Everything but the reading of presses.
const NO_DURESS: &str = "topic write #\ntopic read lw/v1/+/report\ntopic read lw/v1/+/status\ntopic read lw/v1/+/rx\ntopic read owntracks/+/+\ntopic read owntracks/+/+/event\n";

#[test]
fn the_duress_subscription_is_taken_away_on_a_live_session() {
    let options = MosquittoOptions { acl: Some(ALL.to_owned()), ..MosquittoOptions::default() };
    let stage = Stage::start(World::with_mosquitto("f18-acl", &options), Cast::default());
    stage.go_on_for(Duration::from_secs(3));
    say("the access list no longer grants reading presses");
    let taken_at = wall_millis();
    stage.site.world.mosquitto.set_acl(NO_DURESS);
    wait_for(SOON, "/readyz of both to name the lane", || {
        let texts: Vec<_> = stage.ingesters.iter().map(|ingester| ingester.get("/readyz")).collect();
        let said = |(status, text): &(u16, String)| *status == 503 && text.contains("feed main lane duress: NOT READY");
        if texts.iter().all(said) { Ok(()) } else { Err(format!("{texts:?}")) }
    });
    let said_after = wall_millis() - taken_at;
    assert!(said_after < i64::try_from(SAID_WITHIN.as_millis()).expect("short"), "/readyz says it after {said_after} ms");
    stage.must_be_blind(taken_at, "nothing is heard of presses of feed main");

    say("the access list grants it again");
    let given_at = wall_millis();
    stage.site.world.mosquitto.set_acl(ALL);
    stage.must_see_again(given_at);
    stage.wait_receipted(SOON);
    stage.judge();
}
