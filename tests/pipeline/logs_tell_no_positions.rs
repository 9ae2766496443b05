//! Reports and presses with positions and names, well formed and broken, on every way in: no log at any level, no metric and no word of
//! `/readyz` holds any of it, and at the usual level a steady state logs nothing at all.

use std::time::Duration;

use crate::rig::{Follower, Role, Rules, Site, World, coordinate_in, line_with, publish, wait_for};

const SOON: Duration = Duration::from_mins(1);
/// The degrees and the whole 1e-7 degrees that they become.
const CANARIES: [&str; 4] = ["51.47191", "2.62987", "5147191", "2629876"];
const NAMES: [&str; 2] = ["Canary", "07700 900"];

#[test]
fn no_log_and_no_metric_tells_where_somebody_is_and_a_steady_state_is_quiet() {
    let rules = Rules::of(&["dev-1", "jane.phone"]).silence("60s").keep_in("home", (51.471_9, -2.629_8), 0.005);
    let site = Site::new(World::new("logs"), &rules);
    let mut quiet = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let mut rounds = 0;
    let mut speak = || {
        speak(&site, rounds);
        rounds += 1;
        wait_answered(&alerts, rounds);
    };
    speak();
    let mut news_of_a_round = || {
        quiet.wait_ready();
        let before = quiet.log();
        speak();
        quiet.log()[before.len()..].to_owned()
    };
    let mut news = news_of_a_round();
    if !news.is_empty() {
        // On a busy machine Kafka may have been silent for seconds, which is news; what a steady state logs comes again.
        news = news_of_a_round();
    }
    assert!(news.is_empty(), "nothing has changed, and yet it logs: {news}");
    assert_eq!(quiet.stop().code(), Some(0));

    site.configure(&(site.configuration("main", crate::rig::PARTITIONS) + "[log]\nlevel = \"trace\"\nformat = \"json\"\n"));
    let mut talkative = site.start("run");
    speak();
    refuse(&site);
    look(&talkative);
    assert_eq!(talkative.stop().code(), Some(0));
    let log = talkative.log();
    assert!(log.lines().count() > 100, "it logs at the finest level");
    tells_nothing("the log at the finest level", &log);
}

/// What devices say, whole and broken: positions, names and numbers of people among it.
fn speak(site: &Site, round: usize) {
    let mosquitto = &site.world.mosquitto;
    let fix = r#""fix":{"lat":51.4719123,"lon":-2.6298765,"accuracy":8}"#;
    let say = |topic: &str, payload: &str| publish(mosquitto, topic, payload.as_bytes());
    say("lw/v1/dev-1/report", &format!("{{\"id\":\"r-{round}\",\"battery\":80,{fix}}}"));
    say("lw/v1/dev-1/report", &format!("{{\"id\":\"b-{round}\",\"battery\":180,\"name\":\"Jane Canary\",{fix}}}"));
    say("lw/v1/dev-1/report", &format!("51.4719123 -2.6298765 Jane Canary 07700 900 123 {round}"));
    say("lw/v1/../report", &format!("{{{fix}}}"));
    say("lw/v1/stranger/duress", &format!("Jane Canary at 51.4719123, -2.6298765, call 07700 900 123 ({round})"));
    say("owntracks/jane/phone", r#"{"_type":"location","lat":51.4719123,"lon":-2.6298765,"tst":1790345524,"acc":8}"#);
    say("owntracks/jane/phone", r#"{"_type":"card","name":"Jane Canary","face":""}"#);
    // Last, so that its answer comes after all has been read.
    say("lw/v1/dev-1/duress", &format!("{{\"id\":\"p-{round}\",{fix}}}"));
}

/// Both presses of each round, in both revisions.
#[track_caller]
fn wait_answered(alerts: &Follower, rounds: usize) {
    alerts.wait_alerts(SOON, "every press to be answered", |seen| {
        let answered = seen.iter().filter(|alert| alert.text("kind") == "duress" && alert.revision == 2).count();
        (answered >= 2 * rounds).then_some(())
    });
}

/// A rulebook that is refused for a fence's coordinates: the operator is told them, the running process is not.
fn refuse(site: &Site) {
    let file = site.rules_folder().join("fences/home.geojson");
    let text = std::fs::read_to_string(&file).expect("the fence of these rules");
    std::fs::write(&file, text.replace("keep_in", "keep_it")).expect("write the fence");
    site.refused(&["rules", "check", site.rules_folder().to_str().expect("the temporary folder's name is text")]);
}

#[track_caller]
fn look(role: &Role) {
    let page = |path: &str| {
        wait_for(SOON, path, || match role.get(path) {
            (0, why) => Err(why),
            (_, text) => Ok(text),
        })
    };
    for path in ["/metrics", "/readyz"] {
        let text = page(path);
        holds_no_canary(path, &text);
        assert!(!text.contains("dev-1") && !text.contains("jane"), "{path} names a device: {text}");
    }
}

#[track_caller]
fn tells_nothing(what: &str, text: &str) {
    holds_no_canary(what, text);
    assert_eq!(coordinate_in(text), None, "{what}");
}

#[track_caller]
fn holds_no_canary(what: &str, text: &str) {
    for word in CANARIES.iter().chain(&NAMES) {
        assert_eq!(line_with(word, text), None, "{what} holds {word:?}");
    }
}
