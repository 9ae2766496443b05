//! What to do with one MQTT message: which records to write, which receipt to owe. Decides only; the lane carries it out.
//!
//! Invariant (P1): whatever comes on a duress filter and is no probe leaves here with an alert. There is no way out before it.

use std::sync::Arc;

use crate::alert::{CentreMessage, Lane};
use crate::config::{FeedSettings, Identity, Source};
use crate::device::mqtt_topic::{self, Named};
use crate::device::{Content, Decoded, Decoder, NativePress, Reject, RejectReason, Report};
use crate::ids::{self, CentreName, DeviceId, EventId, Incarnation, IngesterName, Origin, ProbeRef};
use crate::journal::{self, Counted, MessageContent, MessageRecord, Press, Record};
use crate::kafka::{Keep, Outgoing, TopicNames};
use crate::limits;
use crate::rulebook::Rulebook;
use crate::time::IngestMillis;

use super::probe::{NewestProbe, Probe};
use super::quarantine::{self, Came, Excerpt};

/// What a lane knows that does not change with the message.
pub(super) struct Post {
    pub(super) feed: FeedSettings,
    pub(super) lane: Lane,
    pub(super) ingester: IngesterName,
    pub(super) incarnation: Incarnation,
    pub(super) topics: Arc<TopicNames>,
    /// The feed's fallback centre as of the start: what a later rulebook without the feed falls back on.
    pub(super) fallback_centre: CentreName,
}

/// One message, and where the connection stood as it came.
pub(super) struct Arrival<'a> {
    pub(super) mqtt_topic: &'a str,
    pub(super) payload: &'a [u8],
    /// What quarantine would keep of it.
    pub(super) excerpt: &'a Excerpt,
    pub(super) retained: bool,
    /// Whether it may have waited at the broker, as our probes may: at QoS 0 nothing does.
    pub(super) may_have_waited: bool,
    pub(super) received_at: IngestMillis,
    /// The same moment on the steady clock.
    pub(super) steady_millis: i64,
    pub(super) connected_at: IngestMillis,
    pub(super) newest_probe: &'a NewestProbe,
    /// Counts this incarnation's messages.
    pub(super) counter: u64,
}

impl Arrival<'_> {
    /// Where and when it came.
    const fn came(&self) -> (&str, IngestMillis) {
        (self.mqtt_topic, self.received_at)
    }

    /// When it arrived, in milliseconds, on the clock that mirrored copies share: the newest probe's, else our own.
    fn at(&self) -> i64 {
        self.newest_probe.get().map_or(self.received_at.get(), |probe| probe.sent_at.get())
    }
}

/// What to do with a message.
#[derive(Debug, Default)]
pub(super) struct Intake {
    pub(super) writes: Vec<Outgoing>,
    pub(super) receipt: Option<Receipt>,
    pub(super) press: bool,
    /// The first of the writes once more, where it is a press's: it may have to go elsewhere.
    pub(super) express: Option<Outgoing>,
    pub(super) quarantined: Option<RejectReason>,
    pub(super) passed_over: bool,
    /// Something in it is read by no rule: the dialect, and its word for it.
    pub(super) unused: Option<(Decoder, &'static str)>,
}

/// A receipt owed once all is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) device: DeviceId,
    pub(super) payload: Vec<u8>,
}

/// What a message is, before it is read.
pub(super) enum Told<'a> {
    Probe {
        source: usize,
        probe: Probe,
        ingester: IngesterName,
    },
    /// A probe on the way of a filter that this lane does not have: of a mirror with another configuration, or of our own former one, whose
    /// subscription the session still holds. It proves nothing, and is nobody's press.
    StrayProbe,
    /// It is a message of a filter, or of none where the session still holds a subscription that the configuration has no more.
    Message {
        source: &'a Source,
        id: Result<DeviceId, DeviceId>,
        is_of_a_filter: bool,
    },
}

