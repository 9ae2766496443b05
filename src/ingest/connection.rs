//! One MQTT connection: opened, subscribed, watched, and dropped whole on the first error.
//!
//! The wire is served by a task of its own, so that nothing that a lane does can stop keep-alives. Every event comes through one
//! channel; after an end nothing follows. A new connection is a new object: no publish and no acknowledgement can cross.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Disconnect, DisconnectReasonCode, Filter as Subscription, Login, Packet, PubAck, PubAckReason,
    Publish, RetainForwardRule, Subscribe, SubscribeReasonCode, Unsubscribe,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::wire::{self, Fault};
use crate::health::Trouble;
use crate::limits;
use crate::redact::Redacted;
use crate::runbook::Entry;

/// Where a feed's MQTT broker is, and who we are there.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// User and password.
    pub(super) credentials: Option<(String, Redacted<String>)>,
}

/// How a connection differs from another.
#[derive(Clone, Debug)]
pub(super) struct Purpose {
    pub(super) client_id: String,
    /// Filters of a lane; none for a connection that only publishes.
    pub(super) filters: Vec<String>,
    /// Whether the broker keeps what comes while we are away.
    pub(super) keeps_session: bool,
    /// How long messages may gather before they are read; with any time at all the connection needs a thread of its own.
    pub(super) gather: Duration,
    /// Messages that the broker may have on their way to us.
    pub(super) receive_maximum: u16,
}

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum End {
    /// Another client has connected under our client id, and the broker gave it our session.
    TakenOver,
    /// The broker closed the connection without a word.
    Closed,
    /// Anything else, with the mend where we know one.
    Broken(Trouble),
}

impl End {
    fn of(fault: Fault) -> Self {
        match fault {
            Fault::Closed => Self::Closed,
            Fault::Broken(why) => Self::Broken(lost(why)),
        }
    }
}

/// What to say of a connection that the broker closed without a word.
pub(super) fn closed() -> Trouble {
    lost("the broker closed the connection; its log may say why")
}

/// What to say of a broker that lets us wait.
pub(super) fn silent(seconds: u64) -> Trouble {
    lost(format!("nothing was heard from the broker for {seconds} s"))
}

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum Happening {
    /// The broker took us; what it had kept for us may follow at once.
    Connected,
    /// Every filter was granted.
    Subscribed,
    /// A message.
    Message(Publish),
    /// The broker has a publish of ours.
    Published,
    /// The broker will not have a publish of ours, and why.
    Refused(PubAckReason),
    /// The end, and why.
    Ended(End),
}

impl Happening {
    fn broken(why: impl Into<String>) -> Self {
        Self::Ended(End::Broken(lost(why)))
    }
}

fn lost(why: impl Into<String>) -> Trouble {
    Trouble::new(Entry::MqttConnection, why)
}

/// An open connection.
pub(super) struct Connection {
    requests: mpsc::Sender<Packet>,
    events: mpsc::Receiver<Result<Packet, Fault>>,
    task: JoinHandle<()>,
    filters: Vec<String>,
    /// When the broker was last heard.
    heard_at: tokio::time::Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Begins to connect; [`Connection::next`] tells what comes of it. Needs a running runtime.
    pub(super) fn open(endpoint: &Endpoint, purpose: &Purpose) -> Self {
        let (requests, asked) = mpsc::channel(limits::CLIENT_REQUESTS_MAX);
        let (sender, events) = mpsc::channel(limits::CLIENT_EVENTS_MAX);
        let address = (endpoint.host.clone(), endpoint.port);
        let task = tokio::spawn(wire::serve(address, greeting(endpoint, purpose), purpose.gather, asked, sender));
        Self { requests, events, task, filters: purpose.filters.clone(), heard_at: tokio::time::Instant::now() }
    }

    /// The next happening. Silence for longer than [`limits::MQTT_SILENCE_MILLIS_MAX`] is the end as well, for any connection hears the
    /// answers to its pings; who expects more looks sooner. Cancel-safe: the silence goes on across calls.
    pub(super) async fn next(&mut self) -> Happening {
        loop {
            let silent_at = self.heard_at + Duration::from_millis(limits::MQTT_SILENCE_MILLIS_MAX);
            let waited = tokio::time::timeout_at(silent_at, self.events.recv()).await;
            let packet = match waited {
                Err(_) => return Happening::Ended(End::Broken(silent(limits::MQTT_SILENCE_MILLIS_MAX / 1_000))),
                Ok(None) => return Happening::broken("the connection's task has ended"),
                Ok(Some(Err(fault))) => return Happening::Ended(End::of(fault)),
                Ok(Some(Ok(packet))) => packet,
            };
            self.heard_at = tokio::time::Instant::now();
            if let Some(happening) = self.tell(packet) {
                return happening;
            }
        }
    }

