//! One lane of a feed: its own MQTT session, Kafka producer and thread, so that no other lane's queue can hold it up.
//!
//! The pump: a message comes, its records are written, and once Kafka has them it is acknowledged, in receive order. A press's
//! receipt leaves at the same moment. A probe that is acknowledged in its turn becomes an observation.
//! No topic that refuses ends a connection or holds up what goes elsewhere (docs/decisions/0015).

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::mpsc;
use tokio::sync::watch;

use super::acks::AckRing;
use super::connection::{self, Connection, End, Endpoint, Happening, Purpose};
use super::intake::{Arrival, Intake, Post, Receipt, Told};
use super::observing::Observing;
use super::probe::{Listening, NewestProbe, Now, Return};
use super::publisher::{ProbesSent, TAKEN_OVER};
use super::quarantine::Excerpt;
use super::takeover::{Takeovers, Twin};
use crate::clock;
use crate::device::{Reject, RejectReason};
use crate::health::{Health, KAFKA_ANSWERS_WITHIN, KafkaAnswers, Trouble};
use crate::ids::DeviceId;
use crate::journal::{self, Heard, IngestFault, Observation, Partition, PartitionCount, Record};
use crate::kafka::{Deliveries, Delivery, Keep, Outcome, Outgoing, RefusedReason, Ticket, Writer};
use crate::limits;
use crate::metrics;
use crate::rulebook::Rulebook;
use crate::runbook::Entry;
use crate::shutdown::Ending;
use crate::time::IngestMillis;
use std::sync::Arc;

/// Outcomes taken at once: as many as a lane of reports has on their way at most.
const DELIVERIES_AT_ONCE: usize = 1_024;

/// What a lane is made of.
pub(super) struct Parts {
    pub(super) post: Post,
    pub(super) endpoint: Endpoint,
    pub(super) writer: Writer,
    pub(super) deliveries: Deliveries,
    pub(super) rulebook: watch::Receiver<Arc<Rulebook>>,
    pub(super) receipts: mpsc::Sender<Receipt>,
    pub(super) probes_sent: ProbesSent,
    pub(super) twin: Twin,
    pub(super) partitions: PartitionCount,
    pub(super) health: Health,
    pub(super) ending: Ending,
}

/// A lane at work.
pub(super) struct LaneTask {
    parts: Parts,
    part: String,
    purpose: Purpose,
    listening: Listening,
    newest_probe: NewestProbe,
    connected_at: IngestMillis,
    next_ticket: u64,
    /// Bytes of topics and payloads that the ring of this connection keeps.
    kept_bytes: usize,
    counter: u64,
    kafka: KafkaAnswers,
    observing: Observing,
    /// By when the next of our probes must be through, on the steady clock; none before the filters are granted.
    probe_due_at: Option<i64>,
    /// When anything last came from the broker on a filter, or could not because we did not read; on the steady clock.
    came_at: i64,
    /// Set while a probe is overdue and none is through since.
    deaf: bool,
    /// Whether the broker took the present connection.
    accepted: bool,
    takeovers: Takeovers,
    /// Set once the end has come.
    drained_by: Option<tokio::time::Instant>,
}

/// What waits in the ring.
struct Waiting {
    /// With neither topic nor payload: what else is used of it is what an acknowledgement needs.
    publish: Publish,
    device: Option<DeviceId>,
    /// What goes to quarantine where Kafka refuses a record of it: MQTT topic and payload. None where no record is awaited any more.
    kept: Option<(Bytes, Excerpt)>,
    receipt: Option<Receipt>,
    press_received_at: Option<i64>,
    /// A press's alert, until Kafka refuses it.
    express: Option<Outgoing>,
    heard: Option<Heard>,
}

impl Waiting {
    fn kept_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |(mqtt_topic, payload)| mqtt_topic.len() + payload.len())
    }
}

/// Why a connection's turn is over.
enum Over {
    Ending,
    Ended(End),
}

