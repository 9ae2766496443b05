//! The closed catalogue of metrics: every name, kind, unit and label stands here; `docs/METRICS.md` is generated from it.
//!
//! Callers use the verbs at the end. Labels are enums and configured names; never a device, and never a position.

use metrics::Label;

use crate::alert::{Kind, Lane};
use crate::device::{Decoder, RejectReason};
use crate::ids::FeedName;
use crate::journal::Partition;
use crate::machine;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name as Prometheus shows it.
    pub name: &'static str,
    /// What it does.
    pub shape: Shape,
    /// What it tells, with its unit.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// Seconds, in buckets.
    Histogram,
}

macro_rules! catalogue {
    ($($ident:ident: $shape:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] const $ident: Metric =
            Metric { name: $name, shape: Shape::$shape, help: $help, labels: &[$($label),*] };)*
        /// Every metric, in the order of the documentation.
        pub const CATALOGUE: &[Metric] = &[$($ident),*];
    };
}

catalogue! {
    DURESS_SECONDS: Histogram "lonewatch_duress_seconds" ["feed"]
        "Seconds from receiving a press to Kafka's acknowledgement of its alert and its journal record.";
    MQTT_MESSAGES: Counter "lonewatch_mqtt_messages_total" ["feed", "lane"]
        "MQTT messages received, probes left out.";
    MQTT_PASSED_OVER: Counter "lonewatch_mqtt_passed_over_total" ["feed"]
        "MQTT messages that no device sent (deletions of retained messages, what a gateway concludes by itself, probes of filters that we do not have), passed over.";
    UNUSED: Counter "lonewatch_unused_total" ["feed", "decoder", "what"]
        "MQTT messages with something that no rule reads, by what it is: types of OwnTracks, alarms and events of Traccar.";
    MQTT_CONNECTED: Gauge "lonewatch_mqtt_connected" ["feed", "lane"]
        "1 while the lane's MQTT session is connected and every filter is granted.";
    MQTT_RECONNECTS: Counter "lonewatch_mqtt_reconnects_total" ["feed", "lane"]
        "MQTT connections that ended and were built anew.";
    MQTT_TAKEN_OVER: Counter "lonewatch_mqtt_taken_over_total" ["feed", "lane"]
        "Times that another client took the lane's MQTT session by connecting under its client id.";
    MQTT_UNACKNOWLEDGED: Gauge "lonewatch_mqtt_unacknowledged" ["feed", "lane"]
        "MQTT messages received and not acknowledged yet, because Kafka has not; past 100,000 the lane reads no further.";
    PROBE_SECONDS: Histogram "lonewatch_probe_seconds" ["feed", "lane"]
        "Seconds from sending a probe to its return on every filter of the lane with all before it acknowledged by Kafka.";
    PROBES_MISSING: Counter "lonewatch_probes_missing_total" ["feed", "lane"]
        "Times that a probe number was missing: the broker dropped something, or our clock was set; listening begins anew.";
    PRESSES: Counter "lonewatch_presses_total" ["feed"]
        "Presses expressed to a centre, copies included.";
    QUARANTINED: Counter "lonewatch_quarantined_total" ["feed", "reason"]
        "Messages whose bytes went to quarantine.";
    RECEIPTS: Counter "lonewatch_receipts_total" ["feed", "outcome"]
        "Receipts to devices: sent, or dropped because too many waited (the device repeats its press and gets the next).";
    KAFKA_PENDING: Gauge "lonewatch_kafka_pending_records" ["writer"]
        "Records that Kafka has not acknowledged yet.";
    KAFKA_REFUSED: Counter "lonewatch_kafka_refused_total" ["writer", "reason"]
        "Records that Kafka refused for good.";
    KAFKA_HELD: Counter "lonewatch_kafka_held_total" ["writer", "reason"]
        "Records that are kept and tried again because their topic refuses them.";
    KAFKA_LET_GO: Counter "lonewatch_kafka_let_go_total" ["writer", "reason"]
        "Records that were kept for a topic that refuses, until newer ones took their room; the journal has what they came of.";
    LOG_DROPPED: Gauge "lonewatch_log_dropped_lines" []
        "Log lines dropped since the start because nobody took them from standard error; nothing else waits for the log.";
    CLOCK_OFF: Gauge "lonewatch_clock_off_seconds" ["writer"]
        "Seconds by which this machine's clock is provably ahead of Kafka's (behind where negative); 0 within the limit of 2 s.";
    RECORDS: Counter "lonewatch_records_total" ["outcome"]
        "Journal records applied by this detector, by what became of them; a record can have several outcomes. `not_carried`: a feed spoke for another tenant's device. `press_past_memory`: a device pressed so often that copies may alert twice. Replayed ones left out.";
    ALERTS: Counter "lonewatch_alerts_total" ["kind"]
        "Alert revisions written by this detector.";
    ALERT_SECONDS: Histogram "lonewatch_alert_seconds" ["kind"]
        "Seconds from the append time of the journal record that caused an alert to Kafka's acknowledgement of the alert.";
    JOURNAL_LAG_RECORDS: Gauge "lonewatch_journal_lag_records" ["partition"]
        "Records between what this detector has applied and the end of the partition when it was assigned (replay), 0 afterwards.";
    NOW_BEHIND_SECONDS: Gauge "lonewatch_now_behind_seconds" ["partition"]
        "Seconds by which the partition's newest append time is behind this detector's clock.";
    HEARD_BEHIND_SECONDS: Gauge "lonewatch_heard_behind_seconds" ["partition", "feed", "lane"]
        "Seconds by which what was heard of a feed's lane is behind the partition's newest append time.";
    PARTITIONS_OWNED: Gauge "lonewatch_partitions_owned" []
        "Partitions of the journal that this detector owns.";
    PARTITION_WAITING: Counter "lonewatch_partition_waits_total" ["partition"]
        "Times that a partition waited for a rulebook version to be built.";
    REPLAY_SECONDS: Histogram "lonewatch_replay_seconds" []
        "Seconds that a partition took from being assigned to the end of its replay.";
    COMMITTED_OFFSET: Gauge "lonewatch_committed_offset" ["partition"]
        "The group's committed offset of a partition.";
    RULEBOOK_VERSION: Gauge "lonewatch_rulebook_version" []
        "The newest rulebook version read whole.";
    RULEBOOK_FAULTS: Gauge "lonewatch_rulebook_faults" []
        "Entries of the rulebook that cannot be used; the last good ones stay in force.";
    READY: Gauge "lonewatch_ready" []
        "1 while /readyz says yes.";
}

