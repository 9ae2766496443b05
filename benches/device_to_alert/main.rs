//! How long from a device to the alert, and at what cost?
//!
//! lonewatch as operators run it (`ingest` and `detect`, real Mosquitto, real Kafka) next to a null pipeline: the same hops with the
//! same libraries and settings, and nothing in between. Load and marks are open loop with intended times; CPU is told apart by
//! process; no time counts unless every mark had its alert. docs/PERFORMANCE.md has the figures and how to repeat them.

mod answer;
mod arrivals;
mod clock;
mod figures;
mod load;
mod machine;
mod marks;
mod null;
mod options;
#[path = "../../tests/pipeline/rig/mod.rs"]
mod rig;
mod run;
mod systems;
mod usage;
mod wire;
mod workloads;

mod payload;

use std::io::Write as _;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use lonewatch::commands::Output;
use serde_json::json;

use answer::Answer;
use options::{CommandLine, Opts, What};
use rig::Kafka;

fn main() {
    match CommandLine::parse().what {
        None => say(&CommandLine::command().render_help().to_string()),
        Some(What::Fence(opts)) => answer(&opts, &[workloads::fence]),
        Some(What::Duress(opts)) => answer(&opts, &[workloads::duress]),
        Some(What::Ingest(opts)) => answer(&opts, &[workloads::ingest]),
        Some(What::All(opts)) => answer(&opts, &[workloads::fence, workloads::duress, workloads::ingest]),
        Some(What::NullIngest(opts)) => null::ingest(&opts),
        Some(What::NullDetect(opts)) => null::detect(&opts),
        Some(What::Load { port, load }) => load.send(port).expect("the MQTT broker takes the load"),
    }
}

fn answer(opts: &Opts, workloads: &[fn(&Opts, &Arc<Kafka>) -> Answer]) {
    let machine = machine::describe();
    let kafka = workloads::kafka();
    if opts.output == Output::Text {
        say(&machine::text(&machine));
    }
    let mut answers = Vec::new();
    for workload in workloads {
        let answer = workload(opts, &kafka);
        if opts.output == Output::Text {
            say(&answer.text());
        }
        answers.push(answer.json());
    }
    if opts.output == Output::Json {
        say(&json!({ "machine": machine, "quick": opts.quick, "answers": answers }).to_string());
    }
}

/// Prints a line. A reader that has gone away is no reason to stop.
fn say(line: &str) {
    let mut out = anstream::stdout();
    let _written_or_gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
