//! One MQTT connection: opened, subscribed, watched, and dropped whole on the first error (TRAPS R3 to R9).
//!
//! The client is polled by a task of its own, so that nothing that a lane does can stop keep-alives. Every event comes through one
//! channel; after an end nothing follows. A new connection is a new object: no publish and no acknowledgement can cross.

use std::io::ErrorKind;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Disconnect, DisconnectReasonCode, Filter as Subscription, Packet, PubAck, PubAckReason, Publish, RetainForwardRule,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

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
    fn of(fault: &ConnectionError) -> Self {
        match fault {
            ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code: DisconnectReasonCode::SessionTakenOver,
                ..
            }) => Self::TakenOver,
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::Closed,
            ConnectionError::Io(fault)
                if [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted, ErrorKind::BrokenPipe].contains(&fault.kind()) =>
            {
                Self::Closed
            }
            _any_other => Self::Broken(lost(fault.to_string())),
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
    client: AsyncClient,
    events: mpsc::Receiver<Result<Event, End>>,
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
        let options = options(endpoint, purpose);
        let (client, mut event_loop) = AsyncClient::new(options, limits::CLIENT_REQUESTS_MAX);
        event_loop.options.set_connection_timeout(limits::MQTT_CONNECT_SECONDS);
        let (sender, events) = mpsc::channel(limits::CLIENT_EVENTS_MAX);
        let task = tokio::spawn(poll(event_loop, sender));
        Self { client, events, task, filters: purpose.filters.clone(), heard_at: tokio::time::Instant::now() }
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
                Ok(Some(Err(why))) => return Happening::Ended(why),
                Ok(Some(Ok(Event::Outgoing(_)))) => continue,
                Ok(Some(Ok(Event::Incoming(packet)))) => packet,
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
            Packet::Disconnect(word) => Some(Happening::broken(format!("the broker disconnected us: {:?}", word.reason_code))),
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

    /// Subscribes anew on every connection: a session that the broker says it kept may have lost its subscriptions (TRAPS M4).
    fn subscribe(&self) -> Result<(), Trouble> {
        let filters = self.filters.iter().map(|filter| Subscription {
            path: filter.clone(),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::Never,
        });
        self.client.try_subscribe_many(filters).map_err(|fault| lost(format!("cannot subscribe: {fault}")))
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
        self.client.try_ack(publish).map_err(|fault| lost(format!("cannot acknowledge: {fault}")))
    }

    /// Publishes at QoS 1.
    pub(super) fn publish(&self, mqtt_topic: &str, payload: Vec<u8>) -> Result<(), Trouble> {
        self.client
            .try_publish(mqtt_topic, QoS::AtLeastOnce, false, payload)
            .map_err(|fault| lost(format!("cannot publish: {fault}")))
    }

    /// Says goodbye, so that the broker need not wait for the keep-alive to run out.
    pub(super) async fn close(mut self) {
        if self.client.try_disconnect().is_ok() {
            let goodbye = async { while let Some(Ok(_)) = self.events.recv().await {} };
            let _said_or_not = tokio::time::timeout(Duration::from_millis(limits::MQTT_GOODBYE_MILLIS), goodbye).await;
        }
    }
}

/// Serves the client until its first error.
async fn poll(mut event_loop: EventLoop, events: mpsc::Sender<Result<Event, End>>) {
    loop {
        let polled = event_loop.poll().await;
        let over = polled.is_err();
        if events.send(polled.map_err(|fault| End::of(&fault))).await.is_err() || over {
            return;
        }
    }
}

fn options(endpoint: &Endpoint, purpose: &Purpose) -> MqttOptions {
    let mut options = MqttOptions::new(&purpose.client_id, &endpoint.host, endpoint.port);
    options.set_keep_alive(Duration::from_secs(limits::KEEP_ALIVE_SECONDS));
    options.set_manual_acks(true);
    options.set_clean_start(!purpose.keeps_session);
    options.set_session_expiry_interval(Some(if purpose.keeps_session { limits::SESSION_EXPIRY_SECONDS } else { 0 }));
    options.set_receive_maximum(Some(limits::RECEIVE_MAXIMUM));
    options.set_max_packet_size(Some(limits::CLIENT_PACKET_BYTES_MAX));
    if let Some((user, password)) = &endpoint.credentials {
        options.set_credentials(user, password.reveal().as_str());
    }
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options
}
