//! The invariants of the fault matrix, held against what devices know they did: I1 to I4 here, I6 by [`same_again`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::alerts::{alerts_among, committed};
use super::centre::Seen;
use super::diary::{Diary, Pressed, Silence};
use super::replay::{journal_records, replay_alerts, rulebook_versions};
use super::site::{PARTITIONS, Site};
use super::tools::consume;
use super::wait::wait_for;
use std::time::Duration;

/// The grains of probes and metronome, the way, and a shared machine: I4 asks for two ticks and a second.
const LATE_MILLIS: i64 = 3_000 + 2_000;

/// When a press arrived, in the words of its first revision.
const ARRIVAL: [&str; 4] = ["occurred_at", "raised_at", "changed_at", "late"];

/// What stands in those fields.
type Times = [Option<Value>; 4];

/// What came of a run.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Presses.
    pub presses: usize,
    /// Of them, those with a receipt.
    pub receipted: usize,
    /// Receipted, and without an alert (I1).
    pub lost: Vec<String>,
    /// Without an alert and without a receipt: the device still repeats them.
    pub open: usize,
    /// Alerts of presses that nobody pressed: a second id (I2).
    pub doubled: Vec<String>,
    /// Copies of one revision that differ, beyond what copies of a press may differ in (I2).
    pub unequal: Vec<String>,
    /// Copies of a press that say another time: they came after another probe, or after none.
    pub otherwise_timed: usize,
    /// Revisions read more than once.
    pub repeats: usize,
    /// Revisions read, each once.
    pub revisions: usize,
    /// Alerts of lost contact about devices that were not truly silent for so long (I3).
    pub false_lost: Vec<String>,
    /// Copies that devices sent beyond the first of each press.
    pub device_repeats: u32,
    /// From the first sending of a press to its alert at the centre, sorted.
    pub latencies: Vec<i64>,
}

impl Verdict {
    /// Judges what a centre saw. `silence_millis` is the silence limit.
    pub fn of(diary: &Diary, seen: &[Seen], silence_millis: i64) -> Self {
        let mut first_at: BTreeMap<&str, i64> = BTreeMap::new();
        for seen in seen.iter().filter(|seen| seen.alert.text("kind") == "duress") {
            first_at.entry(&seen.alert.id).or_insert(seen.at);
        }
        let mut verdict = Self { presses: diary.presses.len(), ..Self::default() };
        let mut explained = BTreeSet::new();
        for press in &diary.presses {
            verdict.press(press, &first_at, &mut explained);
        }
        let unexplained = first_at.keys().filter(|id| !explained.contains(**id)).map(|id| (*id).to_owned());
        verdict.doubled = unexplained.collect();
        verdict.latencies.sort_unstable();
        verdict.copies(seen);
        verdict.false_lost(&diary.silences, seen, silence_millis);
        verdict
    }

    fn press(&mut self, press: &Pressed, first_at: &BTreeMap<&str, i64>, explained: &mut BTreeSet<String>) {
        self.receipted += usize::from(press.receipted_at.is_some());
        self.device_repeats += press.copies.saturating_sub(1);
        let ids = press.alert_ids().into_iter().map(|id| id.to_string());
        let told: Vec<(String, i64)> = ids.filter_map(|id| first_at.get(id.as_str()).map(|at| (id, *at))).collect();
        match (told.first(), press.receipted_at) {
            (Some((_, at)), _) => self.latencies.extend(press.first_sent_at.map(|sent_at| at - sent_at)),
            (None, Some(_)) => self.lost.push(format!("{press:?}")),
            (None, None) => self.open += 1,
        }
        explained.extend(told.into_iter().map(|(id, _)| id));
    }

    /// One id and revision has one content. Express copies differ in their lane; and in their times, where a device's repeat or a
    /// broker's backlog came at another time than the first copy.
    fn copies(&mut self, seen: &[Seen]) {
        let mut contents: BTreeMap<(&str, u64), (Value, Option<Times>)> = BTreeMap::new();
        for Seen { alert, .. } in seen {
            let mut content = alert.json.clone();
            let fields = content.as_object_mut().expect("an alert is an object");
            fields.remove("lane");
            let times = alert.is_express().then(|| ARRIVAL.map(|field| fields.remove(field)));
            match contents.get(&(alert.id.as_str(), alert.revision)) {
                None => {
                    contents.insert((&alert.id, alert.revision), (content, times));
                }
                Some((first, first_times)) => {
                    self.repeats += 1;
                    self.otherwise_timed += usize::from(*first_times != times);
                    if *first != content {
                        self.unequal.push(format!("{first}\n{content}"));
                    }
                }
            }
        }
        self.revisions = contents.len();
    }

    fn false_lost(&mut self, silences: &[Silence], seen: &[Seen], silence_millis: i64) {
        for Seen { at, alert } in seen.iter().filter(|seen| seen.alert.text("kind") == "lost_contact") {
            let explains = |silence: &Silence| {
                // Contact is known to the second, by the probe before a message.
                let long = silence.from + silence_millis - 2_000 <= *at;
                silence.device == alert.text("device") && long
            };
            if !silences.iter().any(explains) {
                self.false_lost.push(format!("at {at}: {} {}", alert.text("device"), alert.json));
            }
        }
    }