impl LaneTask {
    pub(super) fn new(parts: Parts) -> Self {
        let post = &parts.post;
        let filters: Vec<String> = post.sources().map(|source| source.filter.as_str().to_owned()).collect();
        let purpose = Purpose {
            client_id: format!("lonewatch-{}-{}-{}", post.ingester, post.feed.name, post.lane.as_str()),
            keeps_session: true,
            filters,
            gather: post.lane.gather(),
            receive_maximum: post.lane.receive_maximum(),
        };
        let part = super::part(&post.feed, post.lane);
        Self {
            kafka: KafkaAnswers::new(&parts.health, &part),
            observing: Observing::new(parts.partitions),
            probe_due_at: None,
            came_at: 0,
            deaf: false,
            accepted: false,
            takeovers: Takeovers::default(),
            drained_by: None,
            part,
            listening: Listening::new(post.lane, post.incarnation, purpose.filters.len()),
            newest_probe: NewestProbe::default(),
            connected_at: IngestMillis::default(),
            next_ticket: 0,
            kept_bytes: 0,
            counter: 0,
            purpose,
            parts,
        }
    }

    /// Works until the end is called; a broken connection is built anew for ever.
    pub(super) async fn run(mut self) {
        let mut wait_millis = limits::RECONNECT_MILLIS_MIN;
        loop {
            let began_at = clock::steady_millis();
            let end = match self.connection().await {
                Over::Ending => break,
                Over::Ended(end) => end,
            };
            let now_millis = clock::steady_millis();
            metrics::mqtt_connected(&self.parts.post.feed.name, self.parts.post.lane, false);
            metrics::mqtt_reconnect(&self.parts.post.feed.name, self.parts.post.lane);
            let end = match end {
                End::Closed if self.accepted && (self.takeovers.closed(now_millis) || self.parts.twin.is_near(now_millis)) => {
                    End::TakenOver
                }
                End::Closed => End::Broken(connection::closed()),
                as_it_is => as_it_is,
            };
            let away_millis = match end {
                End::TakenOver | End::Closed => {
                    metrics::mqtt_taken_over(&self.parts.post.feed.name, self.parts.post.lane);
                    self.parts.health.not_ready(&self.part, Entry::MqttTakenOver, TAKEN_OVER);
                    self.takeovers.happened(now_millis)
                }
                End::Broken(Trouble { entry, why }) => {
                    self.parts.health.not_ready(&self.part, entry, why);
                    let lasted = now_millis - began_at > limits::BLIND_MILLIS;
                    wait_millis =
                        if lasted { limits::RECONNECT_MILLIS_MIN } else { (wait_millis * 2).min(limits::RECONNECT_MILLIS_MAX) };
                    wait_millis
                }
            };
            if self.stay_away(away_millis).await {
                break;
            }
        }
        // What came at QoS 0 on an earlier connection does not come again.
        let deadline = self.drained_by();
        self.parts.writer.flush(deadline.saturating_duration_since(tokio::time::Instant::now()));
        for part in self.further_parts() {
            self.parts.health.gone(&part);
        }
        self.parts.health.gone(&self.part);
        self.kafka.gone();
    }

    /// Waits before the next connection, looking once a second all the same; true where the end came meanwhile.
    async fn stay_away(&mut self, millis: u64) -> bool {
        let back_at = tokio::time::Instant::now() + Duration::from_millis(millis);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut nobody = AckRing::new(self.next_ticket);
        loop {
            tokio::select! {
                () = self.parts.ending.wait() => return true,
                () = tokio::time::sleep_until(back_at) => return false,
                _ = second.tick() => self.look_around(Now::read()),
                // Of the last connection: no message waits for it any more, but the writer counts what was not taken.
                Some(delivery) = self.parts.deliveries.next() => self.settled(delivery.ticket, &delivery.topic, delivery.outcome, &mut nobody),
            }
        }
    }