impl Post {
    /// The sources of this lane, in order.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.feed.sources.iter().filter(|source| source.lane == self.lane)
    }

    /// Whom a message names. An id that is none is replaced by one of ours; a probe's topic with another payload is such a one.
    pub(super) fn tell<'a>(&'a self, mqtt_topic: &str, payload: &[u8]) -> Told<'a> {
        if let Some(probe) = Probe::parse(payload).filter(|_| mqtt_topic::bears_a_probe(mqtt_topic)) {
            // Before any filter takes it for a device: a wider filter captures more of its levels.
            let ours = self.sources().enumerate().find_map(|(source, of)| match of.filter.named(mqtt_topic)? {
                Named::Probe(ingester) => Some(Told::Probe { source, probe, ingester }),
                Named::Device(_) => None,
            });
            return ours.unwrap_or(Told::StrayProbe);
        }
        match self.sources().find_map(|source| Some((source, source.filter.named(mqtt_topic)?))) {
            Some((source, Named::Device(text))) => {
                let id = DeviceId::parse(&text).map_err(|_| DeviceId::for_illegal(text.as_bytes()));
                Told::Message { source, id, is_of_a_filter: true }
            }
            named => {
                let is_of_a_filter = named.is_some() || mqtt_topic.len() > limits::MQTT_TOPIC_BYTES_MAX;
                let source = self.sources().next().expect("configuration gives each lane at least one source");
                let source = named.map_or(source, |(source, _)| source);
                Told::Message { source, id: Err(DeviceId::for_illegal(mqtt_topic.as_bytes())), is_of_a_filter }
            }
        }
    }

    /// Reads a message that is no probe.
    pub(super) fn take(
        &self,
        rulebook: &Rulebook,
        source: &Source,
        id: Result<DeviceId, DeviceId>,
        arrival: &Arrival<'_>,
    ) -> Intake {
        let mut read =
            if source.lane == Lane::Duress { read_press(arrival.payload) } else { read(source.decoder, arrival.payload) };
        let unused = read.unused.map(|what| (source.decoder, what));
        if read.nothing {
            return Intake { passed_over: true, unused, ..Intake::default() };
        }
        let device = self.identify(id, &mut read);
        let nobody = read.reject.as_ref().is_some_and(|reject| reject.reason == RejectReason::IllegalDeviceId);
        if nobody && !read.press {
            return self.quarantine_only(&device, &read, arrival);
        }
        Intake { unused, ..self.write(rulebook, source, device, read, arrival) }
    }

    /// Whose message it is. The MQTT topic's device, and a payload that claims another is not believed; on a trusted gateway's feed the
    /// device that the payload names, where it names one. An id that is none is replaced by one of ours.
    fn identify(&self, named: Result<DeviceId, DeviceId>, read: &mut Read) -> DeviceId {
        let claimed = read.claimed_device.take();
        let trusted = claimed.as_ref().filter(|_| self.feed.identity == Identity::Payload);
        let named = match trusted {
            Some(claimed) => DeviceId::parse(claimed).map_err(|_| DeviceId::for_illegal(claimed.as_bytes())),
            None => named,
        };
        let device = match named {
            Ok(device) => device,
            Err(ours) => {
                let whose = if trusted.is_some() { "payload" } else { "MQTT topic" };
                let detail =
                    format!("the {whose} bears no legal device id: a letter or digit, then up to 63 of letters, digits, . _ -");
                read.reject = Some(Reject::new(RejectReason::IllegalDeviceId, detail));
                return ours;
            }
        };
        if let Some(claimed) = claimed.filter(|claimed| claimed != device.as_str()) {
            let detail = format!("the payload claims device {claimed:?}, the MQTT topic says {device}");
            read.reject = Some(Reject::new(RejectReason::AnotherDevice, detail));
            if !read.press {
                read.content = None;
            }
        }
        device
    }

    fn write(&self, rulebook: &Rulebook, source: &Source, device: DeviceId, read: Read, arrival: &Arrival<'_>) -> Intake {
        let reason = read.reject.as_ref().map(|reject| reject.reason);
        let own_id = read.report().and_then(|report| report.own_id.clone());
        let event = EventId::of(&device, &self.origin(own_id.clone(), arrival), arrival.mqtt_topic, arrival.payload);
        // Whoever copies a device's press on a feed of others must not make the true one look like the copy.
        let event = if rulebook.carries(&self.feed.name, &device) { event } else { event.through(&self.feed.name) };
        let receipt = (read.press || read.wants_receipt)
            .then(|| Receipt { device: device.clone(), payload: receipt_payload(own_id.as_deref(), arrival.payload) });
        let mut writes = Vec::with_capacity(3);
        let press = read.press.then(|| Press { centre: self.centre_of(rulebook, &device), counted: self.counted(arrival) });
        let quarantined =
            read.reject.as_ref().map(|reject| self.quarantine(&device, read.press, reject, arrival.came(), arrival.excerpt));
        let content = read.content.unwrap_or(MessageContent::Unreadable(reason.unwrap_or(RejectReason::WrongShape)));
        let record = MessageRecord {
            feed: self.feed.name.clone(),
            lane: self.lane,
            ingester: self.ingester.clone(),
            event,
            received_at: arrival.received_at,
            connected_at: arrival.connected_at,
            after_probe: arrival.newest_probe.get().cloned(),
            past_probe_millis: if arrival.may_have_waited { 0 } else { arrival.newest_probe.past_millis(arrival.steady_millis) },
            retained: arrival.retained,
            decoder: source.decoder,
            content,
            press,
            device,
        };
        let express = self.express(&record);
        writes.extend(express.clone());
        writes.push(self.journal(record));
        writes.extend(quarantined);
        Intake { writes, receipt, press: read.press, express, quarantined: reason, ..Intake::default() }
    }

    /// Revision 1 of a press, to its centre's alerts topic.
    fn express(&self, record: &MessageRecord) -> Option<Outgoing> {
        let press = record.press.as_ref()?;
        let alert = record.first_revision(press.centre.clone());
        Some(Outgoing {
            topic: self.topics.alerts(&press.centre),
            partition: None,
            key: record.device.to_string(),
            payload: CentreMessage::Alert(Box::new(alert)).to_json(),
            keep: Keep::WhileRoom,
        })
    }

    fn journal(&self, record: MessageRecord) -> Outgoing {
        let key = record.device.to_string();
        let payload = journal::encode(&Record::Message(Box::new(record)));
        Outgoing { topic: self.topics.journal(), partition: None, key, payload, keep: Keep::Always }
    }

    /// Where a press goes: to the centre of its device's tenant, else, or where this feed does not carry that tenant, to the feed's fallback.
    fn centre_of(&self, rulebook: &Rulebook, device: &DeviceId) -> CentreName {
        let carried = rulebook.device(device).filter(|_| rulebook.carries(&self.feed.name, device));
        let of_device = carried.map(|entry| entry.centre.clone());
        of_device.unwrap_or_else(|| self.fallback(rulebook))
    }

    fn fallback(&self, rulebook: &Rulebook) -> CentreName {
        rulebook.feed(&self.feed.name).map_or_else(|| self.fallback_centre.clone(), |feed| feed.fallback_centre.clone())
    }

    /// The same press to the feed's fallback centre, where that is another than Kafka refuses: somebody must hear it.
    pub(super) fn elsewhere(&self, rulebook: &Rulebook, express: Outgoing) -> Option<Outgoing> {
        let topic = self.topics.alerts(&self.fallback(rulebook));
        (topic != express.topic).then_some(Outgoing { topic, ..express })
    }

    fn origin(&self, own_id: Option<String>, arrival: &Arrival<'_>) -> Origin {
        let after_probe: Option<&ProbeRef> = arrival.newest_probe.get();
        match (own_id, after_probe) {
            (Some(id), _) => Origin::own(id, arrival.at()),
            (None, Some(probe)) if arrival.newest_probe.is_fresh(arrival.steady_millis) => Origin::AfterProbe(probe.clone()),
            (None, _) => Origin::Counted {
                after_probe: after_probe.cloned(),
                ingester: self.ingester.clone(),
                incarnation: self.incarnation,
                counter: arrival.counter,
            },
        }
    }

    /// What tells a press from others where no probe has come lately.
    fn counted(&self, arrival: &Arrival<'_>) -> Option<Counted> {
        let since_connected = arrival.received_at.since(arrival.connected_at);
        let quiet_millis = arrival.newest_probe.quiet_millis(arrival.steady_millis).unwrap_or(since_connected);
        let counted = Counted { incarnation: self.incarnation, counter: arrival.counter, quiet_millis };
        (!arrival.newest_probe.is_fresh(arrival.steady_millis)).then_some(counted)
    }

    fn quarantine_only(&self, device: &DeviceId, read: &Read, arrival: &Arrival<'_>) -> Intake {
        let Some(reject) = &read.reject else { return Intake::default() };
        let record = self.quarantine(device, false, reject, arrival.came(), arrival.excerpt);
        Intake { writes: vec![record], quarantined: Some(reject.reason), ..Intake::default() }
    }

    /// The quarantine record of a message.
    pub(super) fn quarantine(
        &self,
        device: &DeviceId,
        press: bool,
        reject: &Reject,
        (mqtt_topic, received_at): (&str, IngestMillis),
        payload: &Excerpt,
    ) -> Outgoing {
        let came =
            Came { feed: &self.feed.name, lane: self.lane, ingester: &self.ingester, mqtt_topic, received_at: received_at.get() };
        Outgoing {
            topic: self.topics.quarantine(),
            partition: None,
            key: device.to_string(),
            payload: quarantine::record(came, device.as_str(), press, reject, payload),
            // What it holds is for people to look into; it must not hold up what they wait for.
            keep: Keep::No,
        }
    }
}

