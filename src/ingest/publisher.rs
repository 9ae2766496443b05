//! The two connections that publish: probes once a second, and receipts. Neither acknowledges anything (TRAPS R5).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::connection::{self, Connection, End, Endpoint, Happening, Purpose};
use super::intake::Receipt;
use super::probe::{Now, Probe};
use super::takeover::{Takeovers, Twin};
use crate::clock;
use crate::config::FeedSettings;
use crate::device::mqtt_topic;
use crate::health::{Health, Trouble};
use crate::ids::{Incarnation, IngesterName};
use crate::limits;
use crate::runbook::Entry;
use crate::shutdown::Ending;
use crate::time::ProbeMillis;

/// What a connection says whose session another client took.
pub(super) const TAKEN_OVER: &str = "another client has connected under our MQTT client id, and the broker gave it our session: two \
    processes bear the same ingest.name, or a device took our client id. Give each ingester a name of its own, and let the broker's access \
    list reserve client ids that begin with lonewatch-";

/// How far the probes of a feed have come, shared by who sends them and the lanes.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbesSent(Arc<Sent>);

#[derive(Debug, Default)]
struct Sent {
    /// The newest number that was handed to a connection.
    number: AtomicU64,
    /// When the MQTT broker last took one, on the steady clock; 0 before.
    taken_at: AtomicI64,
}

impl ProbesSent {
    /// The newest number that may have been sent.
    pub(super) fn newest(&self) -> u64 {
        self.0.number.load(Ordering::Acquire)
    }

    /// Whether the broker took one in the last 10 s: a lane to which none comes back knows by it where the fault is.
    pub(super) fn taken_lately(&self, steady_millis: i64) -> bool {
        let taken_at = self.0.taken_at.load(Ordering::Relaxed);
        taken_at > 0 && steady_millis - taken_at < limits::BLIND_MILLIS
    }
}

/// What both connections need.
pub(super) struct Publishing {
    pub(super) feed: FeedSettings,
    pub(super) endpoint: Endpoint,
    pub(super) ingester: IngesterName,
    pub(super) incarnation: Incarnation,
    pub(super) probes_sent: ProbesSent,
    pub(super) twin: Twin,
    pub(super) health: Health,
    pub(super) ending: Ending,
}

impl Publishing {
    /// Sends a probe a second, through the way of every filter of the feed.
    pub(super) async fn probes(self) {
        let topics = self.feed.sources.iter().map(|source| source.filter.probe_topic(&self.ingester)).collect();
        let mut beat = tokio::time::interval(Duration::from_millis(limits::PROBE_MILLIS.unsigned_abs()));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let probes =
            Probes { topics, beat, incarnation: self.incarnation, number: 0, last: Now::read(), sent: self.probes_sent.clone() };
        self.serve("probes", probes).await;
    }

    /// Sends receipts as they come, until the lanes have ended: what they drain at the end gets its receipts too. What waits while
    /// the connection is down is sent when it is up again.
    pub(super) async fn receipts(self, receipts: mpsc::Receiver<Receipt>) {
        self.serve("receipts", Receipts(receipts)).await;
    }

    /// Publishes what comes of a source, over connection after connection, until the source or the process ends.
    async fn serve(mut self, role: &str, mut source: impl Source) {
        let part = format!("feed {} {role}", self.feed.name);
        let mut takeovers = Takeovers::default();
        loop {
            let Some((end, accepted)) = self.connection(role, &part, &mut source).await else { return };
            let now_millis = clock::steady_millis();
            let taken_over = match end {
                End::TakenOver => true,
                End::Closed => accepted && (takeovers.closed(now_millis) || self.twin.is_near(now_millis)),
                End::Broken(_) => false,
            };
            let (Trouble { entry, why }, away_millis) = match end {
                _ if taken_over => (Trouble::new(Entry::MqttTakenOver, TAKEN_OVER), takeovers.happened(now_millis)),
                End::Broken(trouble) => (trouble, limits::RECONNECT_MILLIS_MIN * 4),
                End::Closed | End::TakenOver => (connection::closed(), limits::RECONNECT_MILLIS_MIN * 4),
            };
            if self.pause(&part, entry, &why, away_millis).await {
                return;
            }
        }
    }

    /// One connection: why it is over, and whether the broker had taken it; none where all is published, or the process ends.
    async fn connection(&mut self, role: &str, part: &str, source: &mut impl Source) -> Option<(End, bool)> {
        let mut connection = self.open(role);
        let mut connected = false;
        let mut refused_at = None;
        let mut answers = Answers::default();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            let stops = !connected || source.ends_with_the_process();
            tokio::select! {
                () = self.ending.wait(), if stops => {
                    connection.close().await;
                    return None;
                }
                _ = second.tick() => if answers.are_late(clock::steady_millis()) {
                    return Some((End::Broken(connection::silent(limits::BLIND_MILLIS.unsigned_abs() / 1_000)), connected));
                },
                happening = connection.next() => match happening {
                    Happening::Connected => {
                        connected = true;
                        self.health.ready(part);
                    }
                    Happening::Published => {
                        answers.came(clock::steady_millis());
                        source.published();
                        let now_millis = clock::wall_millis();
                        if refused_at.take_if(|at| now_millis - *at > limits::PUBLISH_REFUSED_SHOWN_MILLIS).is_some() {
                            self.health.ready(part);
                        }
                    }
                    Happening::Refused(reason) => {
                        answers.came(clock::steady_millis());
                        refused_at = Some(clock::wall_millis());
                        let Trouble { entry, why } = source.refused(&format!("{reason:?}"));
                        self.health.not_ready(part, entry, why);
                    }
                    Happening::Ended(end) => return Some((end, connected)),
                    Happening::Subscribed | Happening::Message(_) => {}
                },
                next = source.next(), if connected => {
                    let Some(messages) = next else {
                        connection.close().await;
                        return None;
                    };
                    answers.awaited(messages.len(), clock::steady_millis());
                    let sent = messages.into_iter().try_for_each(|(mqtt_topic, payload)| connection.publish(&mqtt_topic, payload));
                    if let Err(trouble) = sent {
                        return Some((End::Broken(trouble), connected));
                    }
                }
            }
        }
    }

    fn open(&self, role: &str) -> Connection {
        let purpose = Purpose {
            client_id: format!("lonewatch-{}-{}-{role}", self.ingester, self.feed.name),
            filters: Vec::new(),
            keeps_session: false,
            gather: Duration::ZERO,
            receive_maximum: limits::RECEIVE_MAXIMUM,
        };
        Connection::open(&self.endpoint, &purpose)
    }

    /// Waits before the next attempt; true where the end came meanwhile.
    async fn pause(&mut self, part: &str, entry: Entry, why: &str, millis: u64) -> bool {
        self.health.not_ready(part, entry, why);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(millis)) => false,
            () = self.ending.wait() => true,
        }
    }
}

