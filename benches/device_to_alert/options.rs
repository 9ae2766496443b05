//! The bench's command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use lonewatch::commands::Output;

use crate::load::Load;
use crate::null::{DetectOpts, IngestOpts};
use crate::workloads::Condition;

/// How long from a device to the alert, and at what cost? lonewatch next to the same hops with empty logic, on real brokers.
#[derive(Debug, Parser)]
#[command(name = "device_to_alert", after_help = "Example:\n  cargo bench --bench device_to_alert -- fence --quick")]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) what: Option<What>,
    /// What cargo says to every bench.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Report to fence exit, next to the null pipeline (W2a).
    Fence(Opts),
    /// Press to alert: idle, and while the reports lane has more than it can take (W2d).
    Duress(Opts),
    /// Ingest's CPU per message (W3b).
    Ingest(Opts),
    /// All of them, one after the other.
    All(Opts),
    /// The bench's own processes.
    #[command(hide = true)]
    NullIngest(IngestOpts),
    #[command(hide = true)]
    NullDetect(DetectOpts),
    #[command(hide = true)]
    Load {
        #[arg(long)]
        port: u16,
        #[command(flatten)]
        load: Load,
    },
}

/// How it is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Opts {
    /// Rounds: each has one run of every system and condition.
    #[arg(long, default_value_t = 5)]
    runs: u64,
    /// Measured seconds of a run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Decides the moments of what is timed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// One short round, to see that everything works. Its figures mean nothing.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Of presses: what they are timed under. Idle is what the others are compared with.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "idle,beside,backlog,flood")]
    conditions: Vec<Condition>,
    /// Of presses: the null pipeline idles only. In a flood its marks may never all come.
    #[arg(long)]
    pub(crate) null_idles: bool,
    /// How to answer.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

impl Opts {
    pub(crate) fn runs(&self) -> u64 {
        if self.quick { 1 } else { self.runs.max(1) }
    }

    pub(crate) fn has(&self, condition: Condition) -> bool {
        condition == Condition::Idle || self.conditions.contains(&condition)
    }

    pub(crate) fn seconds(&self) -> u64 {
        if self.quick { 5 } else { self.seconds.max(1) }
    }

    /// What passes in each run before it is measured: fresh processes find their partitions.
    pub(crate) fn warm(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 10 })
    }
}