fn key(metric: Metric, values: Vec<String>) -> metrics::Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let labels: Vec<Label> = metric.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value)).collect();
    metrics::Key::from_parts(metric.name, labels)
}

const METADATA: metrics::Metadata<'static> = metrics::Metadata::new(module_path!(), metrics::Level::INFO, None);

fn count(metric: Metric, values: Vec<String>, by: u64) {
    metrics::with_recorder(|recorder| recorder.register_counter(&key(metric, values), &METADATA).increment(by));
}

fn set(metric: Metric, values: Vec<String>, to: f64) {
    metrics::with_recorder(|recorder| recorder.register_gauge(&key(metric, values), &METADATA).set(to));
}

fn observe(metric: Metric, values: Vec<String>, seconds: f64) {
    metrics::with_recorder(|recorder| recorder.register_histogram(&key(metric, values), &METADATA).record(seconds));
}

#[allow(clippy::cast_precision_loss, reason = "a metric may round what is beyond 2^52")]
fn number(value: impl TryInto<i64>) -> f64 {
    value.try_into().map_or(f64::MAX, |value: i64| value as f64)
}

fn seconds(millis: i64) -> f64 {
    number(millis) / 1_000.0
}

fn lane_of(feed: &FeedName, lane: Lane) -> Vec<String> {
    vec![feed.to_string(), lane.as_str().to_owned()]
}

