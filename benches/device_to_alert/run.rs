//! One run: marks are sent and timed while a load goes on, and every process is watched.

use std::time::Duration;

use serde_json::{Value, json};

use crate::arrivals::Arrivals;
use crate::clock;
use crate::load::{Load, Offered};
use crate::marks::{self, Marks, Paired, Say};
use crate::rig::Kafka;
use crate::systems::System;
use crate::usage::{Usage, Watch};

/// How long the last alerts may take.
const LAST_ALERTS: Duration = Duration::from_mins(3);

/// What is done in a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) what: Say,
    /// Marks a second.
    pub(crate) marks_rate: u64,
    pub(crate) load: Option<Load>,
    /// How much the load gives way to others: a generator on the same machine must not be what is measured.
    pub(crate) load_nice: u8,
    /// What passes before the measurement.
    pub(crate) warm: Duration,
    pub(crate) measured: Duration,
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) marks: Paired,
    pub(crate) usage: Usage,
    pub(crate) offered: Option<Offered>,
    /// Journal records a second while it was measured.
    pub(crate) journaled_rate: f64,
    /// MQTT connections that were lost, from the start on.
    pub(crate) reconnects: f64,
}

impl Run {
    pub(crate) fn json(&self) -> Value {
        json!({
            "latency": self.marks.latencies.json(),
            "until_produced": self.marks.until_produced.json(),
            "sender_late": self.marks.lateness.json(),
            "usage": self.usage.json(),
            "offered": self.offered.as_ref().map(|offered| offered.0.clone()),
            "journaled_rate": self.journaled_rate,
            "reconnects": self.reconnects,
        })
    }
}

/// Measures the running system.
///
/// # Panics
/// When a mark got no alert, or more than one.
pub(crate) fn measure(system: &System, kafka: &Kafka, plan: &Plan) -> Run {
    let arrivals = Arrivals::start(&kafka.bootstrap(), &system.alerts_topic(), system.is_answer(plan.what));
    let load = plan.load.as_ref().map(|load| load.start(system.mosquitto(), plan.load_nice));
    let lasting = plan.warm + plan.measured;
    let sender = Marks::start(system.mosquitto().port(), plan.what, plan.marks_rate, lasting, plan.seed);
    let from = clock::now() + plan.warm;
    clock::wait_till(from);
    let mut processes = system.processes();
    processes.push(("bench", std::process::id()));
    processes.extend(load.as_ref().map(|load| ("load", load.pid())));
    let journaled = system.journaled();
    let watch = Watch::begin(&processes);
    clock::wait_till(from + plan.measured);
    let usage = watch.end();
    let journaled = system.journaled() - journaled;
    let sent = sender.finish();
    let arrived = arrivals.finish(sent.len(), LAST_ALERTS);
    let offered = load.map(|load| load.finish(lasting));
    Run {
        marks: marks::pair(&sent, &arrived, from),
        reconnects: system.reconnects(),
        journaled_rate: per_second(journaled, usage.wall_seconds),
        usage,
        offered,
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of a few minutes are far below 2^52")]
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}