    /// One connection from its beginning to its end.
    async fn connection(&mut self) -> Over {
        let mut connection = Connection::open(&self.parts.endpoint, &self.purpose);
        let mut ring: AckRing<Waiting> = AckRing::new(self.next_ticket);
        self.kept_bytes = 0;
        self.listening.connection_began();
        self.newest_probe = NewestProbe::default();
        self.probe_due_at = None;
        self.accepted = false;
        self.connected_at = IngestMillis::new(clock::wall_millis());
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut deliveries = Vec::with_capacity(DELIVERIES_AT_ONCE);
        let over = loop {
            let turn = tokio::select! {
                biased;
                () = self.parts.ending.wait() => break Over::Ending,
                _ = second.tick() => self.look(&ring, Now::read()),
                _count = self.parts.deliveries.next_many(&mut deliveries, DELIVERIES_AT_ONCE) => {
                    self.delivered(&mut deliveries, &mut ring, &connection)
                }
                happening = connection.next(), if self.reads(&ring) => {
                    if let Happening::Ended(end) = happening {
                        break Over::Ended(end);
                    }
                    self.happened(happening, &mut ring, &connection)
                }
            };
            if let Err(trouble) = turn {
                break Over::Ended(End::Broken(trouble));
            }
        };
        if matches!(over, Over::Ending) {
            self.drain(&mut ring, &connection).await;
            connection.close().await;
        }
        self.next_ticket = ring.next_ticket();
        over
    }

    /// Whether there is room for what another message may bring.
    fn reads(&self, ring: &AckRing<Waiting>) -> bool {
        self.parts.writer.has_room()
            && ring.len() < limits::MESSAGES_WAITING_MAX
            && self.kept_bytes < limits::MESSAGES_WAITING_BYTES_MAX
    }

    fn happened(&mut self, happening: Happening, ring: &mut AckRing<Waiting>, connection: &Connection) -> Result<(), Trouble> {
        match happening {
            Happening::Connected => {
                self.accepted = true;
                // A filter that went from one lane to the other is still in this one's session.
                let others = self.parts.post.feed.sources.iter().filter(|source| source.lane != self.parts.post.lane);
                connection.unsubscribe(others.map(|source| source.filter.as_str().to_owned()).collect())?;
                self.connected_at = IngestMillis::new(clock::wall_millis());
            }
            Happening::Subscribed => {
                let steady_millis = clock::steady_millis();
                self.listening.subscribed(self.parts.probes_sent.newest());
                self.probe_due_at = Some(steady_millis + limits::BLIND_MILLIS);
                self.came_at = steady_millis;
                if !self.deaf {
                    let why = "subscribed; our probes come back behind what waited in the broker";
                    self.parts.health.not_ready(&self.part, Entry::ProbesMissing, why);
                }
                metrics::mqtt_connected(&self.parts.post.feed.name, self.parts.post.lane, true);
            }
            Happening::Message(publish) => {
                self.came_at = clock::steady_millis();
                self.message(publish, ring);
                return self.acknowledge(ring, connection);
            }
            // A lane publishes nothing; its end was taken before.
            Happening::Published | Happening::Refused(_) | Happening::Ended(_) => {}
        }
        Ok(())
    }

    fn message(&mut self, mut publish: Publish, ring: &mut AckRing<Waiting>) {
        let now = Now::read();
        let mqtt_topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let (topic, payload) = (std::mem::take(&mut publish.topic), std::mem::take(&mut publish.payload));
        let waiting =
            Waiting { publish, device: None, kept: None, receipt: None, press_received_at: None, express: None, heard: None };
        let (source, id) = match self.parts.post.tell(&mqtt_topic, &payload) {
            Told::Probe { source, probe, ingester } => {
                let own = ingester == self.parts.post.ingester;
                if own && probe.incarnation != self.parts.post.incarnation {
                    self.parts.twin.saw(probe.sent_at.get(), now);
                }
                self.newest_probe.saw(probe.named(ingester), now);
                let heard = if own { self.returned(source, &probe) } else { None };
                ring.push(Waiting { heard, ..waiting }, Vec::new());
                return;
            }
            Told::StrayProbe => {
                metrics::mqtt_passed_over(&self.parts.post.feed.name);
                ring.push(waiting, Vec::new());
                return;
            }
            Told::Message { source, id, is_of_a_filter } => {
                if !is_of_a_filter {
                    self.say_former_subscription();
                }
                (source, id)
            }
        };
        self.counter += 1;
        let device = id.clone().unwrap_or_else(|ours| ours);
        let excerpt = Excerpt::of(&payload);
        let arrival = Arrival {
            mqtt_topic: &mqtt_topic,
            payload: &payload,
            excerpt: &excerpt,
            retained: waiting.publish.retain,
            may_have_waited: waiting.publish.qos != QoS::AtMostOnce,
            received_at: IngestMillis::new(now.wall_millis),
            steady_millis: now.steady_millis,
            connected_at: self.connected_at,
            newest_probe: &self.newest_probe,
            counter: self.counter,
        };
        let rulebook = Arc::clone(&self.parts.rulebook.borrow());
        let intake = self.parts.post.take(&rulebook, source, id, &arrival);
        self.count(&intake);
        let waiting = Waiting {
            device: Some(device),
            kept: (!intake.writes.is_empty()).then_some((topic, excerpt)),
            receipt: intake.receipt,
            press_received_at: intake.press.then_some(now.wall_millis),
            express: intake.express,
            ..waiting
        };
        self.kept_bytes += waiting.kept_bytes();
        let outstanding = intake.writes.iter().map(|write| Arc::clone(&write.topic)).collect();
        let ticket = ring.push(waiting, outstanding);
        for write in intake.writes {
            self.parts.writer.write(ticket, write);
        }
    }

