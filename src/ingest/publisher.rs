//! The two connections that publish: probes once a second, and receipts. Neither acknowledges anything (TRAPS R5).

use std::time::Duration;

use tokio::sync::mpsc;

use super::connection::{Connection, Endpoint, Happening, Purpose};
use super::intake::Receipt;
use super::probe::Probe;
use crate::clock;
use crate::config::FeedSettings;
use crate::device::mqtt_topic;
use crate::health::Health;
use crate::ids::{Incarnation, IngesterName};
use crate::limits;
use crate::shutdown::Ending;
use crate::time::ProbeMillis;

/// What both connections need.
pub(super) struct Publishing {
    pub(super) feed: FeedSettings,
    pub(super) endpoint: Endpoint,
    pub(super) ingester: IngesterName,
    pub(super) incarnation: Incarnation,
    pub(super) health: Health,
    pub(super) ending: Ending,
}

impl Publishing {
    /// Sends a probe a second, through the way of every filter of the feed.
    pub(super) async fn probes(self) {
        let topics = self.feed.sources.iter().map(|source| source.filter.probe_topic(&self.ingester)).collect();
        let mut beat = tokio::time::interval(Duration::from_millis(limits::PROBE_MILLIS.unsigned_abs()));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let probes = Probes { topics, beat, incarnation: self.incarnation, number: 0 };
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
        loop {
            let mut connection = self.open(role);
            let mut connected = false;
            let why = loop {
                let stops = !connected || source.ends_with_the_process();
                tokio::select! {
                    () = self.ending.wait(), if stops => return connection.close().await,
                    happening = connection.next() => match happening {
                        Happening::Connected => {
                            connected = true;
                            self.health.ready(&part);
                        }
                        Happening::Ended(why) => break why,
                        Happening::Published | Happening::Subscribed | Happening::Message(_) => {}
                    },
                    next = source.next(), if connected => {
                        let Some(messages) = next else { return connection.close().await };
                        let sent = messages.into_iter().try_for_each(|(mqtt_topic, payload)| connection.publish(&mqtt_topic, payload));
                        if let Err(why) = sent {
                            break why;
                        }
                    }
                }
            };
            if self.pause(&part, &why).await {
                return;
            }
        }
    }

    fn open(&self, role: &str) -> Connection {
        let purpose = Purpose {
            client_id: format!("lonewatch-{}-{}-{role}", self.ingester, self.feed.name),
            filters: Vec::new(),
            keeps_session: false,
        };
        Connection::open(&self.endpoint, &purpose)
    }

    /// Waits a moment before the next attempt; true where the end came meanwhile.
    async fn pause(&mut self, part: &str, why: &str) -> bool {
        self.health.not_ready(part, why);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(limits::RECONNECT_MILLIS_MIN * 4)) => false,
            () = self.ending.wait() => true,
        }
    }
}

/// What is to be published: MQTT topics and payloads.
trait Source {
    /// What comes next; none at the end. Cancel-safe.
    async fn next(&mut self) -> Option<Vec<(String, Vec<u8>)>>;

    /// Whether the source goes on for ever, so that the process ends it.
    fn ends_with_the_process(&self) -> bool;
}

/// A probe a second on each MQTT topic.
struct Probes {
    topics: Vec<String>,
    beat: tokio::time::Interval,
    incarnation: Incarnation,
    number: u64,
}

impl Source for Probes {
    async fn next(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
        self.beat.tick().await;
        self.number += 1;
        let sent_at = ProbeMillis::new(clock::wall_millis());
        let probe = Probe { incarnation: self.incarnation, number: self.number, sent_at }.to_string();
        Some(self.topics.iter().map(|topic| (topic.clone(), probe.clone().into_bytes())).collect())
    }

    fn ends_with_the_process(&self) -> bool {
        true
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
}
