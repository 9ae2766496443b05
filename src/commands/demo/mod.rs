//! `lonewatch demo`: the whole way at work on one machine, with embedded brokers and simulated devices, judged by the fleet's
//! own record of what it did. Nothing on the way is other than in production, but for the brokers: what they cannot do is said.

mod audience;
pub mod brokers;

#[cfg(test)]
mod drive_tests;

use std::time::Duration;

use audience::Audience;
use brokers::{EmbeddedKafka, EmbeddedMqtt};
use indicatif::{ProgressBar, ProgressStyle};

use super::run::{Roles, Running};
use super::simulate::{MqttAddress, drive};
use super::{Failure, Output, rules, terminal};
use crate::clock;
use crate::config::{LogFormat, Settings, log_filter};
use crate::health::Health;
use crate::ids::CentreName;
use crate::kafka::{Cluster, Topic, TopicNames};
use crate::logging;
use crate::rulebook::{self, Entries};
use crate::shutdown::{Ending, Shutdown};
use crate::simulator::{Fleet, Limits, Plan, Verdict, rules as fleet_rules};

/// The centre whose alerts the demonstration shows.
const CENTRE: &str = "demo";
/// Partitions of the journal: more than one, so that the way is the real one; few, since the mock cluster serves them all alone.
const PARTITIONS: u32 = 4;
/// How long the parts may take to become ready.
const READY_MILLIS: i64 = 30_000;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lonewatch demo --seconds 30 --output json")]
pub struct Opts {
    /// End after this long and judge; in 30 s everything happens at least once. Without it, until Ctrl-C.
    #[arg(long, value_parser = clap::value_parser!(u32).range(30..=86_400))]
    seconds: Option<u32>,
    /// Simulated devices.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(50..=500))]
    devices: u16,
    /// Decides all chance of the simulation.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Alerts as lines for people, or one JSON object at the end.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// What to log on standard error, as in `log.level`.
    #[arg(long, default_value = "off,lonewatch=error", value_parser = log_filter)]
    log: String,
}

/// Runs the demonstration.
///
/// # Errors
/// A [`Failure`] where the embedded brokers cannot start, and the offenders where an alert was false or missed.
pub fn run(opts: &Opts) -> Result<(), Failure> {
    let _log = logging::begin(LogFormat::Text, &opts.log);
    let text = opts.output == Output::Text;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let plan = Plan { devices: usize::from(opts.devices), seed: opts.seed, seconds: opts.seconds, limits: Limits::DEMO };
    let stage = runtime.block_on(Stage::set(&plan))?;
    if text {
        introduce(&plan, &stage);
    }
    let health = Health::default();
    let (shutdown, ending) = Shutdown::new();
    let running = Running::start(&stage.settings, &stage.cluster, Roles { ingest: true, detect: true }, &health, &ending)?;
    wait_until_ready(&health)?;
    let audience = Audience::seat(&stage.cluster, &stage.topics.alerts(&stage.centre), text)?;
    let fleet = runtime.block_on(play(plan, &stage, &ending, text && opts.seconds.is_some()));
    let verdict = audience.verdict(&fleet);
    shutdown.end();
    running.end()?;
    conclude(&verdict, text);
    if verdict.is_clean() { Ok(()) } else { Err(Failure::all(verdict.offenders)) }
}

/// The embedded brokers, with a rulebook in force.
struct Stage {
    mqtt: EmbeddedMqtt,
    _kafka: EmbeddedKafka,
    cluster: Cluster,
    settings: Settings,
    topics: TopicNames,
    centre: CentreName,
}