    /// A part of its own, which stays until the process is restarted: the session outlives what is wrong with it.
    fn say_former_subscription(&self) {
        let why = format!(
            "the session {} holds a subscription that the configuration does not have (any more): what comes of it is nobody's, is in \
             quarantine, and alerts where it is a press. End that session, or give the filter back",
            self.purpose.client_id
        );
        self.parts.health.remark(&format!("{} session", self.part), Entry::MqttSession, why);
    }

    fn count(&self, intake: &Intake) {
        let feed = &self.parts.post.feed.name;
        metrics::mqtt_message(feed, self.parts.post.lane);
        if intake.press {
            metrics::press_expressed(feed);
        }
        if intake.passed_over {
            metrics::mqtt_passed_over(feed);
        }
        if let Some((decoder, what)) = intake.unused {
            metrics::unused(feed, decoder, what);
        }
        if let Some(reason) = intake.quarantined {
            metrics::quarantined(feed, reason);
        }
    }

    /// Once a second: whether our probes come back. A subscription that the broker no longer serves is asked for anew.
    fn look(&mut self, ring: &AckRing<Waiting>, now: Now) -> Result<(), Trouble> {
        self.look_around(now);
        let reads = self.reads(ring);
        if !reads {
            self.came_at = now.steady_millis;
        }
        if self.probe_due_at.is_none_or(|due_at| now.steady_millis < due_at) {
            return Ok(());
        }
        self.deaf = true;
        let seconds = limits::BLIND_MILLIS / 1_000;
        // While messages wait for Kafka the broker may have as many with us as it allows itself, and rightly sends no more.
        let silent = ring.len() == 0 && now.steady_millis - self.came_at >= limits::BLIND_MILLIS;
        let uneven = self.listening.spread_millis() >= limits::BLIND_MILLIS;
        let (filters, topics) = self.lacking();
        let refused = topics.iter().all(|topic| self.parts.probes_sent.refused().contains(topic));
        if !refused && self.parts.probes_sent.taken_lately(now.steady_millis) && (silent || uneven) {
            let why = format!(
                "the broker takes our probes and for {seconds} s has handed none back on {}: allow this user to read there, and to publish on \
                 {}, in the broker's access list. Subscribing anew",
                filters.join(" and "),
                topics.join(" and ")
            );
            return Err(Trouble::new(Entry::ProbesMissing, why));
        }
        if ring.len() > 0 || !reads {
            let why = format!(
                "none of our probes is through for {seconds} s or more: Kafka has not acknowledged what came before them"
            );
            self.parts.health.not_ready(&self.part, Entry::KafkaSilent, why);
            return Ok(());
        }
        let why = format!(
            "no probe of ours has come back on {} for {seconds} s or more: allow this user to publish on {} in the broker's access list; \
             or much still waits in the broker before them",
            filters.join(" and "),
            topics.join(" and ")
        );
        self.parts.health.not_ready(&self.part, Entry::ProbesMissing, why);
        Ok(())
    }

    /// The filters on which our newest probe is missing, and the MQTT topics on which it was published for them.
    fn lacking(&self) -> (Vec<String>, Vec<String>) {
        let lacking = self.listening.lacking();
        let sources = self.parts.post.sources().enumerate().filter(|(place, _)| lacking.contains(place));
        sources
            .map(|(_, source)| (source.filter.as_str().to_owned(), source.filter.probe_topic(&self.parts.post.ingester)))
            .unzip()
    }

