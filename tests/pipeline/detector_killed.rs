//! SIGKILL of the detector under load: the next one says again only what was not committed, with the same ids and the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lonewatch::journal::{self, Record};

use crate::rig::{
    Follower, PARTITIONS, Publisher, Role, Rules, SeenAlert, Site, World, alerts_among, committed, consume, ends, figure,
    journal_records, replay_alerts, rulebook_versions, timed, wait_for, wait_until,
};

const SOON: Duration = Duration::from_mins(1);
const DEVICES: [&str; 4] = ["dev-1", "dev-2", "dev-3", "dev-4"];
const ROUNDS: usize = 3;
/// Presses of each device at a time.
const PRESSES: usize = 60;
/// Of those that the detector must have answered when it is stopped in the midst of it.
const ANSWERED: usize = 20;

type Offsets = BTreeMap<u32, Option<i64>>;

#[test]
fn a_detector_killed_under_load_repeats_only_what_it_had_not_committed() {
    let site = Site::new(World::new("killed"), &Rules::of(&DEVICES));
    let ingest = site.start("ingest");
    let mut detect = site.start("detect");
    detect.wait_watching();
    let mut load = Load::start(&site);
    let mut kills = Vec::new();
    for round in 0..ROUNDS {
        kills.push(kill_between_alert_and_commit(&site, &mut load, &mut detect));
        load.press();
        let (next, took) = timed(|| site.start("detect"));
        detect = next;
        let ((), caught_up) = timed(|| {
            wait_for(SOON, "every press to be answered", || {
                let answered = load.answered();
                if answered == load.sent { Ok(()) } else { Err(format!("{answered} of {}; {}", load.sent, detect.tail())) }
            });
        });
        figure(&format!("round {round}: ready again after {took:?}, caught up after {caught_up:?} more"));
    }
    // What the last killed one had said already, its successor may still have to read.
    wait_for(SOON, "the last detector to pass the last kill", || {
        let (committed, last) = (offsets(&site), kills.last().expect("there was a kill"));
        let passed = last.ends.iter().all(|(partition, end)| committed[partition].is_some_and(|offset| offset >= *end));
        if passed { Ok(()) } else { Err(format!("{committed:?} of {:?}; {}", last.ends, detect.tail())) }
    });
    drop(ingest);
    assert_eq!(detect.stop().code(), Some(0), "{}", detect.tail());
    judge(&site, &kills, &offsets(&site));
}

/// The group's committed offsets.
#[track_caller]
fn offsets(site: &Site) -> Offsets {
    committed(&site.world.kafka, &site.group(), &site.world.kafka_topic("journal"), PARTITIONS)
}

/// Presses, and how many of them the detector has answered.
struct Load {
    publishers: Vec<Publisher>,
    alerts: Follower,
    sent: usize,
}

impl Load {
    fn start(site: &Site) -> Self {
        let publisher = |device| Publisher::start(&site.world.mosquitto, &format!("lw/v1/{device}/duress"));
        let publishers = DEVICES.into_iter().map(publisher).collect();
        Self { publishers, alerts: Follower::start(&site.world.kafka, &site.alerts_topic()), sent: 0 }
    }

    fn press(&mut self) {
        for publisher in &mut self.publishers {
            let lines: Vec<String> = (0..PRESSES).map(|press| format!("{{\"id\":\"{}.{press}\"}}", self.sent)).collect();
            publisher.send(&lines.join("\n"));
        }
        self.sent += PRESSES * DEVICES.len();
    }

    fn answered(&self) -> usize {
        self.alerts.with_alerts(answered)
    }
}

/// Presses with a second revision.
fn answered(alerts: &[SeenAlert]) -> usize {
    alerts.iter().filter(|alert| alert.revision == 2).map(|alert| &alert.id).collect::<BTreeSet<_>>().len()
}

/// How far all had come when the detector was killed, by partition.
struct Kill {
    committed: Offsets,
    ends: BTreeMap<u32, i64>,
}

/// Stops the detector in the midst of its work, and kills it where it has said more than it has committed; else it goes on.
#[track_caller]
fn kill_between_alert_and_commit(site: &Site, load: &mut Load, detect: &mut Role) -> Kill {
    for _ in 0..40 {
        let before = load.answered();
        load.press();
        wait_until(SOON, "some answers", || load.answered() >= before + ANSWERED);
        detect.freeze();
        // Nobody reads or commits any more.
        let committed = offsets(site);
        let said = answered(&alerts_among(&consume(&site.world.kafka, &site.alerts_topic())));
        if said > presses_below(site, &committed) {
            detect.kill();
            // The killed one has said nothing of what lies beyond the journal's end.
            return Kill { committed, ends: ends(&site.world.kafka, &site.world.kafka_topic("journal"), PARTITIONS) };
        }
        detect.thaw();
    }
    panic!("no kill fell between an alert and its commit: nothing would be shown");
}

fn presses_below(site: &Site, committed: &Offsets) -> usize {
    let is_press = |value: &[u8]| matches!(journal::decode(value), Ok(Record::Message(message)) if message.press.is_some());
    let records = journal_records(site);
    let below = records.iter().filter(|record| {
        let partition = u32::try_from(record.partition).expect("a partition's number");
        committed[&partition].is_some_and(|offset| record.offset < offset)
    });
    below.filter(|record| record.value.as_deref().is_some_and(is_press)).count()
}

/// Holds the alerts topic against the journal, read by the machine alone.
fn judge(site: &Site, kills: &[Kill], end: &Offsets) {
    let (journal, versions) = (journal_records(site), rulebook_versions(site));
    let whole = replay_alerts(&journal, &versions, PARTITIONS);
    let topic = consume(&site.world.kafka, &site.alerts_topic());
    let mut copies: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for SeenAlert { bytes, .. } in alerts_among(&topic).into_iter().filter(|alert| !alert.is_express()) {
        *copies.entry(bytes).or_default() += 1;
    }
    let (mut should, mut repeats) = (0, 0);
    for (partition, offset, bytes) in &whole {
        let found = copies.remove(bytes).unwrap_or_default();
        // Each kill allows one more copy of what was not committed then and may have been written.
        let open = |kill: &&Kill| (kill.committed[partition].unwrap_or(0)..kill.ends[partition]).contains(offset);
        let allowed = kills.iter().filter(open).count();
        let text = String::from_utf8_lossy(bytes);
        // What lies beyond the last commit may have been said: the commit may have taken too long.
        let is_due = *offset < end[partition].expect("the group has committed");
        assert!(found >= 1 || !is_due, "missing: {text}");
        assert!(found <= 1 + allowed, "{found} copies, though committed: {text}");
        should += usize::from(is_due);
        repeats += found.saturating_sub(1);
    }
    let left: Vec<_> = copies.keys().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    assert!(left.is_empty(), "alerts that the journal does not give: {left:?}");
    figure(&format!("{should} machine alerts, {ROUNDS} kills, {repeats} repeats, nothing missing"));
    assert!(repeats >= ROUNDS, "each kill fell between an alert and its commit, so each is repeated");
}
