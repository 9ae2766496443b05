//! Two ingesters watch one feed, both in full. One is killed: no press is without its alert, none has two, and nobody is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use lonewatch::journal::{self, Record};

use crate::rig::{
    Follower, Rules, Site, World, about_devices, figure, journal_records, once_a_second, outline, publish, revisions, wait_for,
};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn one_of_two_mirrored_ingesters_is_killed_and_nobody_notices() {
    let site = Site::new(World::new("mirrored"), &Rules::of(&["dev-1", "dev-2"]).silence("10s"));
    // First: silence counts from the first listening on.
    let mut detect = site.start("detect");
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let (mut one, mut two) = (site.launch_as("ingest", "a"), site.launch_as("ingest", "b"));
    detect.wait_watching_while(once_a_second(|| {
        for device in ["dev-1", "dev-2"] {
            publish(&site.world.mosquitto, &format!("lw/v1/{device}/report"), br#"{"battery":80}"#);
        }
    }));
    one.wait_ready();
    two.wait_ready();
    let speak = |round: usize| {
        publish(&site.world.mosquitto, "lw/v1/dev-2/report", br#"{"battery":80}"#);
        publish(&site.world.mosquitto, "lw/v1/dev-1/duress", format!("{{\"id\":\"p-{round}\"}}").as_bytes());
        let told = |count: usize| move |seen: &[crate::rig::SeenAlert]| (pressed(seen).len() == count).then_some(());
        alerts.wait_alerts(SOON, "the press", told(round + 1));
    };
    (0..10).for_each(speak);
    one.kill();
    // Longer than the silence limit: the one that is left keeps hearing. A few presses a second: past 512 of a device each is told twice
    // (decision 21).
    let (mut heard, mut round) = (seconds_heard(&detect), 10);
    let until = heard + 13.0;
    while heard < until {
        speak(round);
        round += 1;
        let spoken_at = heard;
        heard = wait_for(SOON, "further time to be heard", || {
            let heard = seconds_heard(&detect);
            if heard > spoken_at { Ok(heard) } else { Err(format!("{heard} s")) }
        });
    }

    wait_for(SOON, "every press to be answered", || {
        let seen = alerts.alerts();
        let answered = revisions(&about_devices(&seen)).values().filter(|revisions| revisions.contains(&2)).count();
        if answered == round { Ok(()) } else { Err(format!("{answered} of {round}")) }
    });
    let seen = alerts.alerts();
    assert_eq!(pressed(&seen).len(), round, "one id for each press: {}", outline(&seen));
    let of_devices = about_devices(&seen);
    assert!(of_devices.iter().all(|alert| alert.text("kind") == "duress"), "nobody is lost: {}", outline(&of_devices));
    let blind = alerts.unexplained_blindness();
    assert!(blind.is_empty(), "the other one heard all the time: {}", outline(&blind));
    let writers = ingesters_in_journal(&site);
    assert_eq!(writers, BTreeSet::from(["a".to_owned(), "b".to_owned()]), "both have written");
    figure(&format!("{round} presses, {} messages on the alerts topic", seen.len()));
}

/// The ids of presses.
fn pressed(seen: &[crate::rig::SeenAlert]) -> BTreeSet<&str> {
    seen.iter().filter(|alert| alert.text("kind") == "duress").map(|alert| alert.id.as_str()).collect()
}

/// Counts on with each second that is heard: two lanes, each told to every partition, by each ingester.
fn seconds_heard(detect: &crate::rig::Role) -> f64 {
    detect.metric("lonewatch_records_total", &["outcome=\"observation\""]) / f64::from(2 * crate::rig::PARTITIONS)
}

fn ingesters_in_journal(site: &Site) -> BTreeSet<String> {
    let writer = |value: &[u8]| match journal::decode(value).expect("a record of the journal") {
        Record::Message(message) => Some(message.ingester.to_string()),
        Record::Observation(_) | Record::Metronome { .. } | Record::Action => None,
    };
    journal_records(site).iter().filter_map(|record| writer(record.value.as_deref()?)).collect()
}