impl Stage {
    async fn set(plan: &Plan) -> Result<Self, Failure> {
        let centre = CentreName::parse(CENTRE)?;
        let topics = TopicNames::new("lonewatch");
        let names = Topic::all(std::slice::from_ref(&centre)).into_iter().map(|topic| {
            let partitions = if topic == Topic::Rulebook { 1 } else { PARTITIONS.cast_signed() };
            (topics.of(&topic).to_string(), partitions)
        });
        let kafka = EmbeddedKafka::start(&names.collect::<Vec<_>>())?;
        let mqtt = EmbeddedMqtt::start().await?;
        let cluster = Cluster::embedded(&kafka.bootstrap_servers());
        let config = format!(
            "[kafka]\nbrokers = \"{}\"\npartitions = {PARTITIONS}\n[ingest]\nname = \"demo\"\n[[ingest.feeds]]\nname = \"main\"\n\
             url = \"mqtt://127.0.0.1:{}\"\n[detect]\nname = \"demo\"\n",
            kafka.bootstrap_servers(),
            mqtt.port()
        );
        let settings = Settings::load(&config, []).map_err(Failure::all)?;
        let folder = rulebook::check(&fleet_rules::folder(plan)).map_err(Failure::all)?;
        rules::write(&cluster, &topics, &Entries::new(), &folder, "demo", "the demonstration's fleet")?;
        Ok(Self { mqtt, _kafka: kafka, cluster, settings, topics, centre })
    }
}

fn introduce(plan: &Plan, stage: &Stage) {
    terminal::say(&format!(
        "{} simulated devices of two tenants report over MQTT (127.0.0.1:{}); what follows is what their alarm receiving centre reads.",
        plan.devices,
        stage.mqtt.port()
    ));
    terminal::say(&terminal::dim(&format!(
        "Limits are short here: lost contact after {} s of silence, fences after {} s. The brokers are embedded: they cannot answer \
             the start-up checks of retention, cleanup policy, timestamp type and compaction lag, and they keep nothing.",
        plan.limits.silence_millis / 1_000,
        plan.limits.dwell_millis / 1_000
    )));
    if plan.seconds.is_none() {
        terminal::say(&terminal::dim("Ctrl-C ends it."));
    }
}

/// Waits for every part; the reasons of those that are not ready are the failure.
fn wait_until_ready(health: &Health) -> Result<(), Failure> {
    let deadline = clock::wall_millis() + READY_MILLIS;
    while !health.report().0 {
        if clock::wall_millis() > deadline {
            return Err(Failure::all(health.report().1));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

/// Lets the fleet do what it has planned; a bar shows how far it is.
async fn play(plan: Plan, stage: &Stage, ending: &Ending, bar: bool) -> Fleet {
    let began_at = clock::wall_millis();
    let bar = plan.seconds.filter(|_| bar).map(|seconds| progress(seconds.into()));
    let fleet = Fleet::new(plan, began_at);
    let address = MqttAddress { host: "127.0.0.1".to_owned(), port: stage.mqtt.port() };
    let mut ending = ending.clone();
    let until = async {
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => if interrupted.is_err() { std::future::pending::<()>().await },
            () = ending.wait() => {}
        }
    };
    let fleet = drive(fleet, &address, until, |_| {
        if let Some(bar) = &bar {
            bar.set_position((clock::wall_millis() - began_at).unsigned_abs() / 1_000);
        }
    })
    .await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    fleet
}

fn progress(seconds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s");
    ProgressBar::new(seconds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn conclude(verdict: &Verdict, text: bool) {
    if !text {
        let line = serde_json::to_string(verdict).expect("numbers and words only: nothing in it that JSON cannot hold");
        return terminal::say(&line);
    }
    let millis = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let alerts: Vec<String> = verdict.alerts.iter().map(|(kind, count)| format!("{count} {}", kind.replace('_', " "))).collect();
    terminal::say(&format!(
        "{} of {} presses alerted (half within {} ms, 99 in 100 within {} ms); {} false alerts, {} missed; alerts: {}",
        verdict.presses_alerted,
        verdict.presses_sent,
        millis(verdict.duress_p50_ms),
        millis(verdict.duress_p99_ms),
        verdict.false_alerts,
        verdict.missed_alerts,
        alerts.join(", ")
    ));
}
