//! What an operator can run: one file for each command. Nothing else in the program knows about commands.

mod alerts;
mod check;
#[cfg(feature = "demo")]
pub mod demo;
mod detect;
mod ingest;
mod rules;
mod run;
pub mod simulate;
mod terminal;
mod topics;
mod topics_watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Settings;
use crate::runbook::Entry;

/// Why a command ended without doing its work: lines for the operator, each with its mend.
#[derive(Debug)]
pub struct Failure {
    lines: Vec<String>,
    /// Where the runbook says more.
    see: Option<Entry>,
}

impl Failure {
    /// One line.
    pub fn new(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], see: None }
    }

    /// Many at once.
    pub fn all(lines: impl IntoIterator<Item = impl ToString>) -> Self {
        Self { lines: lines.into_iter().map(|line| line.to_string()).collect(), see: None }
    }

    /// With the place where the runbook says more.
    #[must_use]
    pub const fn see(mut self, entry: Entry) -> Self {
        self.see = Some(entry);
        self
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// lonewatch watches lone workers' devices and tells the alarm receiving centre: presses at once, broken fences, lost contact.
#[derive(Debug, Parser)]
#[command(
    name = "lonewatch",
    version,
    arg_required_else_help = true,
    after_help = "Try it without any broker:\n  lonewatch demo --seconds 30"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows everything at work, with embedded brokers and simulated devices.
    #[cfg(feature = "demo")]
    Demo(demo::Opts),
    /// Ingests and detects in one process, for a small site.
    Run(run::Opts),
    /// Ingests: MQTT to the journal, and presses straight to their centre.
    Ingest(ingest::Opts),
    /// Detects: the journal to alerts.
    Detect(detect::Opts),
    /// The rulebook: tenants, devices, rules and fences, from a folder of files.
    Rules(rules::Opts),
    /// The alerts of a centre.
    Alerts(alerts::Opts),
    /// Looks at everything that a site stands on, or at one device, and names the mend of each finding.
    Check(check::Opts),
    /// Kafka's topics: makes what is missing, checks what is there.
    Topics(topics::Opts),
    /// Drives simulated devices over real MQTT.
    Simulate(simulate::Opts),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigOpts {
    /// The configuration file; every key can also be set as an environment variable (docs/CONFIGURATION.md).
    #[arg(long, env = "LONEWATCH_CONFIG", default_value = "lonewatch.toml", value_name = "FILE")]
    config: PathBuf,
}

impl ConfigOpts {
    /// Reads the configuration; all its mistakes come at once.
    fn load(&self) -> Result<Settings, Failure> {
        let text = std::fs::read_to_string(&self.config).map_err(|fault| {
            Failure::new(format!(
                "cannot read {}: {fault}; name the configuration file with --config FILE",
                self.config.display()
            ))
            .see(Entry::Configuration)
        })?;
        Settings::load(&text, environment(std::env::vars_os())).map_err(|mistakes| {
            let lines = mistakes.iter().map(|mistake| format!("{}: {mistake}", self.config.display()));
            Failure::all(lines).see(Entry::Configuration)
        })
    }
}

/// The environment as texts. A name that is none is none of ours; a value that is none is read as far as it goes, and complained of where it
/// is used.
fn environment(variables: impl Iterator<Item = (OsString, OsString)>) -> impl Iterator<Item = (String, String)> {
    variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

/// How a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Runs the command that the command line names.
pub fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        #[cfg(feature = "demo")]
        Command::Demo(opts) => demo::run(&opts),
        Command::Run(opts) => run::run(&opts),
        Command::Ingest(opts) => ingest::run(&opts),
        Command::Detect(opts) => detect::run(&opts),
        Command::Rules(opts) => rules::run(&opts),
        Command::Alerts(opts) => alerts::run(&opts),
        Command::Check(opts) => check::run(&opts),
        Command::Topics(opts) => topics::run(&opts),
        Command::Simulate(opts) => simulate::run(&opts).map_err(Failure::from),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { lines, see }) => {
            for line in lines {
                terminal::complain(&format!("{} {line}", terminal::bad("error:")));
            }
            if let Some(entry) = see {
                terminal::complain(&terminal::dim(&format!("see {entry}")));
            }
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        CommandLine::command().debug_assert();
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_text_ends_nothing() {
        use std::os::unix::ffi::OsStringExt as _;
        let bad = || OsString::from_vec(vec![b'x', 0xff]);
        let variables = [(bad(), "a".into()), ("OTHER".into(), bad()), ("LONEWATCH__KAFKA__BROKERS".into(), "kafka:9092".into())];
        let read: Vec<_> = environment(variables.into_iter()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1], ("LONEWATCH__KAFKA__BROKERS".to_owned(), "kafka:9092".to_owned()));
    }
}
