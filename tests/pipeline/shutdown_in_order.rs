//! SIGTERM under load: what was receipted is stored, what was not comes again from the MQTT broker, and the exit is clean.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lonewatch::journal::{self, Record};

use crate::rig::{
    Publisher, Rules, Site, Subscriber, World, alerts_among, consume, figure, journal_records, timed, wait_for, wait_until,
};

const SOON: Duration = Duration::from_mins(1);
const REPORTS: usize = 12_000;
const PRESSES: usize = 200;
/// An end in order acknowledges what it has stored, and reads no further: nothing need come again. A few may whose acknowledgement the
/// broker had not read as the connection ended.
const REPEATS_MAX: usize = 20;

#[test]
fn sigterm_under_load_loses_nothing() {
    let site = Site::new(World::new("shutdown"), &Rules::of(&["dev-1", "dev-2"]));
    let mut role = site.run();
    let receipts = Subscriber::start(&site.world.mosquitto, "lw/v1/+/rx");
    let mut reports = Publisher::start(&site.world.mosquitto, "lw/v1/dev-1/report");
    let mut presses = Publisher::start(&site.world.mosquitto, "lw/v1/dev-2/duress");
    let lines = |word: &str, count: usize, rest: &str| {
        let lines: Vec<String> = (0..count).map(|number| format!("{{\"id\":\"{word}-{number}\"{rest}}}")).collect();
        lines.join("\n")
    };
    reports.send(&lines("report", REPORTS, ",\"receipt\":true,\"battery\":70"));
    presses.send(&lines("press", PRESSES, ""));
    // In the midst of it.
    wait_until(SOON, "the first receipts", || receipts.messages().len() > 50);
    let (status, took) = timed(|| role.stop());
    assert_eq!(status.code(), Some(0), "{}", role.tail());
    reports.finish();
    presses.finish();

    let events = events_in_journal(&site);
    let stored: BTreeSet<String> = events.keys().cloned().collect();
    let receipted: BTreeSet<String> = receipts.messages().iter().map(|message| own_id(&message.payload)).collect();
    let missing: Vec<_> = receipted.difference(&stored).collect();
    assert!(missing.is_empty(), "receipted and not in the journal: {missing:?}");
    let told = events_told(&site);
    let is_untold = |own_id: &&String| own_id.starts_with("press-") && !told.contains(&events[*own_id]);
    let untold: Vec<_> = receipted.iter().filter(is_untold).collect();
    assert!(untold.is_empty(), "receipted and not told: {untold:?}");
    figure(&format!(
        "SIGTERM took {took:?} with {} of {} messages stored and {} receipted",
        stored.len(),
        REPORTS + PRESSES,
        receipted.len()
    ));
    assert!(stored.len() < REPORTS + PRESSES, "all was done before the end: the load was too small to show anything");

    let _again = site.start("run");
    wait_for(SOON, "the rest to come", || {
        let stored = events_in_journal(&site).len();
        if stored == REPORTS + PRESSES { Ok(()) } else { Err(format!("{stored} of {}", REPORTS + PRESSES)) }
    });
    let of_topic = alerts_among(&consume(&site.world.kafka, &site.alerts_topic()));
    // On busy cores the restart takes longer than what makes us blind, and that is told as well.
    let ids: BTreeSet<_> = of_topic.iter().filter(|alert| alert.text("kind") == "duress").map(|alert| &alert.id).collect();
    assert_eq!(ids.len(), PRESSES, "each press is one alert, however often it came");
    let twice_reported = messages_in_journal(&site) - (REPORTS + PRESSES);
    let twice_told = of_topic.iter().filter(|alert| alert.is_express()).count() - PRESSES;
    figure(&format!("after the restart {twice_reported} messages came again, and {twice_told} presses were told again"));
    assert!(twice_reported <= REPEATS_MAX, "{twice_reported} messages stand in the journal twice");
    assert!(twice_told <= REPEATS_MAX, "{twice_told} presses were expressed twice");
}

/// Records of devices in the journal, copies included.
fn messages_in_journal(site: &Site) -> usize {
    let decoded = journal_records(site).into_iter().filter_map(|record| record.value).map(|value| journal::decode(&value));
    decoded.filter(|record| matches!(record, Ok(Record::Message(_)))).count()
}

/// The events of all messages in the journal, by the ids that the devices gave them.
fn events_in_journal(site: &Site) -> BTreeMap<String, String> {
    let records = journal_records(site);
    let event = |value: &[u8]| match journal::decode(value).expect("a record of the journal") {
        Record::Message(message) => Some((message.report()?.own_id.clone()?, message.event.to_string())),
        Record::Observation(_) | Record::Metronome { .. } | Record::Action => None,
    };
    records.iter().filter_map(|record| event(record.value.as_deref()?)).collect()
}

/// The events that alerts on the topic name as their cause.
fn events_told(site: &Site) -> BTreeSet<String> {
    let alerts = alerts_among(&consume(&site.world.kafka, &site.alerts_topic()));
    alerts.iter().filter_map(|alert| Some(alert.json["cause"]["event"].as_str()?.to_owned())).collect()
}

fn own_id(receipt: &[u8]) -> String {
    let receipt: serde_json::Value = serde_json::from_slice(receipt).expect("a receipt is JSON");
    receipt["id"].as_str().expect("these messages have ids").to_owned()
}