/// Describes every metric to the recorder, so that `/metrics` carries help texts.
pub fn describe() {
    metrics::with_recorder(|recorder| {
        for metric in CATALOGUE {
            let name = metrics::KeyName::from_const_str(metric.name);
            match metric.shape {
                Shape::Counter => recorder.describe_counter(name, None, metric.help.into()),
                Shape::Gauge => recorder.describe_gauge(name, None, metric.help.into()),
                Shape::Histogram => recorder.describe_histogram(name, None, metric.help.into()),
            }
        }
    });
}

/// A press is safe: its alert and its journal record are acknowledged.
pub fn duress_stored(feed: &FeedName, after_millis: i64) {
    observe(DURESS_SECONDS, vec![feed.to_string()], seconds(after_millis));
}

/// An MQTT message came.
pub fn mqtt_message(feed: &FeedName, lane: Lane) {
    count(MQTT_MESSAGES, lane_of(feed, lane), 1);
}

/// An MQTT message held something that no rule reads.
pub fn unused(feed: &FeedName, decoder: Decoder, what: &'static str) {
    count(UNUSED, vec![feed.to_string(), decoder.as_str().to_owned(), what.to_owned()], 1);
}

/// An MQTT message that no device sent.
pub fn mqtt_passed_over(feed: &FeedName) {
    count(MQTT_PASSED_OVER, vec![feed.to_string()], 1);
}

/// A lane's session came up or went down.
pub fn mqtt_connected(feed: &FeedName, lane: Lane, connected: bool) {
    set(MQTT_CONNECTED, lane_of(feed, lane), if connected { 1.0 } else { 0.0 });
}

/// A lane's connection ended.
pub fn mqtt_reconnect(feed: &FeedName, lane: Lane) {
    count(MQTT_RECONNECTS, lane_of(feed, lane), 1);
}

/// Another client took a lane's session.
pub fn mqtt_taken_over(feed: &FeedName, lane: Lane) {
    count(MQTT_TAKEN_OVER, lane_of(feed, lane), 1);
}

/// How many messages of a lane wait for Kafka.
pub fn mqtt_unacknowledged(feed: &FeedName, lane: Lane, messages: usize) {
    set(MQTT_UNACKNOWLEDGED, lane_of(feed, lane), number(messages));
}

/// A probe has come round.
pub fn probe_returned(feed: &FeedName, lane: Lane, after_millis: i64) {
    observe(PROBE_SECONDS, lane_of(feed, lane), seconds(after_millis));
}

/// A probe number was missing.
pub fn probe_missing(feed: &FeedName, lane: Lane) {
    count(PROBES_MISSING, lane_of(feed, lane), 1);
}

/// A press was expressed.
pub fn press_expressed(feed: &FeedName) {
    count(PRESSES, vec![feed.to_string()], 1);
}

/// Bytes went to quarantine.
pub fn quarantined(feed: &FeedName, reason: RejectReason) {
    count(QUARANTINED, vec![feed.to_string(), reason.as_str().to_owned()], 1);
}

/// A receipt left, or did not.
pub fn receipt(feed: &FeedName, sent: bool) {
    count(RECEIPTS, vec![feed.to_string(), if sent { "sent" } else { "dropped" }.to_owned()], 1);
}

/// How much a writer owes.
pub fn kafka_pending(writer: &str, records: usize) {
    set(KAFKA_PENDING, vec![writer.to_owned()], number(records));
}

/// How many lines of the log were dropped so far.
pub fn log_dropped(lines: usize) {
    set(LOG_DROPPED, Vec::new(), number(lines));
}

/// A record's topic refuses it, and it is kept.
pub fn kafka_held(writer: &str, reason: &'static str) {
    count(KAFKA_HELD, vec![writer.to_owned(), reason.to_owned()], 1);
}

/// A record that was kept for a topic that refuses had to make room.
pub fn kafka_let_go(writer: &str, reason: &'static str) {
    count(KAFKA_LET_GO, vec![writer.to_owned(), reason.to_owned()], 1);
}

