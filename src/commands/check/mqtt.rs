//! A feed's MQTT broker, tried on the way that an ingester takes: log in, subscribe to every filter, send a probe there and back.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, PubAckReason, SubscribeReasonCode};
use tokio::time::Instant;

use super::client::{Came, Client, Login, refused};
use super::nonce;
use super::report::Report;
use crate::clock;
use crate::commands::Failure;
use crate::config::{FeedSettings, IngestSettings, Source};
use crate::device::mqtt_topic::receipt_topic;
use crate::diagnosis::{Finding, Part};
use crate::ids::IngesterName;
use crate::ingest::idle_probe;
use crate::limits;

/// How long the broker may take for one round of messages. A broker with a long queue for others still answers us at once.
const ROUND: Duration = Duration::from_secs(5);
/// How long the broker's own word of its version may take.
const VERSION: Duration = Duration::from_secs(1);
/// Where Mosquitto and some others say who they are.
const VERSION_TOPIC: &str = "$SYS/broker/version";
/// Older ones lose messages or subscriptions in ways that we know of (docs/TRAPS.md).
const MOSQUITTO_MIN: [u32; 3] = [2, 0, 22];

/// Checks every feed.
pub(super) async fn check(ingest: &IngestSettings, report: &mut Report) -> Result<(), Failure> {
    let nonce = nonce()?;
    for feed in &ingest.feeds {
        report.waits(format!("feed {}: asking the MQTT broker at {}:{}", feed.name, feed.host, feed.port));
        let login = match Login::new(feed, nonce) {
            Ok(login) => login,
            Err(fault) => {
                let mend = "write the password into that file, readable for the user that lonewatch runs as";
                report.say(&Finding::wrong(Part::Mqtt, subject(feed), format!("cannot read its password: {fault}"), mend));
                continue;
            }
        };
        let mut trial = Trial { feed, ingester: &ingest.name, probe: idle_probe(nonce), report };
        if let Err((says, mend)) = trial.run(&login, ingest).await {
            report.say(&Finding::wrong(Part::Mqtt, subject(feed), says, mend));
        }
    }
    Ok(())
}

fn subject(feed: &FeedSettings) -> String {
    format!("feed {}", feed.name)
}

/// What became of one message of ours.
#[derive(Clone, Debug, Default)]
struct Fate {
    number: Option<u16>,
    answer: Option<PubAckReason>,
    came_back: bool,
}

struct Trial<'a> {
    feed: &'a FeedSettings,
    ingester: &'a IngesterName,
    probe: Vec<u8>,
    report: &'a mut Report,
}

/// What ends a feed's check early: what is, and its mend.
type Early = (String, String);

