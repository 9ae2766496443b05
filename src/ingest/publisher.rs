//! The two connections that publish: probes once a second, and receipts. Neither acknowledges anything.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::connection::{self, Connection, End, Endpoint, Happening, Purpose};
use super::idle_probe::idle_probe;
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
    /// The MQTT topics on which it refused the last one.
    refused: Mutex<BTreeSet<String>>,
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

    /// The MQTT topics on which the broker refuses our probes.
    pub(super) fn refused(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner)
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
        let nobody = mqtt_topic::receipt_topic(&format!("_probe-{}", self.ingester));
        // Where a filter of ours takes such topics, a trial would come back as something else.
        let is_taken = self.feed.sources.iter().any(|source| source.filter.named(&nobody).is_some());
        self.serve("receipts", Receipts { receipts, nobody: (!is_taken).then_some(nobody) }).await;
    }

    /// Publishes what comes of a source, over connection after connection, until the source or the process ends.
    async fn serve(mut self, role: &str, mut source: impl Source) {
        let part = format!("feed {} {role}", self.feed.name);
        let mut takeovers = Takeovers::default();
        let mut answers = Answers::default();
        loop {
            answers.connection_began();
            let Some((end, accepted)) = self.connection(role, &part, &mut source, &mut answers).await else { return };
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
    async fn connection(
        &mut self,
        role: &str,
        part: &str,
        source: &mut impl Source,
        answers: &mut Answers,
    ) -> Option<(End, bool)> {
        let mut connection = self.open(role);
        let mut connected = false;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            let stops = !connected || source.ends_with_the_process();
            let messages = tokio::select! {
                () = self.ending.wait(), if stops => {
                    connection.close().await;
                    return None;
                }
                _ = second.tick() => {
                    let now_millis = clock::steady_millis();
                    if answers.are_late(now_millis) {
                        return Some((End::Broken(connection::silent(limits::BLIND_MILLIS.unsigned_abs() / 1_000)), connected));
                    }
                    let tries = connected && answers.trial_is_due(now_millis);
                    if tries { source.trial().into_iter().collect() } else { Vec::new() }
                }
                happening = connection.next() => match happening {
                    Happening::Connected => {
                        connected = true;
                        self.connected(part, answers);
                        continue;
                    }
                    Happening::Published => {
                        self.published(part, answers, source);
                        continue;
                    }
                    Happening::Refused(reason) => {
                        let topic = answers.refused(clock::steady_millis());
                        answers.refusal = Some(source.refused(&topic, &format!("{reason:?}")));
                        self.connected(part, answers);
                        continue;
                    }
                    Happening::Ended(end) => return Some((end, connected)),
                    Happening::Subscribed | Happening::Message(_) => continue,
                },
                next = source.next(), if connected => {
                    let Some(messages) = next else {
                        connection.close().await;
                        return None;
                    };
                    messages
                }
            };
            if let Err(trouble) = publish(&connection, messages, answers) {
                return Some((End::Broken(trouble), connected));
            }
        }
    }

    /// Ready, unless the broker refuses what we publish: a new connection mends nothing of that.
    fn connected(&self, part: &str, answers: &Answers) {
        match answers.refusal.clone() {
            Some(Trouble { entry, why }) => self.health.not_ready(part, entry, why),
            None => self.health.ready(part),
        }
    }

    fn published(&self, part: &str, answers: &mut Answers, source: &mut impl Source) {
        let now_millis = clock::steady_millis();
        source.published(&answers.came(now_millis));
        if answers.refusal_is_over(now_millis) {
            self.health.ready(part);
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

type Messages = Vec<(String, Vec<u8>)>;

fn publish(connection: &Connection, messages: Messages, answers: &mut Answers) -> Result<(), Trouble> {
    for (mqtt_topic, payload) in messages {
        connection.publish(&mqtt_topic, payload)?;
        answers.awaited(mqtt_topic, clock::steady_millis());
    }
    Ok(())
}

/// The broker's answers to what was published: a link that is dead swallows them, long before a ping would show it. All times are of
/// the steady clock.
#[derive(Debug, Default)]
struct Answers {
    /// The MQTT topics of what is not answered yet. A broker answers in the order of the publishes (MQTT 5, 4.6).
    awaited: VecDeque<String>,
    /// When the last came, or the first was awaited.
    since: i64,
    /// When the last refusal came; none where that is over.
    refused_at: Option<i64>,
    /// What to say of it.
    refusal: Option<Trouble>,
}

impl Answers {
    /// What an earlier connection awaited is not answered on this one; what was refused there still is.
    fn connection_began(&mut self) {
        self.awaited.clear();
    }

    fn awaited(&mut self, mqtt_topic: String, steady_millis: i64) {
        if self.awaited.is_empty() {
            self.since = steady_millis;
        }
        self.awaited.push_back(mqtt_topic);
    }

    /// An answer came: for which MQTT topic.
    fn came(&mut self, steady_millis: i64) -> String {
        self.since = steady_millis;
        self.awaited.pop_front().unwrap_or_default()
    }

    /// A refusal came: for which MQTT topic.
    fn refused(&mut self, steady_millis: i64) -> String {
        self.refused_at = Some(steady_millis);
        self.came(steady_millis)
    }

    fn are_late(&self, steady_millis: i64) -> bool {
        !self.awaited.is_empty() && steady_millis - self.since >= limits::BLIND_MILLIS
    }

    /// Something was taken now: true, once, where nothing was refused for long enough.
    fn refusal_is_over(&mut self, steady_millis: i64) -> bool {
        let over = self.refused_at.take_if(|at| steady_millis - *at > limits::PUBLISH_REFUSED_SHOWN_MILLIS).is_some();
        self.refusal.take_if(|_| over);
        over
    }

    /// Whether it shall be tried if the broker still refuses: nothing else has shown it lately.
    fn trial_is_due(&self, steady_millis: i64) -> bool {
        self.refused_at.is_some() && self.awaited.is_empty() && steady_millis - self.since >= limits::RECEIPT_TRIED_MILLIS
    }
}

/// What is to be published: MQTT topics and payloads.
trait Source {
    /// What comes next; none at the end. Cancel-safe.
    async fn next(&mut self) -> Option<Messages>;

    /// Whether the source goes on for ever, so that the process ends it.
    fn ends_with_the_process(&self) -> bool;

    /// The broker took a message of it on this MQTT topic.
    fn published(&mut self, mqtt_topic: &str);

    /// What to say where the broker refuses one of it, on this MQTT topic and for this reason.
    fn refused(&mut self, mqtt_topic: &str, reason: &str) -> Trouble;

    /// A message that means nothing to anybody, where only that shows in time if the broker still refuses.
    fn trial(&self) -> Option<(String, Vec<u8>)>;
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
    async fn next(&mut self) -> Option<Messages> {
        self.beat.tick().await;
        let probe = self.probe(Now::read()).to_string();
        Some(self.topics.iter().map(|topic| (topic.clone(), probe.clone().into_bytes())).collect())
    }

    fn ends_with_the_process(&self) -> bool {
        true
    }

    fn published(&mut self, mqtt_topic: &str) {
        self.sent.0.taken_at.store(clock::steady_millis().max(1), Ordering::Relaxed);
        self.sent.refused().remove(mqtt_topic);
    }

    fn refused(&mut self, mqtt_topic: &str, reason: &str) -> Trouble {
        let mut refused = self.sent.refused();
        refused.insert(mqtt_topic.to_owned());
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).filter(|topic| refused.contains(*topic)).collect();
        let why = format!(
            "the broker refuses our probes ({reason}): allow this user to publish on {} in the broker's access list",
            topics.join(" and ")
        );
        Trouble::new(Entry::ProbesMissing, why)
    }

    /// The next probe is one.
    fn trial(&self) -> Option<(String, Vec<u8>)> {
        None
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
struct Receipts {
    receipts: mpsc::Receiver<Receipt>,
    /// The MQTT topic of receipts to nobody; none where there can be no such.
    nobody: Option<String>,
}

impl Source for Receipts {
    async fn next(&mut self) -> Option<Messages> {
        let receipt = self.receipts.recv().await?;
        Some(vec![(mqtt_topic::receipt_topic(receipt.device.as_str()), receipt.payload)])
    }

    fn ends_with_the_process(&self) -> bool {
        false
    }

    fn published(&mut self, _: &str) {}

    fn refused(&mut self, _: &str, reason: &str) -> Trouble {
        let why = format!(
            "the broker refuses receipts ({reason}), and devices repeat their presses: allow this user to publish on {} in the broker's \
             access list",
            mqtt_topic::receipt_topic("+")
        );
        Trouble::new(Entry::ReceiptsRefused, why)
    }

    /// Without it the part would stay unready until somebody presses, and a roll-out would wait for that.
    fn trial(&self) -> Option<(String, Vec<u8>)> {
        // Another feed's filter may take it: a probe of no incarnation means nothing there.
        self.nobody.clone().map(|topic| (topic, idle_probe(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::shutdown::Shutdown;

    #[tokio::test]
    async fn a_probe_that_was_sent_after_the_clock_was_set_leaves_a_number_out() {
        let at = |wall: i64, steady: i64| Now { wall_millis: wall * 1_000, steady_millis: steady * 1_000 };
        let mut probes = probes(&[]);
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

    fn probes(topics: &[&str]) -> Probes {
        Probes {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            beat: tokio::time::interval(Duration::from_secs(1)),
            incarnation: Incarnation(1),
            number: 0,
            last: Now { wall_millis: 100_000, steady_millis: 0 },
            sent: ProbesSent::default(),
        }
    }

    #[tokio::test]
    async fn only_the_topics_that_are_refused_are_named() {
        let (mut probes, mut answers) = (probes(&["a", "b", "c"]), Answers::default());
        for topic in ["a", "b", "c"] {
            answers.awaited(topic.to_owned(), 0);
        }
        probes.published(&answers.came(1));
        let why = probes.refused(&answers.refused(2), "NotAuthorized").why;
        assert!(why.contains("publish on b in the broker's access list"), "{why}");
        let why = probes.refused(&answers.refused(3), "NotAuthorized").why;
        assert!(why.contains("publish on b and c in"), "{why}");
        probes.published("b");
        assert_eq!(*probes.sent.refused(), BTreeSet::from(["c".to_owned()]));
    }

    /// Receipts were ready after each reconnect, until the next was refused.
    #[test]
    fn a_refusal_outlives_its_connection() {
        let text =
            "[kafka]\nbrokers = \"k:1\"\n[ingest]\nname = \"a\"\n[[ingest.feeds]]\nname = \"main\"\nurl = \"mqtt://h:1\"\n";
        let feed = Settings::load(text, []).unwrap().ingest().unwrap().feeds[0].clone();
        let publishing = Publishing {
            endpoint: Endpoint { host: feed.host.clone(), port: feed.port, credentials: None },
            feed,
            ingester: IngesterName::parse("a").unwrap(),
            incarnation: Incarnation(1),
            probes_sent: ProbesSent::default(),
            twin: Twin::new(Now::read()),
            health: Health::default(),
            ending: Shutdown::new().1,
        };
        let mut answers = Answers::default();
        answers.awaited("lw/v1/dev-1/rx".to_owned(), 1_000);
        answers.refused(2_000);
        answers.refusal = Some(Trouble::new(Entry::ReceiptsRefused, "no"));
        answers.awaited("lw/v1/dev-2/rx".to_owned(), 2_000);
        answers.connection_began();
        publishing.connected("receipts", &answers);
        assert_eq!(
            publishing.health.report(),
            (false, vec![format!("receipts: NOT READY: no (see {})", Entry::ReceiptsRefused)])
        );
        assert!(!answers.are_late(60_000), "nothing is awaited of the dead connection");
        assert!(answers.trial_is_due(7_000));
        assert!(answers.refusal_is_over(2_001 + limits::PUBLISH_REFUSED_SHOWN_MILLIS));
        publishing.connected("receipts", &answers);
        assert!(publishing.health.report().0);
    }

    /// The part stayed unready until the next press: nothing else is published there.
    #[test]
    fn a_refused_receipt_is_tried_again_without_a_press_and_over_once_the_broker_takes_it_for_long_enough() {
        let mut answers = Answers::default();
        answers.awaited("lw/v1/dev-1/rx".to_owned(), 1_000);
        answers.refused(2_000);
        let tried: Vec<i64> = (2..80)
            .map(|second| second * 1_000)
            .filter(|now| {
                let due = answers.trial_is_due(*now);
                if due {
                    answers.awaited("lw/v1/_probe-a/rx".to_owned(), *now);
                    // Mended after 20 s.
                    if *now < 20_000 {
                        answers.refused(*now)
                    } else {
                        answers.came(*now)
                    };
                    answers.refusal_is_over(*now);
                }
                due
            })
            .collect();
        assert_eq!(tried, [7_000, 12_000, 17_000, 22_000, 27_000, 32_000, 37_000, 42_000, 47_000, 52_000]);
        assert_eq!(answers.refused_at, None);
    }
}
