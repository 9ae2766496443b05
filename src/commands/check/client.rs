//! An MQTT connection of a check: never an ingester's client id, no session that stays, nothing acknowledged by hand.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter as Subscription, Packet, PubAckReason, Publish, RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing};

use crate::config::FeedSettings;
use crate::limits;

/// Messages that the client may hold in both directions.
const REQUESTS_MAX: usize = 64;

/// What came over the connection.
#[derive(Debug)]
pub(super) enum Came {
    /// A message.
    Message(Publish),
    /// The broker's answer to the filters that were subscribed to, in their order.
    Granted(Vec<SubscribeReasonCode>),
    /// A publish of ours has this number.
    Sent(u16),
    /// The broker's answer to the publish of this number.
    Answered(u16, PubAckReason),
}

/// How to connect.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) client_id: String,
    password: Option<String>,
}

impl Login {
    /// A client id that nobody else has, and the feed's password.
    pub(super) fn new(feed: &FeedSettings, nonce: u64) -> Result<Self, String> {
        let password = match &feed.password_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|fault| format!("{}: {fault}", path.display()))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        Ok(Self { client_id: format!("lonewatch-check-{nonce:016x}"), password })
    }
}

/// An open connection. Dropping it closes it, and the broker forgets it.
pub(super) struct Client {
    requests: AsyncClient,
    events: EventLoop,
    /// What the broker said as it took us.
    pub(super) welcome: ConnAck,
}

impl Client {
    /// Connects. `session_seconds`: for how long the broker shall keep the session; 0 everywhere but where it is asked what it allows.
    pub(super) async fn connect(feed: &FeedSettings, login: &Login, session_seconds: u32) -> Result<Self, ConnectionError> {
        let mut options = MqttOptions::new(&login.client_id, &feed.host, feed.port);
        options.set_keep_alive(Duration::from_secs(limits::KEEP_ALIVE_SECONDS.into()));
        options.set_clean_start(true);
        options.set_session_expiry_interval(Some(session_seconds));
        options.set_receive_maximum(Some(limits::RECEIVE_MAXIMUM));
        options.set_max_packet_size(Some(limits::CLIENT_PACKET_BYTES_MAX));
        if let Some(user) = &feed.username {
            options.set_credentials(user, login.password.as_deref().unwrap_or_default());
        }
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (requests, mut events) = AsyncClient::new(options, REQUESTS_MAX);
        events.options.set_connection_timeout(limits::MQTT_CONNECT_SECONDS);
        loop {
            if let Event::Incoming(Packet::ConnAck(welcome)) = events.poll().await? {
                return Ok(Self { requests, events, welcome });
            }
        }
    }

    /// Subscribes; [`Came::Granted`] follows. Messages that were kept before do not come, and the retained flag of those that do shows.
    pub(super) fn subscribe(&self, filters: &[String], qos: QoS) -> Result<(), String> {
        let filters = filters.iter().map(|filter| Subscription {
            path: filter.clone(),
            qos,
            nolocal: false,
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::Never,
        });
        self.requests.try_subscribe_many(filters).map_err(|fault| format!("cannot subscribe: {fault}"))
    }

    /// Asks for one retained message that the broker itself keeps.
    pub(super) fn subscribe_kept(&self, mqtt_topic: &str) -> Result<(), String> {
        self.requests.try_subscribe(mqtt_topic, QoS::AtMostOnce).map_err(|fault| format!("cannot subscribe: {fault}"))
    }

    /// Publishes at QoS 1; [`Came::Sent`] and [`Came::Answered`] follow.
    pub(super) fn publish(&self, mqtt_topic: &str, payload: &[u8]) -> Result<(), String> {
        self.requests
            .try_publish(mqtt_topic, QoS::AtLeastOnce, false, payload.to_vec())
            .map_err(|fault| format!("cannot publish: {fault}"))
    }

    /// What comes next. Cancel-safe between packets: the event loop keeps what it has read.
    pub(super) async fn next(&mut self) -> Result<Came, String> {
        loop {
            match self.events.poll().await.map_err(|fault| fault.to_string())? {
                Event::Incoming(Packet::Publish(publish)) => return Ok(Came::Message(publish)),
                Event::Incoming(Packet::SubAck(answer)) => return Ok(Came::Granted(answer.return_codes)),
                Event::Incoming(Packet::PubAck(answer)) => return Ok(Came::Answered(answer.pkid, answer.reason)),
                Event::Incoming(Packet::Disconnect(word)) => {
                    return Err(format!("the broker disconnected us: {:?}", word.reason_code));
                }
                Event::Outgoing(Outgoing::Publish(number)) => return Ok(Came::Sent(number)),
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        if self.requests.try_disconnect().is_ok() {
            let goodbye = async { while self.events.poll().await.is_ok() {} };
            let _said_or_not = tokio::time::timeout(Duration::from_millis(limits::MQTT_GOODBYE_MILLIS), goodbye).await;
        }
    }
}

/// Why a connection did not come about, and what mends it.
pub(super) fn refused(fault: &ConnectionError, feed: &FeedSettings) -> (String, String) {
    use rumqttc::v5::mqttbytes::v5::ConnectReturnCode as Code;
    let address = format!("{}:{}", feed.host, feed.port);
    let user = feed.username.as_deref().unwrap_or("nobody (no username)");
    let credentials = "set username and password_file of this feed to what the broker knows";
    match fault {
        ConnectionError::ConnectionRefused(code @ (Code::BadUserNamePassword | Code::NotAuthorized)) => {
            (format!("the broker does not take us as {user} ({code:?})"), credentials.to_owned())
        }
        ConnectionError::ConnectionRefused(code @ (Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion)) => (
            format!("the broker speaks no MQTT 5 ({code:?})"),
            "use a broker with MQTT 5, such as Mosquitto 2.0.22 or newer".to_owned(),
        ),
        ConnectionError::ConnectionRefused(code) => {
            (format!("the broker refuses us ({code:?})"), "see the broker's log".to_owned())
        }
        other => (
            format!("cannot be reached at {address}: {other}"),
            "is the broker running, is the address right, does a firewall lie between?".to_owned(),
        ),
    }
}