impl Trial<'_> {
    async fn run(&mut self, login: &Login, ingest: &IngestSettings) -> Result<(), Early> {
        let began_at = clock::wall_millis();
        // Asks for a lane's session, to hear what the broker makes of it; the second connection, of the same client id, ends it.
        let asking = self.connect(login, limits::SESSION_EXPIRY_SECONDS).await?;
        let took_millis = clock::wall_millis() - began_at;
        let welcome = asking.welcome.clone();
        asking.close().await;
        let mut client = self.connect(login, 0).await?;
        let probe_topics: Vec<String> = self.feed.sources.iter().map(|source| source.filter.probe_topic(self.ingester)).collect();
        let nobody = self.round(&mut client, &probe_topics, false).await?;
        let filters: Vec<String> = self.feed.sources.iter().map(|source| source.filter.as_str().to_owned()).collect();
        let codes = self.subscribe(&mut client, &filters).await?;
        let fates = self.round(&mut client, &probe_topics, true).await?;
        let receipts = self.receipts(&mut client, ingest).await?;
        let version = version(&mut client).await;
        client.close().await;

        self.welcome(&welcome, took_millis, version.as_deref());
        for (i, source) in self.feed.sources.iter().enumerate() {
            let finding = self.source_finding(source, codes.get(i).copied(), &fates[i], &nobody[i]);
            self.report.say(&finding);
        }
        self.report.say_all(receipts);
        Ok(())
    }

    async fn connect(&self, login: &Login, session_seconds: u32) -> Result<Client, Early> {
        Client::connect(self.feed, login, session_seconds).await.map_err(|fault| refused(&fault, self.feed))
    }

    /// Publishes our probe on these MQTT topics and waits for the answers, and, where we are subscribed, for the probes.
    async fn round(&self, client: &mut Client, topics: &[String], subscribed: bool) -> Result<Vec<Fate>, Early> {
        for topic in topics {
            client.publish(topic, &self.probe).map_err(early)?;
        }
        let mut fates = vec![Fate::default(); topics.len()];
        let deadline = Instant::now() + ROUND;
        let done = |fate: &Fate| match fate.answer {
            None => false,
            Some(PubAckReason::Success | PubAckReason::NoMatchingSubscribers) => fate.came_back || !subscribed,
            Some(_refusal) => true,
        };
        while !fates.iter().all(done) {
            let Ok(came) = tokio::time::timeout_at(deadline, client.next()).await else { break };
            match came.map_err(early)? {
                Came::Sent(number) => {
                    if let Some(fate) = fates.iter_mut().find(|fate| fate.number.is_none()) {
                        fate.number = Some(number);
                    }
                }
                Came::Answered(number, answer) => {
                    if let Some(fate) = fates.iter_mut().find(|fate| fate.number == Some(number)) {
                        fate.answer = Some(answer);
                    }
                }
                Came::Message(message) if message.payload == self.probe => {
                    let at = topics.iter().position(|topic| topic.as_bytes() == &message.topic[..]);
                    if let Some(at) = at {
                        fates[at].came_back = true;
                    }
                }
                // Devices go on speaking.
                Came::Message(_) | Came::Granted(_) => {}
            }
        }
        Ok(fates)
    }

    async fn subscribe(&self, client: &mut Client, filters: &[String]) -> Result<Vec<SubscribeReasonCode>, Early> {
        client.subscribe(filters, QoS::AtLeastOnce).map_err(early)?;
        let deadline = Instant::now() + ROUND;
        loop {
            match tokio::time::timeout_at(deadline, client.next()).await {
                Err(_) => {
                    return Err(("the broker does not answer our subscription".to_owned(), "see the broker's log".to_owned()));
                }
                Ok(Err(fault)) => return Err(early(fault)),
                Ok(Ok(Came::Granted(codes))) => return Ok(codes),
                Ok(Ok(Came::Message(_) | Came::Sent(_) | Came::Answered(..))) => {}
            }
        }
    }

    /// Whether we may write receipts: tried on an MQTT topic that no device has and no filter of ours takes.
    async fn receipts(&self, client: &mut Client, ingest: &IngestSettings) -> Result<Option<Finding>, Early> {
        let topic = receipt_topic(&format!("_probe-{}", self.ingester));
        let takes = |source: &Source| source.filter.named(&topic).is_some();
        if ingest.feeds.iter().flat_map(|feed| &feed.sources).any(takes) {
            return Ok(None);
        }
        let fates = self.round(client, std::slice::from_ref(&topic), false).await?;
        let subject = format!("{} receipts", subject(self.feed));
        Ok(Some(match fates[0].answer {
            Some(PubAckReason::Success | PubAckReason::NoMatchingSubscribers) => {
                Finding::ok(Part::Mqtt, subject, "the broker takes them")
            }
            Some(reason) => {
                let says = format!("the broker refuses them ({reason:?}): devices would repeat each press for ever");
                Finding::wrong(Part::Mqtt, subject, says, format!("allow this user to write {}", receipt_topic("+")))
            }
            None => Finding::wrong(Part::Mqtt, subject, "the broker does not answer for them in time", "see the broker's log"),
        }))
    }

    fn source_finding(&self, source: &Source, code: Option<SubscribeReasonCode>, fate: &Fate, nobody: &Fate) -> Finding {
        let (filter, probe_topic) = (source.filter.as_str(), source.filter.probe_topic(self.ingester));
        let subject = format!("{} lane {} filter {filter}", subject(self.feed), source.lane.as_str());
        let wrong = |says: String, mend: String| Finding::wrong(Part::Mqtt, subject.clone(), says, mend);
        match code {
            Some(SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce)) => {}
            Some(code) => {
                let says = format!("the broker does not grant it at QoS 1 ({code:?})");
                return wrong(says, format!("allow this user to read {filter} in the broker's access list"));
            }
            None => return wrong("the broker does not answer for it".to_owned(), "see the broker's log".to_owned()),
        }
        match &fate.answer {
            Some(PubAckReason::Success | PubAckReason::NoMatchingSubscribers) if !fate.came_back => wrong(
                format!(
                    "a probe on {probe_topic} was taken and not handed back: nothing of a device would reach us by this filter"
                ),
                format!("allow this user to read {filter} in the broker's access list"),
            ),
            Some(PubAckReason::Success | PubAckReason::NoMatchingSubscribers) => {
                if nobody.answer == Some(PubAckReason::NoMatchingSubscribers) {
                    let says = "granted, and a probe came back; nobody else listens here, nor has a session that would";
                    return Finding::note(Part::Mqtt, subject, says, "start an ingester: until then what comes is lost");
                }
                Finding::ok(Part::Mqtt, subject, "granted, and a probe came back")
            }
            Some(reason) => wrong(
                format!(
                    "the broker refuses our probe on {probe_topic} ({reason:?}): we could not prove that we hear, and would be blind"
                ),
                format!("allow this user to write {probe_topic} in the broker's access list"),
            ),
            None => wrong(format!("the broker does not answer for a probe on {probe_topic}"), "see the broker's log".to_owned()),
        }
    }

    /// What the broker said of itself as it took us.
    fn welcome(&mut self, welcome: &ConnAck, took_millis: i64, version: Option<&str>) {
        let subject = subject(self.feed);
        let properties = welcome.properties.as_ref();
        let user = self.feed.username.as_deref().map_or_else(|| "without a user name".to_owned(), |user| format!("as {user}"));
        let packet = properties.and_then(|properties| properties.max_packet_size);
        let says = format!(
            "{}:{} took us {user} within {took_millis} ms; {}; {}",
            self.feed.host,
            self.feed.port,
            version.map_or_else(|| "it does not tell its version".to_owned(), ToOwned::to_owned),
            packet.map_or_else(|| "it names no largest packet".to_owned(), |bytes| format!("packets up to {bytes} bytes")),
        );
        let mut findings = vec![Finding::ok(Part::Mqtt, subject.clone(), says)];
        let mut note = |says: String, mend: &str| findings.push(Finding::note(Part::Mqtt, subject.clone(), says, mend));
        if packet.is_none_or(|bytes| bytes > limits::CLIENT_PACKET_BYTES_MAX) {
            let says = format!(
                "accepts larger messages than we can be handed ({} bytes): it would drop them",
                limits::CLIENT_PACKET_BYTES_MAX
            );
            note(says, "limit it; for Mosquitto: message_size_limit 65536 and max_packet_size 66560");
        }
        if properties.and_then(|properties| properties.retain_available) != Some(0) {
            note(
                "keeps retained messages: a stale position may come as if it were new".to_owned(),
                "for Mosquitto: retain_available false",
            );
        }
        if version.is_some_and(is_old_mosquitto) {
            note("is older than 2.0.22: known faults lose messages or subscriptions".to_owned(), "use Mosquitto 2.0.22 or newer");
        }
        match properties.and_then(|properties| properties.session_expiry_interval) {
            Some(0) => {
                let says = "keeps no session: what comes while an ingester is away is lost";
                findings.push(Finding::wrong(Part::Mqtt, subject.clone(), says, "let the broker keep sessions for a day"));
            }
            Some(seconds) if seconds < limits::SESSION_EXPIRY_SECONDS => {
                let says =
                    format!("keeps a session for {seconds} s only: what comes while an ingester is away for longer is lost");
                findings.push(Finding::note(Part::Mqtt, subject.clone(), says, "let the broker keep sessions for a day"));
            }
            // It says nothing where it grants what was asked for.
            Some(_) | None => {}
        }
        if properties.and_then(|properties| properties.max_qos) == Some(0) {
            let says = "allows QoS 0 only: every message may be lost";
            findings.push(Finding::wrong(Part::Mqtt, subject, says, "let the broker allow QoS 1"));
        }
        self.report.say_all(findings);
    }
}

