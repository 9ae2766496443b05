//! An alarm receiving centre: follows its alerts topic and judges the heartbeats exactly as `lonewatch alerts follow` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lonewatch::alert::{CentreMessage, PartitionBeat};
use lonewatch::clock::wall_millis;
use lonewatch::kafka::{Cluster, StartAt, TailItem, TopicTail};
use lonewatch::watch::Watch;

use super::alerts::{SeenAlert, longest_gap_millis};
use super::kafka::Kafka;
use super::wait::wait_for;

const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// As `alerts follow` looks.
const TURN: Duration = Duration::from_millis(250);
/// P5: blind is said, and is over, within this.
pub const SAID_WITHIN: Duration = Duration::from_secs(15);
/// I9: after healing everything is current again within this.
pub const CURRENT_WITHIN: Duration = Duration::from_secs(30);
/// From an alert's making to its reading, on cores that builds and other tests share.
const READ_MILLIS_MAX: i64 = 10_000;
/// A heartbeat whose figures stay below this shows no lag: a few beats of probes and metronome.
const CURRENT_MILLIS: i64 = 4_000;

/// An alert, and when the centre read it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Milliseconds since the epoch, by the reader's clock.
    pub at: i64,
    /// What it read.
    pub alert: SeenAlert,
}

impl Seen {
    /// When the alert was made, for what must come in time: a loaded machine may put off the reading, but not for longer than
    /// [`READ_MILLIS_MAX`].
    pub fn made_at(&self) -> i64 {
        let changed_at = self.alert.json["changed_at"].as_i64().expect("an alert says when it was changed");
        changed_at.max(self.at - READ_MILLIS_MAX)
    }
}

/// That we are blind, or no longer: by an alert, or by heartbeats that are missing or lag.
#[derive(Clone, Debug)]
pub struct Said {
    /// When the centre knew by its heartbeats, or when the alert was made; milliseconds since the epoch.
    pub at: i64,
    /// By an alert, not by heartbeats.
    pub by_alert: bool,
    /// Blind, or seeing again.
    pub blind: bool,
    /// In whose words.
    pub text: String,
}

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    said: Vec<Said>,
    /// What is not watched now.
    dark: BTreeSet<String>,
    beats: BTreeMap<u32, (i64, PartitionBeat)>,
    /// When each heartbeat was made.
    beats_at: Vec<i64>,
}

/// A centre that reads. Dropping it ends it.
pub struct Centre {
    log: Arc<Mutex<Log>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Centre {
    /// Begins to read the topic from its beginning.
    #[track_caller]
    pub fn start(kafka: &Kafka, topic: &str) -> Self {
        let cluster = Cluster::new(&kafka.bootstrap(), BTreeMap::new());
        let mut tail = TopicTail::open(&cluster, topic, StartAt::Beginning, OPEN_WITHIN).expect("the centre's topic");
        let (log, ending) = (Arc::new(Mutex::new(Log::default())), Arc::new(AtomicBool::new(false)));
        let (of_thread, told) = (Arc::clone(&log), Arc::clone(&ending));
        let thread = std::thread::Builder::new().name("centre".to_owned()).spawn(move || {
            let mut watch = Watch::new(wall_millis());
            while !told.load(Ordering::Relaxed) {
                let item = tail.poll(TURN);
                let mut log = lock(&of_thread);
                if let TailItem::Record { payload: Some(payload), .. } = item {
                    log.read(&payload, &mut watch);
                }
                if tail.has_caught_up() {
                    log.judge(&mut watch);
                }
            }
        });
        Self { log, ending, thread: Some(thread.expect("a thread for the centre")) }
    }

    /// Everything read so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.log).seen.clone()
    }

    /// The alerts of a kind that were read so far.
    pub fn alerts_of(&self, kind: &str) -> Vec<SeenAlert> {
        let log = lock(&self.log);
        log.seen.iter().filter(|seen| seen.alert.text("kind") == kind).map(|seen| seen.alert.clone()).collect()
    }

    /// Everything said of blindness so far.
    pub fn said(&self) -> Vec<Said> {
        lock(&self.log).said.clone()
    }

    /// The longest time between two heartbeats since then, by their own times.
    pub fn longest_heartbeat_gap_millis(&self, since: i64) -> i64 {
        let beats_at: Vec<i64> = lock(&self.log).beats_at.iter().copied().filter(|at| *at >= since).collect();
        longest_gap_millis(&beats_at)
    }

