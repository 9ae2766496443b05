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
    pub(super) async fn probes(mut self) {
        let part = format!("feed {} probes", self.feed.name);
        let topics: Vec<String> = self.feed.sources.iter().map(|source| source.filter.probe_topic(&self.ingester)).collect();
        let period = Duration::from_millis(limits::PROBE_MILLIS.unsigned_abs());
        let mut number = 0;
        loop {
            let mut connection = self.open("probe");
            let mut connected = false;
            let mut beat = tokio::time::interval(period);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let why = loop {
                tokio::select! {
                    () = self.ending.wait() => return connection.close().await,
                    happening = connection.next() => match happening {
                        Happening::Connected => {
                            connected = true;
                            self.health.ready(&part);
                        }
                        Happening::Ended(why) => break why,
                        Happening::Published | Happening::Subscribed | Happening::Message(_) => {}
                    },
                    _ = beat.tick(), if connected => {
                        number += 1;
                        if let Err(why) = self.send(&connection, &topics, number) {
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

    fn send(&self, connection: &Connection, topics: &[String], number: u64) -> Result<(), String> {
        let probe = Probe { incarnation: self.incarnation, number, sent_at: ProbeMillis::new(clock::wall_millis()) };
        topics.iter().try_for_each(|topic| connection.publish(topic, probe.to_string().into_bytes()))
    }

    /// Sends receipts as they come, until the lanes have ended: what they drain at the end gets its receipts too. What waits while
    /// the connection is down is sent when it is up again.
    pub(super) async fn receipts(mut self, mut receipts: mpsc::Receiver<Receipt>) {
        let part = format!("feed {} receipts", self.feed.name);
        loop {
            let mut connection = self.open("receipts");
            let mut connected = false;
            let why = loop {
                tokio::select! {
                    happening = connection.next() => match happening {
                        Happening::Connected => {
                            connected = true;
                            self.health.ready(&part);
                        }
                        Happening::Ended(why) => break why,
                        Happening::Published | Happening::Subscribed | Happening::Message(_) => {}
                    },
                    receipt = receipts.recv(), if connected => {
                        let Some(receipt) = receipt else { return connection.close().await };
                        if let Err(why) = connection.publish(&mqtt_topic::receipt_topic(receipt.device.as_str()), receipt.payload) {
                            break why;
                        }
                    }
                    () = self.ending.wait(), if !connected => return,
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