    /// Once a second, connected or not: whether Kafka answers, whether our clock agrees with its, whether somebody bears our name.
    fn look_around(&mut self, now: Now) {
        assert!(!self.parts.writer.has_died(), "the Kafka writer's thread has died: see the log");
        let silent_for = self.parts.writer.silent_for();
        // Of the quarantine a remark tells: presses do not wait for it.
        let quarantine = self.parts.post.topics.quarantine();
        let refusing = self.parts.writer.refusing().into_iter().filter(|(topic, _)| *topic != quarantine);
        let refusing: Vec<_> = refusing.map(|(topic, reason)| (topic, reason.as_str())).collect();
        self.kafka.look(silent_for, &refusing);
        metrics::kafka_pending(&self.part, self.parts.writer.pending());
        let mut faults = Vec::new();
        let off_millis = self.parts.writer.clock_off();
        metrics::clock_off(&self.part, off_millis);
        let [clock, name] = self.further_parts();
        if off_millis == 0 {
            self.parts.health.gone(&clock);
        } else {
            faults.push(IngestFault::Clock);
            let seconds = off_millis.unsigned_abs() / 1_000;
            let side = if off_millis > 0 { "ahead of" } else { "behind" };
            self.parts.health.not_ready(
                &clock,
                Entry::ClockFault,
                format!(
                    "this machine's clock is {seconds} s or more {side} Kafka's: mend NTP here, or there. What we hear counts for nothing \
                     while we are ahead; presses and reports go on"
                ),
            );
        }
        if self.takeovers.is_shown(now.steady_millis) {
            faults.push(IngestFault::TakenOver);
            self.parts.health.not_ready(&name, Entry::MqttTakenOver, TAKEN_OVER);
        } else {
            self.parts.health.gone(&name);
        }
        // Said anew each second, so none need wait while Kafka is away.
        let kafka_answers = silent_for.is_none_or(|silent_for| silent_for < KAFKA_ANSWERS_WITHIN);
        if !faults.is_empty() && kafka_answers {
            self.tell(self.parts.partitions.of(self.parts.post.feed.name.as_str()), faults);
        }
    }

    /// Parts of their own, so that a word about clock or name stands beside the one about the connection.
    fn further_parts(&self) -> [String; 2] {
        [format!("{} clock", self.part), format!("{} name", self.part)]
    }

    /// What the return of one of our probes proves, once all before it is acknowledged.
    fn returned(&mut self, source: usize, probe: &super::probe::Probe) -> Option<Heard> {
        match self.listening.returned(source, probe) {
            Return::Heard(heard) => Some(heard),
            Return::Nothing => None,
            Return::Missing => {
                metrics::probe_missing(&self.parts.post.feed.name, self.parts.post.lane);
                tracing::warn!(
                    part = self.part,
                    number = probe.number,
                    "a probe is missing: the broker dropped messages, or our clock was set; listening begins anew"
                );
                None
            }
        }
    }

    /// Takes outcomes, and acknowledges once for all of them.
    fn delivered(
        &mut self,
        deliveries: &mut Vec<Delivery>,
        ring: &mut AckRing<Waiting>,
        connection: &Connection,
    ) -> Result<(), Trouble> {
        if deliveries.is_empty() {
            return Err(Trouble::new(Entry::SystemResources, "the Kafka writer has ended"));
        }
        for delivery in deliveries.drain(..) {
            self.settled(delivery.ticket, &delivery.topic, delivery.outcome, ring);
        }
        self.acknowledge(ring, connection)
    }