/// Kafka refused a record for good.
pub fn kafka_refused(writer: &str, reason: &'static str) {
    count(KAFKA_REFUSED, vec![writer.to_owned(), reason.to_owned()], 1);
}

/// How far our clock is off Kafka's.
pub fn clock_off(writer: &str, millis: i64) {
    set(CLOCK_OFF, vec![writer.to_owned()], seconds(millis));
}

/// A journal record was applied.
pub fn record_applied(outcome: machine::Outcome) {
    count(RECORDS, vec![outcome.as_str().to_owned()], 1);
}

/// An alert revision was written.
pub fn alert_written(kind: Kind) {
    count(ALERTS, vec![kind.as_str().to_owned()], 1);
}

/// Kafka has an alert.
pub fn alert_stored(kind: Kind, after_millis: i64) {
    observe(ALERT_SECONDS, vec![kind.as_str().to_owned()], seconds(after_millis.max(0)));
}

/// How far a partition's replay is from its end.
pub fn journal_lag(partition: Partition, records: i64) {
    set(JOURNAL_LAG_RECORDS, vec![partition.to_string()], number(records));
}

/// How far a partition's `now` is behind the wall clock.
pub fn now_behind(partition: Partition, millis: i64) {
    set(NOW_BEHIND_SECONDS, vec![partition.to_string()], seconds(millis));
}

/// How far a lane is behind a partition's `now`.
pub fn heard_behind(partition: Partition, feed: &FeedName, lane: Lane, millis: i64) {
    set(HEARD_BEHIND_SECONDS, vec![partition.to_string(), feed.to_string(), lane.as_str().to_owned()], seconds(millis));
}

/// How many partitions this detector owns.
pub fn partitions_owned(partitions: usize) {
    set(PARTITIONS_OWNED, Vec::new(), number(partitions));
}

/// A partition waits for a rulebook version.
pub fn partition_waits(partition: Partition) {
    count(PARTITION_WAITING, vec![partition.to_string()], 1);
}

/// A partition's replay has ended.
pub fn replayed(after_millis: i64) {
    observe(REPLAY_SECONDS, Vec::new(), seconds(after_millis));
}

/// The group's offset moved.
pub fn committed(partition: Partition, offset: i64) {
    set(COMMITTED_OFFSET, vec![partition.to_string()], number(offset));
}

/// A rulebook version was read whole.
pub fn rulebook_read(version: i64, faults: usize) {
    set(RULEBOOK_VERSION, Vec::new(), number(version));
    set(RULEBOOK_FAULTS, Vec::new(), number(faults));
}

/// Whether `/readyz` says yes.
pub fn ready(yes: bool) {
    set(READY, Vec::new(), if yes { 1.0 } else { 0.0 });
}

/// The catalogue as `docs/METRICS.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\nGenerated from `src/metrics.rs`; a test compares it. Labels are bounded: enums and configured names, never a device.\n\n\
         | metric | kind | labels | what it tells |\n|---|---|---|---|\n",
    );
    text.extend(CATALOGUE.iter().map(row));
    text
}

fn row(metric: &Metric) -> String {
    let kind = match metric.shape {
        Shape::Counter => "counter",
        Shape::Gauge => "gauge",
        Shape::Histogram => "histogram",
    };
    let labels = if metric.labels.is_empty() { "-".to_owned() } else { metric.labels.join(", ") };
    format!("| `{}` | {kind} | {labels} | {} |\n", metric.name, metric.help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == reference(),
            "docs/METRICS.md is stale: run with REGENERATE=1"
        );
    }

    #[test]
    fn names_tell_their_kind_and_no_label_is_a_device() {
        for metric in CATALOGUE {
            assert_eq!(metric.name.ends_with("_total"), metric.shape == Shape::Counter, "{}", metric.name);
            assert_eq!(metric.name.ends_with("_seconds"), metric.help.starts_with("Seconds"), "{}", metric.name);
            assert!(metric.labels.iter().all(|label| !label.contains("device")), "{}", metric.name);
        }
    }
}