fn early(fault: String) -> Early {
    (fault, "see the broker's log".to_owned())
}

/// The broker's word of its version, where it lets us read it.
async fn version(client: &mut Client) -> Option<String> {
    client.subscribe_kept(VERSION_TOPIC).ok()?;
    let deadline = Instant::now() + VERSION;
    loop {
        match tokio::time::timeout_at(deadline, client.next()).await.ok()?.ok()? {
            Came::Message(message) if &message.topic[..] == VERSION_TOPIC.as_bytes() => {
                return Some(String::from_utf8_lossy(&message.payload).into_owned());
            }
            Came::Message(_) | Came::Granted(_) | Came::Sent(_) | Came::Answered(..) => {}
        }
    }
}

fn is_old_mosquitto(version: &str) -> bool {
    let Some(numbers) = version.strip_prefix("mosquitto version ") else { return false };
    let numbers: Vec<u32> = numbers.split('.').map_while(|number| number.trim().parse().ok()).collect();
    numbers.len() == 3 && numbers[..] < MOSQUITTO_MIN[..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_are_told() {
        assert!(is_old_mosquitto("mosquitto version 2.0.11") && is_old_mosquitto("mosquitto version 1.6.9"));
        assert!(!is_old_mosquitto("mosquitto version 2.0.22") && !is_old_mosquitto("mosquitto version 2.1.0"));
        assert!(!is_old_mosquitto("another broker 1.0.0") && !is_old_mosquitto("mosquitto version x"));
    }
}