    /// What is not watched now.
    pub fn dark(&self) -> BTreeSet<String> {
        lock(&self.log).dark.clone()
    }

    /// Waits until blindness is said whose words have these in them, for a fault that began at `since`; gives after how long.
    #[track_caller]
    pub fn wait_blind(&self, since: i64, words: &str) -> Duration {
        wait_for(SAID_WITHIN + CURRENT_WITHIN, "blindness to be said", || {
            let said = self.said();
            let first = said.iter().find(|said| said.at >= since && said.blind && said.text.contains(words));
            first.map(|said| millis(said.at - since)).ok_or_else(|| format!("{said:?}"))
        })
    }

    /// Waits until everything is watched, for a fault that was healed at `since`; gives after how long.
    #[track_caller]
    pub fn wait_seeing(&self, since: i64) -> Duration {
        wait_for(SAID_WITHIN + CURRENT_WITHIN, "seeing again to be said", || {
            let log = lock(&self.log);
            if !log.dark.is_empty() {
                return Err(format!("dark: {:?}; {:?}", log.dark, log.said));
            }
            let last = log.said.iter().map(|said| said.at).max().unwrap_or(since);
            Ok(millis(last - since))
        })
    }

    /// Waits until every partition is claimed and lags by nothing, for a fault that was healed at `since`; gives after how long (I9).
    #[track_caller]
    pub fn wait_current(&self, partitions: u32, since: i64) -> Duration {
        wait_for(CURRENT_WITHIN * 2, "no lag", || {
            let log = lock(&self.log);
            let is_current = |partition: u32| log.beats.get(&partition).is_some_and(|(at, beat)| *at > since && is_current(beat));
            if (0..partitions).all(is_current) {
                let at = log.beats.values().map(|(at, _)| *at).max().unwrap_or(since);
                Ok(millis(at - since))
            } else {
                Err(format!("{:?}", log.beats))
            }
        })
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    // Each entry is whole before anything that could panic.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn is_current(beat: &PartitionBeat) -> bool {
    let small = |behind: Option<i64>| behind.is_some_and(|behind| behind < CURRENT_MILLIS);
    small(beat.now_behind_millis) && beat.feeds.iter().all(|feed| small(feed.heard_behind_millis))
}

impl Log {
    fn read(&mut self, payload: &[u8], watch: &mut Watch) {
        let now = wall_millis();
        match serde_json::from_slice(payload).expect("the centre's topic holds alerts and heartbeats") {
            CentreMessage::Alert(_) => {
                let seen = Seen { at: now, alert: SeenAlert::of(payload) };
                if seen.alert.text("kind") == "blind" {
                    self.blind_alert(&seen);
                }
                self.seen.push(seen);
            }
            CentreMessage::Heartbeat(beat) => {
                watch.beat(&beat, now);
                self.beats_at.push(beat.at);
                for of_partition in &beat.partitions {
                    self.beats.insert(of_partition.partition, (beat.at, of_partition.clone()));
                }
            }
        }
    }

    fn blind_alert(&mut self, seen: &Seen) {
        let alert = &seen.alert;
        let (subject, blind) = (format!("alert {}", alert.id), alert.text("state") == "active");
        let changed = if blind { self.dark.insert(subject) } else { self.dark.remove(&subject) };
        // A further revision that stays blind may name another lane.
        if changed || blind {
            let text = format!("blind {} {}", alert.json["lanes"], alert.json["reason"]["text"]);
            self.said.push(Said { at: seen.made_at(), by_alert: true, blind, text });
        }
    }

    fn judge(&mut self, watch: &mut Watch) {
        for sighted in watch.judge(wall_millis()) {
            for subject in subjects(&sighted.text) {
                if sighted.blind {
                    self.dark.insert(subject);
                } else {
                    self.dark.remove(&subject);
                }
            }
            self.said.push(Said { at: sighted.at, by_alert: false, blind: sighted.blind, text: sighted.text });
        }
    }
}

/// Of whom a line of `alerts follow` speaks: what stands before its reason, partition by partition.
fn subjects(text: &str) -> Vec<String> {
    let subject = text.split_once(": ").map_or(text, |(subject, _)| subject);
    let numbers = subject.strip_prefix("devices of partitions ").or_else(|| subject.strip_prefix("devices of partition "));
    match numbers {
        Some(numbers) => numbers.split(", ").map(|number| format!("partition {number}")).collect(),
        None => vec![subject.to_owned()],
    }
}
