//! `lonewatch topics`: makes the Kafka topics that are missing, and checks those that are there.

use std::time::Duration;

use super::run::answering;
use super::{ConfigOpts, Failure, terminal};
use crate::config::Settings;
use crate::health::Health;
use crate::ids::CentreName;
use crate::kafka::{Cluster, Created, Topic, TopicNames, check_topics, create_topics};
use crate::rulebooks::Rulebooks;

/// How long Kafka may take to answer.
const WITHIN: Duration = Duration::from_secs(20);

/// Options of `topics`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lonewatch topics create --replicas 3")]
pub(super) struct Opts {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Makes what is missing: our own topics, and those of every centre in the rulebook.
    Create {
        #[command(flatten)]
        config: ConfigOpts,
        /// Copies of each partition; without it the cluster's `default.replication.factor`.
        #[arg(long)]
        replicas: Option<u16>,
    },
    /// Says what is not as it must be, and the command that mends it.
    Check {
        #[command(flatten)]
        config: ConfigOpts,
    },
}

/// Runs the command.
pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &opts.what {
        What::Create { config, replicas } => {
            let settings = config.load()?;
            let (cluster, _) = answering(&settings)?;
            create(&runtime, &settings, &cluster, &[], *replicas)?;
            let centres = centres(&runtime, &settings, &cluster)?;
            create(&runtime, &settings, &cluster, &centres, *replicas)
        }
        What::Check { config } => {
            let settings = config.load()?;
            let (cluster, _) = answering(&settings)?;
            let centres = centres(&runtime, &settings, &cluster)?;
            check(&runtime, &settings, &cluster, &centres)
        }
    }
}

/// The centres of the rulebook in force.
pub(super) fn centres(
    runtime: &tokio::runtime::Runtime,
    settings: &Settings,
    cluster: &Cluster,
) -> Result<Vec<CentreName>, Failure> {
    let names = TopicNames::new(&settings.kafka.prefix);
    let rulebooks = Rulebooks::start(cluster, &names, &Health::default())?;
    let read = runtime.block_on(async { tokio::time::timeout(WITHIN, rulebooks.complete()).await });
    read.map_err(|_| Failure::new(format!("{} was not read within {} s: is Kafka there?", names.rulebook(), WITHIN.as_secs())))?;
    Ok(rulebooks.newest().borrow().centres().map(|centre| centre.name.clone()).collect())
}

/// Makes the topics of these centres that are missing; without centres, our own.
pub(super) fn create(
    runtime: &tokio::runtime::Runtime,
    settings: &Settings,
    cluster: &Cluster,
    centres: &[CentreName],
    replicas: Option<u16>,
) -> Result<(), Failure> {
    let names = TopicNames::new(&settings.kafka.prefix);
    let ours = Topic::all(&[]);
    let topics: Vec<Topic> =
        Topic::all(centres).into_iter().filter(|topic| centres.is_empty() || !ours.contains(topic)).collect();
    let created = runtime.block_on(create_topics(cluster, &names, &topics, settings.kafka.partitions, replicas, WITHIN))?;
    let mut failed = Vec::new();
    for created in created {
        match created {
            Created::Made(name) => terminal::say(&format!("{} {name}", terminal::good("made"))),
            Created::Existed(name) => terminal::say(&format!("{} {name}", terminal::dim("there"))),
            Created::Failed(_, fault) => failed.push(fault.to_string()),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::all(failed)) }
}

fn check(
    runtime: &tokio::runtime::Runtime,
    settings: &Settings,
    cluster: &Cluster,
    centres: &[CentreName],
) -> Result<(), Failure> {
    let names = TopicNames::new(&settings.kafka.prefix);
    let topics = Topic::all(centres);
    let checked = runtime.block_on(check_topics(cluster, &names, &topics, settings.kafka.partitions, WITHIN))?;
    for (topic, why) in &checked.unanswered {
        terminal::say(&format!("{} {topic}: its settings could not be checked: {why}", terminal::noted("open")));
    }
    if checked.is_right() {
        for fault in &checked.faults {
            terminal::say(&format!("{} {fault}", terminal::noted("short")));
        }
        terminal::say(&format!("{} {} topics", terminal::good("checked"), topics.len()));
        return Ok(());
    }
    Err(Failure::all(checked.faults))
}