    /// The slowest press.
    pub fn worst_millis(&self) -> i64 {
        self.latencies.last().copied().unwrap_or_default()
    }

    /// The median.
    pub fn median_millis(&self) -> i64 {
        self.latencies.get(self.latencies.len() / 2).copied().unwrap_or_default()
    }

    /// In one line.
    pub fn line(&self) -> String {
        format!(
            "n = {} presses ({} receipted), lost {}, doubled {}, false lost_contact {}; {} revisions, {} read again ({} otherwise timed, {} unequal); \
             devices repeated {} times; press to alert: median {} ms, worst {} ms",
            self.presses,
            self.receipted,
            self.lost.len(),
            self.doubled.len(),
            self.false_lost.len(),
            self.revisions,
            self.repeats,
            self.otherwise_timed,
            self.unequal.len(),
            self.device_repeats,
            self.median_millis(),
            self.worst_millis()
        )
    }

    /// I1 to I3.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.lost.is_empty(), "I1: receipted and not told: {:#?}", self.lost);
        assert!(self.doubled.is_empty(), "I2: ids that no press explains: {:#?}", self.doubled);
        assert!(self.unequal.is_empty(), "I2: copies differ:\n{}", self.unequal.join("\n"));
        assert!(self.false_lost.is_empty(), "I3: not silent, and called lost: {:#?}", self.false_lost);
        assert_eq!(self.open, 0, "presses that nobody answered");
        assert!(self.presses > 0, "nobody pressed: nothing is shown");
    }
}

/// I4: a device that was truly silent and observed has exactly one alert of lost contact, in time.
#[track_caller]
pub fn assert_one_alarm(silence: &Silence, seen: &[Seen], silence_millis: i64) {
    let of_device = |seen: &&Seen| seen.alert.text("kind") == "lost_contact" && seen.alert.text("device") == silence.device;
    let alarms: Vec<&Seen> = seen.iter().filter(of_device).filter(|seen| seen.alert.text("state") == "active").collect();
    let ids: BTreeSet<&str> = alarms.iter().map(|seen| seen.alert.id.as_str()).collect();
    assert_eq!(ids.len(), 1, "I4: one alarm for {silence:?}: {alarms:?}");
    let after = alarms[0].made_at() - silence.from;
    let latest = silence_millis + LATE_MILLIS;
    assert!(after <= latest, "I4: the alarm was made {after} ms after the last message, not within {latest} ms");
}

/// I6: the journal, read again by the machine alone, gives what stands on the alerts topic. No detector may run.
#[track_caller]
pub fn same_again(site: &Site) -> String {
    let (journal, versions) = (journal_records(site), rulebook_versions(site));
    let whole = replay_alerts(&journal, &versions, PARTITIONS);
    let topic = consume(&site.world.kafka, &site.alerts_topic());
    let told: BTreeSet<Vec<u8>> =
        alerts_among(&topic).into_iter().filter(|alert| !alert.is_express()).map(|alert| alert.bytes).collect();
    let given: BTreeSet<&Vec<u8>> = whole.iter().map(|(_, _, bytes)| bytes).collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let foreign: Vec<String> = told.iter().filter(|bytes| !given.contains(bytes)).map(|bytes| text(bytes)).collect();
    assert!(foreign.is_empty(), "I6: told, and the journal does not give it: {foreign:#?}");
    let committed = committed(&site.world.kafka, &site.group(), &site.world.kafka_topic("journal"), PARTITIONS);
    let due = |partition: u32, offset: i64| committed[&partition].is_some_and(|end| offset < end);
    let missing: Vec<String> = whole
        .iter()
        .filter(|(partition, offset, bytes)| due(*partition, *offset) && !told.contains(bytes))
        .map(|(_, _, bytes)| text(bytes))
        .collect();
    assert!(missing.is_empty(), "I6: the journal gives it below the committed offset, and it was not told: {missing:#?}");
    format!("{} records give the {} alerts of the machine that were told", journal.len(), told.len())
}

/// Waits until every press of the diary has been answered by the machine, in a second revision.
#[track_caller]
pub fn wait_answered(deadline: Duration, diary: impl Fn() -> Diary, seen: impl Fn() -> Vec<Seen>) {
    wait_for(deadline, "every press to be answered by the machine", || {
        let (diary, seen) = (diary(), seen());
        let answered: BTreeSet<&str> =
            seen.iter().filter(|seen| seen.alert.revision >= 2).map(|seen| seen.alert.id.as_str()).collect();
        let is_answered = |press: &&Pressed| press.alert_ids().iter().any(|id| answered.contains(id.to_string().as_str()));
        let count = diary.presses.iter().filter(is_answered).count();
        if count == diary.presses.len() { Ok(()) } else { Err(format!("{count} of {}", diary.presses.len())) }
    });
}