    fn settled(&mut self, ticket: Ticket, topic: &Arc<str>, outcome: Outcome, ring: &mut AckRing<Waiting>) {
        match outcome {
            Outcome::Held(reason) => self.held(ticket, topic, reason, ring),
            // The journal has the press, or its message is not acknowledged.
            Outcome::LetGo(reason) => metrics::kafka_let_go(&self.part, reason.as_str()),
            Outcome::Stored | Outcome::Refused(_) if self.observed(ticket) => {
                if let Outcome::Refused(reason) = outcome {
                    metrics::kafka_refused(&self.part, reason.as_str());
                }
            }
            Outcome::Stored => ring.done(ticket, topic),
            Outcome::Refused(reason) => self.refused(ticket, topic, reason, ring),
        }
        // What waits for those before it alone needs its bytes no more; they may be many, and for long.
        if let Some(waiting) = ring.get_done(ticket) {
            self.kept_bytes -= waiting.kept_bytes();
            (waiting.kept, waiting.express) = (None, None);
        }
    }

    /// The topic refuses, and the writer goes on trying. A press does not wait for that: its journal record is a detector's work, and its
    /// alert goes to the fallback centre as well. No receipt follows, so the device repeats it. What the journal refuses waits.
    fn held(&self, ticket: Ticket, topic: &Arc<str>, reason: RefusedReason, ring: &mut AckRing<Waiting>) {
        metrics::kafka_held(&self.part, reason.as_str());
        if *topic == self.parts.post.topics.journal() {
            return;
        }
        let Some(waiting) = ring.get(ticket) else { return };
        waiting.receipt = None;
        waiting.press_received_at = None;
        ring.done(ticket, topic);
        self.tell_elsewhere(ticket, topic, ring);
    }

    /// A press that its centre's topic does not take goes to the fallback centre as well.
    fn tell_elsewhere(&self, ticket: Ticket, topic: &Arc<str>, ring: &mut AckRing<Waiting>) {
        let express = ring.get(ticket).and_then(|waiting| waiting.express.take_if(|express| express.topic == *topic));
        let rulebook = Arc::clone(&self.parts.rulebook.borrow());
        if let Some(elsewhere) = express.and_then(|express| self.parts.post.elsewhere(&rulebook, express)) {
            tracing::warn!(part = self.part, %topic, instead = %elsewhere.topic, "a press goes to the fallback centre as well");
            ring.await_too(ticket, &elsewhere.topic);
            self.parts.writer.write(ticket, elsewhere);
        }
    }

    /// One record cannot be stored: the message's bytes go to quarantine in its place, once, and a press to the fallback centre. What is
    /// refused beyond that is given up, aloud, so that the lane goes on. No receipt follows, because not all of the message is safe: a
    /// device repeats its press.
    fn refused(&self, ticket: Ticket, topic: &Arc<str>, reason: RefusedReason, ring: &mut AckRing<Waiting>) {
        let reason = reason.as_str();
        metrics::kafka_refused(&self.part, reason);
        ring.done(ticket, topic);
        let quarantine = self.parts.post.topics.quarantine();
        if *topic == quarantine {
            let why = format!(
                "Kafka refuses the quarantine ({reason}): the bytes of messages that could not be read are given up, and presses alert all the \
                 same. Run `lonewatch topics create`, allow this principal to write, look at max.message.bytes; then restart"
            );
            return self.parts.health.remark(&format!("{} quarantine", self.part), Entry::KafkaRefuses, why);
        }
        // Said before the ring is asked: what was held, or came on an earlier connection, is not in it.
        let press = *topic != self.parts.post.topics.journal()
            || ring.get(ticket).is_some_and(|waiting| waiting.press_received_at.is_some());
        self.say_refused(press, reason);
        self.tell_elsewhere(ticket, topic, ring);
        let Some(waiting) = ring.get(ticket) else { return };
        let (Some(device), Some((mqtt_topic, payload))) = (waiting.device.take(), &waiting.kept) else {
            return tracing::error!(
                part = self.part,
                reason,
                "a further record of a message was refused for good; its bytes are in quarantine, or in the journal"
            );
        };
        waiting.press_received_at = None;
        waiting.receipt = None;
        let reject = Reject::new(RejectReason::RefusedByKafka, reason);
        let came = (&*String::from_utf8_lossy(mqtt_topic), IngestMillis::new(clock::wall_millis()));
        let record = self.parts.post.quarantine(&device, press, &reject, came, payload);
        ring.await_too(ticket, &quarantine);
        self.parts.writer.write(ticket, record);
    }

