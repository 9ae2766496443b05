//! `lonewatch check`: looks at everything that a site stands on and names the mend of each finding; `check device` watches one device.
//!
//! It may run while everything runs, and needs nothing to run. It leaves two traces, both made to mean nothing: on MQTT a probe of no
//! incarnation (`ingest::idle_probe`), in the journal a metronome record of the detector `_check`.

mod client;
mod device;
mod kafka;
mod mqtt;
mod report;

use clap::ValueEnum;

use super::run::OPTIONS_MEND;
use super::{ConfigOpts, Failure, Output, environment};
use crate::config::Settings;
use crate::diagnosis::{Finding, Part};
use crate::kafka::Cluster;
use crate::runbook::Entry;

use report::Report;

/// Options of `check`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  lonewatch check\n  lonewatch check --offline --config /etc/lonewatch/lonewatch.toml\n  \
                  lonewatch check --only mqtt --only clocks\n  lonewatch check device dev-1 --seconds 60"
)]
pub(super) struct Opts {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    config: ConfigOpts,
    /// Only this; may be given several times. Without it, everything.
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Look>,
    /// The configuration alone: asks nobody.
    #[arg(long, conflicts_with = "only")]
    offline: bool,
    /// Lines for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Watches one device live: what it sends, how it was sent, what its receipts ended. Publishes nothing, shows no position.
    Device(device::Opts),
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Look {
    /// The configuration; always looked at.
    Config,
    /// Each feed's MQTT broker: reach, login, every filter, probes there and back.
    Mqtt,
    /// Kafka's brokers, and whether our partitions have leaders and copies.
    Kafka,
    /// Kafka's topics: partitions and settings.
    Topics,
    /// What our principal may read and write in Kafka.
    Permissions,
    /// This machine's clock against that of Kafka's brokers.
    Clocks,
    /// The rulebook in force, held against this configuration.
    Rulebook,
}

/// What is to be looked at.
struct Wanted<'a>(&'a Opts);

impl Wanted<'_> {
    fn is(&self, look: Look) -> bool {
        !self.0.offline && (self.0.only.is_empty() || self.0.only.contains(&look))
    }

    fn any(&self, looks: &[Look]) -> bool {
        looks.iter().any(|look| self.is(*look))
    }
}

/// Runs the command.
pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    match &opts.what {
        Some(What::Device(opts)) => device::run(opts),
        None => site(opts),
    }
}

fn site(opts: &Opts) -> Result<(), Failure> {
    let mut report = Report::new(opts.output);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(settings) = configuration(&opts.config, &mut report) {
        let wanted = Wanted(opts);
        if wanted.any(&[Look::Kafka, Look::Topics, Look::Permissions, Look::Clocks, Look::Rulebook]) {
            kafka::check(&runtime, &settings, &wanted, &mut report)?;
        }
        if wanted.is(Look::Mqtt) {
            if let Ok(ingest) = settings.ingest() {
                runtime.block_on(mqtt::check(ingest, &mut report))?;
            } else {
                let says = "this configuration has no [ingest]: it watches none";
                report.say(&Finding::unchecked(Part::Mqtt, "feeds", says));
            }
        }
    }
    report.conclude()
}

/// Reads the configuration; every mistake is a finding.
fn configuration(config: &ConfigOpts, report: &mut Report) -> Option<Settings> {
    let file = config.config.display().to_string();
    let text = match std::fs::read_to_string(&config.config) {
        Ok(text) => text,
        Err(fault) => {
            let says = format!("cannot be read: {fault}");
            report.say(&Finding::wrong(Part::Config, file, says, "name the configuration file with --config FILE"));
            return None;
        }
    };
    match Settings::load(&text, environment(std::env::vars_os())) {
        Ok(settings) => {
            let roles = [
                settings.ingest().map(|ingest| format!("ingest ({} to watch)", feeds(ingest.feeds.len()))),
                settings.detect().map(|_| "detect".to_owned()),
            ];
            let roles: Vec<String> = roles.into_iter().flatten().collect();
            let roles = if roles.is_empty() { "no role: neither [ingest] nor [detect]".to_owned() } else { roles.join(", ") };
            if let Err(fault) = options(&settings).try_options() {
                report.say(&Finding::wrong(Part::Config, file, fault.to_string(), OPTIONS_MEND));
                report.see(Entry::KafkaSettings);
                return None;
            }
            report.say(&Finding::ok(Part::Config, file, format!("no mistake; {roles}")));
            Some(settings)
        }
        Err(mistakes) => {
            for mistake in mistakes {
                report.say(&Finding::wrong(Part::Config, format!("{file}: {}", mistake.key), mistake.problem, mistake.mend));
            }
            report.see(Entry::Configuration);
            None
        }
    }
}

/// Kafka with the options as configured. Any password will do where nobody is asked: its file may be on another machine.
fn options(settings: &Settings) -> Cluster {
    let mut options = settings.kafka.options.clone();
    if settings.kafka.password_file.is_some() {
        options.insert("sasl.password".to_owned(), "-".to_owned());
    }
    Cluster::new(&settings.kafka.brokers, options)
}

fn feeds(count: usize) -> String {
    if count == 1 { "1 feed".to_owned() } else { format!("{count} feeds") }
}

/// A number that no other run draws.
fn nonce() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|fault| Failure::new(format!("the system gives no random numbers: {fault}")))?;
    Ok(u64::from_le_bytes(bytes))
}