/// A message as far as it could be read.
struct Read {
    /// None where it could not be read.
    content: Option<MessageContent>,
    claimed_device: Option<String>,
    reject: Option<Reject>,
    press: bool,
    wants_receipt: bool,
    /// No device sent it.
    nothing: bool,
    /// Something in it is read by no rule.
    unused: Option<&'static str>,
}

impl Read {
    fn report(&self) -> Option<&Report> {
        match &self.content {
            Some(MessageContent::Report(report)) => Some(report),
            Some(MessageContent::Will | MessageContent::Other | MessageContent::Unreadable(_)) | None => None,
        }
    }
}

/// Everything on a duress filter is a press; what can be read of it adds where and when.
fn read_press(payload: &[u8]) -> Read {
    let NativePress { report, claimed_device, remark } = NativePress::read(payload);
    let readable = remark.is_none() || report != Report::default();
    Read {
        content: readable.then(|| MessageContent::Report(Box::new(report))),
        claimed_device,
        reject: remark,
        press: true,
        wants_receipt: true,
        nothing: false,
        unused: None,
    }
}

fn read(decoder: Decoder, payload: &[u8]) -> Read {
    let unread = Read {
        content: None,
        claimed_device: None,
        reject: None,
        press: false,
        wants_receipt: false,
        nothing: false,
        unused: None,
    };
    match decoder.decode(payload) {
        Err(reject) => Read { reject: Some(reject), ..unread },
        Ok(Decoded { content, claimed_device, wants_receipt, remark, unused }) => {
            let read = Read { claimed_device, wants_receipt, reject: remark, unused, ..unread };
            match content {
                Content::Report(report) => Read {
                    press: report.signals.press(),
                    wants_receipt: read.wants_receipt || report.signals.press(),
                    content: Some(MessageContent::Report(report)),
                    ..read
                },
                Content::Will => Read { content: Some(MessageContent::Will), ..read },
                Content::Other => Read { content: Some(MessageContent::Other), ..read },
                Content::Nothing => Read { content: Some(MessageContent::Other), nothing: true, ..read },
            }
        }
    }
}

/// What a receipt says: the message's own id, else the SHA-256 of its payload.
fn receipt_payload(own_id: Option<&str>, payload: &[u8]) -> Vec<u8> {
    let receipt = match own_id {
        Some(id) => serde_json::json!({ "id": id }),
        None => serde_json::json!({ "sha256": ids::sha256_hex(payload) }),
    };
    receipt.to_string().into_bytes()
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