    /// Parts of their own: a refused report must not cover that a press was refused.
    fn say_refused(&self, press: bool, reason: &str) {
        let why = format!(
            "Kafka has refused a record for good ({reason}): raise max.message.bytes of its topic, and look into the quarantine"
        );
        if press {
            self.parts.health.not_ready(&format!("{} refused", self.part), Entry::RecordRefused, why);
        } else {
            self.parts.health.remark(&format!("{} refused reports", self.part), Entry::RecordRefused, why);
        }
    }

    /// Acknowledges all that is done, in receive order.
    fn acknowledge(&mut self, ring: &mut AckRing<Waiting>, connection: &Connection) -> Result<(), Trouble> {
        let feed = &self.parts.post.feed.name.clone();
        while let Some(waiting) = ring.pop_done() {
            let now_millis = clock::wall_millis();
            if let Some(received_at) = waiting.press_received_at {
                metrics::duress_stored(feed, now_millis - received_at);
            }
            if let Some(receipt) = waiting.receipt {
                // A full queue costs this receipt only: the device repeats its press and gets the next.
                metrics::receipt(feed, self.parts.receipts.try_send(receipt).is_ok());
            }
            if let Some(heard) = waiting.heard {
                metrics::probe_returned(feed, self.parts.post.lane, now_millis - heard.to.get());
                self.observe(heard);
                self.probe_due_at = Some(clock::steady_millis() + limits::BLIND_MILLIS);
                self.deaf = false;
                self.parts.health.ready(&self.part);
            }
            connection.acknowledge(&waiting.publish)?;
        }
        metrics::mqtt_unacknowledged(feed, self.parts.post.lane, ring.len());
        Ok(())
    }

    /// Tells every partition how far this lane was heard. Everything before is acknowledged, so it cannot overtake a report.
    fn observe(&mut self, heard: Heard) {
        self.observing.heard(heard);
        for partition in self.parts.partitions.all() {
            self.tell(partition, Vec::new());
        }
    }

    /// Takes the end of an observation, and sends the next that is owed; false where the ticket is a message's.
    fn observed(&mut self, ticket: Ticket) -> bool {
        let Some((partition, owed)) = self.observing.over(ticket) else { return false };
        if owed {
            self.tell(partition, Vec::new());
        }
        true
    }

    /// Writes an observation, unless one is under way to that partition. What is wrong with us is one too, said anew each second: the
    /// feed's home partition tells the centres.
    fn tell(&mut self, partition: Partition, faults: Vec<IngestFault>) {
        let Some((ticket, heard)) = self.observing.begin(partition) else { return };
        let post = &self.parts.post;
        let observation = Observation {
            feed: post.feed.name.clone(),
            ingester: post.ingester.clone(),
            incarnation: post.incarnation,
            rulebook_version: self.parts.rulebook.borrow().version(),
            heard,
            faults,
        };
        let record = Outgoing {
            topic: post.topics.journal(),
            partition: Some(partition),
            key: String::new(),
            payload: journal::encode(&Record::Observation(observation)),
            keep: Keep::Always,
        };
        self.parts.writer.write(ticket, record);
    }

    /// By when the end must have come; the first question sets it.
    fn drained_by(&mut self) -> tokio::time::Instant {
        *self.drained_by.get_or_insert_with(|| tokio::time::Instant::now() + Duration::from_millis(limits::DRAIN_MILLIS))
    }

    /// The end in good order: nothing more is read, what was read is stored and acknowledged, as far as Kafka answers in time.
    async fn drain(&mut self, ring: &mut AckRing<Waiting>, connection: &Connection) {
        let deadline = self.drained_by();
        let mut deliveries = Vec::with_capacity(DELIVERIES_AT_ONCE);
        while ring.len() > 0 {
            let waited = self.parts.deliveries.next_many(&mut deliveries, DELIVERIES_AT_ONCE);
            let Ok(_count) = tokio::time::timeout_at(deadline, waited).await else {
                tracing::warn!(
                    part = self.part,
                    messages = ring.len(),
                    "Kafka has not answered in time; the broker keeps these messages"
                );
                return;
            };
            if let Err(Trouble { why, .. }) = self.delivered(&mut deliveries, ring, connection) {
                tracing::warn!(part = self.part, why, "stopped draining");
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "lane_memory_tests.rs"]
mod memory_tests;