    fn tell(&self, packet: Packet) -> Option<Happening> {
        match packet {
            Packet::ConnAck(_) if self.filters.is_empty() => Some(Happening::Connected),
            Packet::ConnAck(_) => Some(match self.subscribe() {
                Ok(()) => Happening::Connected,
                Err(trouble) => Happening::Ended(End::Broken(trouble)),
            }),
            Packet::SubAck(answer) => Some(self.granted(&answer.return_codes)),
            Packet::Publish(publish) if publish.topic.is_empty() => {
                Some(Happening::broken("a message came with a topic alias, though we allow none"))
            }
            Packet::Publish(publish) => Some(Happening::Message(publish)),
            Packet::PubAck(PubAck { reason: PubAckReason::Success | PubAckReason::NoMatchingSubscribers, .. }) => {
                Some(Happening::Published)
            }
            Packet::PubAck(PubAck { reason, .. }) => Some(Happening::Refused(reason)),
            Packet::Disconnect(Disconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. }) => {
                Some(Happening::Ended(End::TakenOver))
            }
            Packet::Disconnect(Disconnect { reason_code, properties }) => {
                let (why, elsewhere) = properties.map_or((None, None), |said| (said.reason_string, said.server_reference));
                let word = wire::word(&reason_code, why.as_ref(), elsewhere.as_ref());
                Some(Happening::broken(format!("the broker disconnected us: {word}")))
            }
            // Answers to pings only show that the broker lives, which the wait above has noted; the rest we never ask for.
            Packet::PingResp(_)
            | Packet::PingReq(_)
            | Packet::Connect(..)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::Auth(_) => None,
        }
    }

    /// Subscribes anew on every connection: a session that the broker says it kept may have lost its subscriptions (Mosquitto 2.0.11 loses
    /// the shared ones).
    fn subscribe(&self) -> Result<(), Trouble> {
        let filters = self.filters.iter().map(|filter| Subscription {
            path: filter.clone(),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::Never,
        });
        self.ask(Packet::Subscribe(Subscribe::new_many(filters, None)), "subscribe")
    }

    /// Takes filters out of the session, if it has them. The answer says nothing that anybody needs.
    pub(super) fn unsubscribe(&self, filters: Vec<String>) -> Result<(), Trouble> {
        self.ask(Packet::Unsubscribe(Unsubscribe { filters, ..Unsubscribe::default() }), "unsubscribe")
    }

    fn ask(&self, packet: Packet, doing: &str) -> Result<(), Trouble> {
        self.requests.try_send(packet).map_err(|fault| {
            lost(match fault {
                mpsc::error::TrySendError::Full(_) => {
                    format!("cannot {doing}: {} requests wait already", limits::CLIENT_REQUESTS_MAX)
                }
                mpsc::error::TrySendError::Closed(_) => format!("cannot {doing}: the connection has ended"),
            })
        })
    }

    fn granted(&self, codes: &[SubscribeReasonCode]) -> Happening {
        let refused: Vec<String> = self
            .filters
            .iter()
            .zip(codes)
            .filter(|(_, code)| !matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce)))
            .map(|(filter, code)| format!("{filter} ({code:?})"))
            .collect();
        if refused.is_empty() && codes.len() == self.filters.len() {
            Happening::Subscribed
        } else {
            Happening::broken(format!(
                "the broker does not grant {} at QoS 1: allow this user to read it in the broker's access list",
                if refused.is_empty() { "every filter".to_owned() } else { refused.join(", ") }
            ))
        }
    }

    /// Acknowledges a message of this connection.
    pub(super) fn acknowledge(&self, publish: &Publish) -> Result<(), Trouble> {
        if publish.qos == QoS::AtMostOnce {
            return Ok(());
        }
        self.ask(Packet::PubAck(PubAck::new(publish.pkid, None)), "acknowledge")
    }

    /// Publishes at QoS 1.
    pub(super) fn publish(&self, mqtt_topic: &str, payload: Vec<u8>) -> Result<(), Trouble> {
        self.ask(Packet::Publish(Publish::new(mqtt_topic, QoS::AtLeastOnce, payload, None)), "publish")
    }

    /// Says goodbye, so that the broker need not wait for the keep-alive to run out.
    pub(super) async fn close(mut self) {
        if self.ask(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)), "say goodbye").is_ok() {
            let goodbye = async { while let Some(Ok(_)) = self.events.recv().await {} };
            let _said_or_not = tokio::time::timeout(Duration::from_millis(limits::MQTT_GOODBYE_MILLIS), goodbye).await;
        }
    }
}

/// How we introduce ourselves.
fn greeting(endpoint: &Endpoint, purpose: &Purpose) -> (Connect, Option<Login>) {
    let properties = ConnectProperties {
        session_expiry_interval: Some(if purpose.keeps_session { limits::SESSION_EXPIRY_SECONDS } else { 0 }),
        receive_maximum: Some(purpose.receive_maximum),
        max_packet_size: Some(limits::CLIENT_PACKET_BYTES_MAX),
        ..ConnectProperties::new()
    };
    let connect = Connect {
        keep_alive: limits::KEEP_ALIVE_SECONDS,
        client_id: purpose.client_id.clone(),
        clean_start: !purpose.keeps_session,
        properties: Some(properties),
    };
    let login = endpoint.credentials.as_ref().map(|(user, password)| Login::new(user.clone(), password.reveal().clone()));
    (connect, login)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