/// The broker's answers to what was published: a link that is dead swallows them, long before a ping would show it.
#[derive(Debug, Default)]
struct Answers {
    awaited: usize,
    /// When the last came, or the first was awaited; on the steady clock.
    since: i64,
}

impl Answers {
    const fn awaited(&mut self, messages: usize, steady_millis: i64) {
        if self.awaited == 0 {
            self.since = steady_millis;
        }
        self.awaited += messages;
    }

    const fn came(&mut self, steady_millis: i64) {
        self.awaited = self.awaited.saturating_sub(1);
        self.since = steady_millis;
    }

    const fn are_late(&self, steady_millis: i64) -> bool {
        self.awaited > 0 && steady_millis - self.since >= limits::BLIND_MILLIS
    }
}

/// What is to be published: MQTT topics and payloads.
trait Source {
    /// What comes next; none at the end. Cancel-safe.
    async fn next(&mut self) -> Option<Vec<(String, Vec<u8>)>>;

    /// Whether the source goes on for ever, so that the process ends it.
    fn ends_with_the_process(&self) -> bool;

    /// The broker took a message of it.
    fn published(&self);

    /// What to say where the broker will have none of it, for this reason.
    fn refused(&self, reason: &str) -> Trouble;
}

/// A probe a second on each MQTT topic.
struct Probes {
    topics: Vec<String>,
    beat: tokio::time::Interval,
    incarnation: Incarnation,
    number: u64,
    /// When the last one was sent.
    last: Now,
    sent: ProbesSent,
}

impl Source for Probes {
    async fn next(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
        self.beat.tick().await;
        let probe = self.probe(Now::read()).to_string();
        Some(self.topics.iter().map(|topic| (topic.clone(), probe.clone().into_bytes())).collect())
    }

    fn ends_with_the_process(&self) -> bool {
        true
    }

    fn published(&self) {
        self.sent.0.taken_at.store(clock::steady_millis().max(1), Ordering::Relaxed);
    }

    fn refused(&self, reason: &str) -> Trouble {
        let topics = self.topics.join(" and ");
        let why = format!(
            "the broker refuses our probes ({reason}): allow this user to publish on {topics} in the broker's access list"
        );
        Trouble::new(Entry::ProbesMissing, why)
    }
}

impl Probes {
    /// The probe that leaves now.
    fn probe(&mut self, now: Now) -> Probe {
        // Time that a clock was set by was not listened to: a number that is left out begins a new stretch.
        let was_set = now.set_by(self.last).abs() > limits::CLOCK_SET_MILLIS;
        self.number += if was_set { 2 } else { 1 };
        self.last = now;
        self.sent.0.number.store(self.number, Ordering::Release);
        Probe { incarnation: self.incarnation, number: self.number, sent_at: ProbeMillis::new(now.wall_millis) }
    }
}

/// Receipts, each to its device.
struct Receipts(mpsc::Receiver<Receipt>);

impl Source for Receipts {
    async fn next(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
        let receipt = self.0.recv().await?;
        Some(vec![(mqtt_topic::receipt_topic(receipt.device.as_str()), receipt.payload)])
    }

    fn ends_with_the_process(&self) -> bool {
        false
    }

    fn published(&self) {}

    fn refused(&self, reason: &str) -> Trouble {
        let why = format!(
            "the broker refuses receipts ({reason}), and devices repeat their presses: allow this user to publish on {} in the broker's \
             access list",
            mqtt_topic::receipt_topic("+")
        );
        Trouble::new(Entry::ReceiptsRefused, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_probe_that_was_sent_after_the_clock_was_set_leaves_a_number_out() {
        let at = |wall: i64, steady: i64| Now { wall_millis: wall * 1_000, steady_millis: steady * 1_000 };
        let mut probes = Probes {
            topics: Vec::new(),
            beat: tokio::time::interval(Duration::from_secs(1)),
            incarnation: Incarnation(1),
            number: 0,
            last: at(100, 0),
            sent: ProbesSent::default(),
        };
        let mut number = |wall, steady| probes.probe(at(wall, steady)).number;
        assert_eq!((number(101, 1), number(102, 2)), (1, 2));
        assert_eq!(
            number(132, 32),
            3,
            "a process that was frozen has heard nothing in between, and misses nothing: the broker kept it"
        );
        assert_eq!(number(733, 33), 5, "ten minutes forward");
        assert_eq!(number(734, 34), 6);
        assert_eq!(number(135, 35), 8, "and back");
        assert_eq!(probes.sent.newest(), 8);
    }
}
