//! Whoever reads the alerts of the demonstration: shows them, and remembers them for the judge.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::alert::CentreMessage;
use crate::clock;
use crate::commands::{Failure, alerts, terminal};
use crate::kafka::{Cluster, StartAt, TailItem, TopicTail};
use crate::simulator::{Fleet, Judge, Verdict};
use crate::watch::Watch;

/// A reader of the alerts topic, on a thread of its own.
pub(super) struct Audience {
    judge: Arc<Mutex<Judge>>,
    leave: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Audience {
    /// Begins to read; `show` prints a line for each alert.
    pub(super) fn seat(cluster: &Cluster, topic: &str, show: bool) -> Result<Self, Failure> {
        let tail = TopicTail::open(cluster, topic, StartAt::Beginning, Duration::from_secs(10))?;
        let (judge, leave) = (Arc::new(Mutex::new(Judge::new())), Arc::new(AtomicBool::new(false)));
        let (hearing, leaving) = (Arc::clone(&judge), Arc::clone(&leave));
        let read = move || attend(tail, &hearing, &leaving, show);
        let thread = std::thread::Builder::new().name("audience".to_owned()).spawn(read)?;
        Ok(Self { judge, leave, thread })
    }

    /// The verdict on what was heard by now.
    pub(super) fn verdict(self, fleet: &Fleet) -> Verdict {
        self.leave.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the audience's thread had panicked");
        }
        let judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        judge.verdict(fleet.deeds(), clock::wall_millis())
    }
}

fn attend(mut tail: TopicTail, judge: &Mutex<Judge>, leave: &AtomicBool, show: bool) {
    let mut watch = Watch::new(clock::wall_millis());
    while !leave.load(Ordering::Relaxed) {
        if let TailItem::Record { payload: Some(payload), .. } = tail.poll(Duration::from_millis(50)) {
            hear(&payload, &mut watch, judge, show);
        }
        for sighted in watch.judge(clock::wall_millis()).iter().filter(|_| show) {
            terminal::say(&alerts::sighted_line(sighted));
        }
    }
}

fn hear(payload: &[u8], watch: &mut Watch, judge: &Mutex<Judge>, show: bool) {
    let now_millis = clock::wall_millis();
    match serde_json::from_slice(payload) {
        Ok(CentreMessage::Alert(alert)) => {
            judge.lock().unwrap_or_else(PoisonError::into_inner).hear(&alert, now_millis);
            if watch.is_news(&alert) && show {
                terminal::say(&terminal::alert_line(&alert));
            }
        }
        Ok(CentreMessage::Heartbeat(beat)) => watch.beat(&beat, now_millis),
        Err(fault) => tracing::error!(%fault, "a message on the alerts topic is none of ours"),
    }
}
