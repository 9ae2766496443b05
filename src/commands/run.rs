//! `lonewatch run`, and what `ingest` and `detect` share with it: start in order, wait for the end, end in order.

use std::sync::Arc;
use std::time::Duration;

use super::topics_watch::{TopicsWatch, centres_of};
use super::{ConfigOpts, Failure};
use crate::admin;
use crate::config::{DetectSettings, IngestSettings, Settings};
use crate::health::Health;
use crate::ingest::{self, Ground, Ingester};
use crate::kafka::{Cluster, Fault, Reached, TopicNames, reach};
use crate::logging::{self, Log};
use crate::metrics;
use crate::outbox::{self, DetectorParts, detect};
use crate::rulebooks::Rulebooks;
use crate::runbook::Entry;
use crate::shutdown::{Ending, Shutdown};

/// How long the start waits for Kafka before it says so; it goes on waiting.
pub(super) const KAFKA_WITHIN: Duration = Duration::from_secs(10);

/// Kafka, and who answers there now: for commands that an operator waits for.
pub(super) fn answering(settings: &Settings) -> Result<(Cluster, Reached), Failure> {
    let cluster = cluster(settings)?;
    let reached = reach(&cluster, KAFKA_WITHIN).map_err(|fault| {
        let mend = "are the brokers running, are kafka.brokers and the network right? `lonewatch check --only kafka` looks";
        Failure::new(format!("no Kafka broker answers at {} ({fault}). Mend: {mend}", cluster.brokers()))
            .see(Entry::KafkaUnreachable)
    })?;
    Ok((cluster, reached))
}

/// What to do about options that no client takes.
pub(super) const OPTIONS_MEND: &str = "correct it under [kafka.options]; librdkafka's CONFIGURATION.md lists all properties, and TLS is \
    not in this version";

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lonewatch topics create && lonewatch rules apply rules && lonewatch run")]
pub(super) struct Opts {
    #[command(flatten)]
    config: ConfigOpts,
}

/// Which roles this process has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roles {
    pub(super) ingest: bool,
    pub(super) detect: bool,
}

/// Why a role did not start, or could not go on. No error becomes one by itself: whoever makes one names its entry in the runbook.
pub(super) struct Refusal(Failure);

impl Refusal {
    pub(super) fn new(entry: Entry, line: impl Into<String>) -> Self {
        Self(Failure::new(line).see(entry))
    }

    pub(super) fn all(entry: Entry, lines: impl IntoIterator<Item = impl ToString>) -> Self {
        Self(Failure::all(lines).see(entry))
    }

    /// It was told to end before it had begun: nothing to mend.
    pub(super) fn ended(line: &str) -> Self {
        Self(Failure::new(line))
    }

    /// The system gives no thread, runtime or signal.
    pub(super) fn resources(fault: &std::io::Error) -> Self {
        Self::new(Entry::SystemResources, fault.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}

/// Runs until a signal ends it.
pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    Ok(start_and_wait(&opts.config, Roles { ingest: true, detect: true })?)
}

/// Starts the roles and waits for a signal, or for a role that could not go on.
pub(super) fn start_and_wait(config: &ConfigOpts, roles: Roles) -> Result<(), Refusal> {
    let settings = config.load().map_err(Refusal)?;
    let log = logging::begin(settings.log.format, &settings.log.level);
    let asked = asked_to_end()?;
    let health = Health::default();
    // Metrics and readiness are served to the very end.
    let (shutdown, ending) = Shutdown::new();
    let refused = |fault: admin::AdminFault| Refusal::new(fault.entry(), fault.to_string());
    let metrics = admin::collect().map_err(refused)?;
    let (address, door) = admin::open(settings.admin.listen, metrics, health.clone(), ending.clone()).map_err(refused)?;
    tracing::info!(%address, "metrics and readiness are served");
    let cluster = cluster(&settings)?;
    let running = Running::start(&settings, &cluster, roles, &health, &asked)?;
    let outcome = running.wait_and_end(asked, &log);
    shutdown.end();
    if door.join().is_err() {
        tracing::error!("the admin thread had panicked");
    }
    outcome
}

/// Kafka, as configured; its password from the file that is named. Options that no client takes are refused here, where no waiting helps.
pub(super) fn cluster(settings: &Settings) -> Result<Cluster, Refusal> {
    let mut options = settings.kafka.options.clone();
    if let Some(path) = &settings.kafka.password_file {
        let password = std::fs::read_to_string(path).map_err(|fault| {
            Refusal::new(Entry::PasswordFile, format!("cannot read Kafka's password from {}: {fault}", path.display()))
        })?;
        options.insert("sasl.password".to_owned(), password.trim_end_matches(['\r', '\n']).to_owned());
    }
    let cluster = Cluster::new(&settings.kafka.brokers, options);
    cluster.try_options().map_err(|fault| Refusal::new(Entry::KafkaSettings, format!("{fault}. Mend: {OPTIONS_MEND}")))?;
    Ok(cluster)
}

/// The sections of the configuration that the roles need.
struct Sections<'a> {
    ingest: Option<&'a IngestSettings>,
    detect: Option<&'a DetectSettings>,
}

impl<'a> Sections<'a> {
    fn of(settings: &'a Settings, roles: Roles) -> Result<Self, Refusal> {
        let ingest = roles.ingest.then(|| settings.ingest()).transpose();
        let detect = roles.detect.then(|| settings.detect()).transpose();
        match (ingest, detect) {
            (Ok(ingest), Ok(detect)) => Ok(Self { ingest, detect }),
            (ingest, detect) => Err(Refusal::all(Entry::Configuration, ingest.err().into_iter().chain(detect.err()))),
        }
    }

    /// Every part stands in `/readyz` before the first of them may be ready: else the process looked ready between two of them.
    fn announce(&self, health: &Health) {
        if let Some(settings) = self.ingest {
            ingest::announce(settings, health);
        }
        if self.detect.is_some() {
            outbox::announce(health);
        }
    }
}

/// Roles at work.
pub(super) struct Running {
    ingester: Option<Ingester>,
    /// Ends the ingester before the detector: what it still writes, the detector may still see.
    end_ingest: Shutdown,
    end_detect: Shutdown,
    detector: Option<std::thread::JoinHandle<Result<(), Refusal>>>,
    ingest_ending: Ending,
    rulebooks: Rulebooks,
}

impl Running {
    /// Reads the rulebook, checks the topics, and starts the roles. Waits for Kafka for as long as it takes, and says so; gives up
    /// when `ending` is called.
    pub(super) fn start(
        settings: &Settings,
        cluster: &Cluster,
        roles: Roles,
        health: &Health,
        ending: &Ending,
    ) -> Result<Self, Refusal> {
        let topics = Arc::new(TopicNames::new(&settings.kafka.prefix));
        let partitions = settings.kafka.partitions;
        let kafka = |fault: Fault| Refusal::new(Entry::KafkaSettings, fault.to_string());
        let sections = Sections::of(settings, roles)?;
        sections.announce(health);
        let runtime = runtime()?;
        let topics_watch =
            TopicsWatch { cluster: cluster.clone(), names: Arc::clone(&topics), partitions, roles, health: health.clone() };
        topics_watch.check_before_start(&runtime, &[], ending)?;
        let rulebooks = Rulebooks::start(cluster, &topics, health).map_err(kafka)?;
        runtime.block_on(complete(&rulebooks, ending))?;
        let centres = centres_of(&rulebooks.newest().borrow());
        let checked = topics_watch.check_before_start(&runtime, &centres, ending)?;
        let (end_ingest, ingest_ending) = Shutdown::new();
        let (end_detect, detect_ending) = Shutdown::new();
        topics_watch.watch(runtime, &checked, rulebooks.newest(), ending.clone())?;
        let detector = if let Some(settings) = sections.detect {
            let parts = DetectorParts {
                settings: settings.clone(),
                cluster: cluster.clone(),
                topics: Arc::clone(&topics),
                partitions,
                rulebook: rulebooks.newest(),
                versions: rulebooks.versions(),
                health: health.clone(),
                ending: detect_ending,
            };
            let thread = std::thread::Builder::new().name("detector".to_owned());
            Some(thread.spawn(move || detect(parts).map_err(kafka)).map_err(|fault| Refusal::resources(&fault))?)
        } else {
            None
        };
        let ingester = if let Some(settings) = sections.ingest {
            let ground = Ground {
                cluster: cluster.clone(),
                topics,
                partitions,
                rulebook: rulebooks.newest(),
                health: health.clone(),
                ending: ingest_ending.clone(),
            };
            Some(Ingester::start(settings, &ground).map_err(|fault| Refusal::new(fault.entry(), fault.to_string()))?)
        } else {
            None
        };
        Ok(Self { ingester, end_ingest, end_detect, detector, ingest_ending, rulebooks })
    }

    /// Waits until the end is asked for, or for a role that could not go on; then ends everything in order.
    fn wait_and_end(self, mut asked: Ending, log: &Log) -> Result<(), Refusal> {
        let runtime = runtime()?;
        runtime.block_on(async {
            let mut look = tokio::time::interval(Duration::from_millis(200));
            loop {
                tokio::select! {
                    () = asked.wait() => return,
                    _ = look.tick() => {
                        metrics::log_dropped(log.dropped());
                        if self.has_failed() {
                            return;
                        }
                    }
                }
            }
        });
        self.end()
    }

    /// Whether a role has ended without being told to.
    pub(super) fn has_failed(&self) -> bool {
        let detector_over = self.detector.as_ref().is_some_and(std::thread::JoinHandle::is_finished);
        self.rulebooks.have_died()
            || detector_over
            || self.ingester.as_ref().is_some_and(|ingester| !self.ingest_ending.now() && ingester.has_failed())
    }

    /// Ends in order: stop reading MQTT, drain, acknowledge; then the detector writes out, commits and leaves.
    pub(super) fn end(self) -> Result<(), Refusal> {
        let rulebooks_failed = self.rulebooks.have_died();
        let ingest_failed = self.ingester.as_ref().is_some_and(Ingester::has_failed);
        tracing::info!("ending: ingest stops reading, and waits for Kafka");
        self.end_ingest.end();
        if let Some(ingester) = self.ingester {
            ingester.join();
        }
        tracing::info!("ending: the detector writes out and commits");
        self.end_detect.end();
        match self.detector.map(std::thread::JoinHandle::join) {
            Some(Err(_)) => {
                let what = "the detector has panicked: see the log; it starts from its committed offset again";
                return Err(Refusal::new(Entry::RolePanicked, what));
            }
            Some(Ok(outcome)) => outcome?,
            None => {}
        }
        if ingest_failed {
            return Err(Refusal::new(Entry::RolePanicked, "a lane of ingest has panicked: see the log"));
        }
        if rulebooks_failed {
            return Err(Refusal::new(Entry::RolePanicked, "the rulebook's reader has panicked: see the log"));
        }
        tracing::info!("ended");
        Ok(())
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Refusal> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|fault| Refusal::resources(&fault))
}

/// Ends when the system asks for it. Called before anything waits: as the first process of a container, a process is not even killed by a
/// signal that it has no handler for.
fn asked_to_end() -> Result<Ending, Refusal> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = runtime()?;
    let hear = |kind| {
        let _inside = runtime.enter();
        signal(kind).map_err(|fault| Refusal::resources(&fault))
    };
    let (mut terminate, mut interrupt) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
    let (asked, ending) = Shutdown::new();
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        asked.end();
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(|fault| Refusal::resources(&fault))?;
    Ok(ending)
}

async fn complete(rulebooks: &Rulebooks, ending: &Ending) -> Result<(), Refusal> {
    let mut ending = ending.clone();
    tokio::select! {
        () = rulebooks.complete() => Ok(()),
        () = ending.wait() => Err(Refusal::ended("ended before the rulebook was read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Roles = Roles { ingest: true, detect: true };

    /// What a start says that is told to end before Kafka has answered, and what stands in `/readyz` by then.
    fn begin(configuration: &str) -> (Vec<String>, Vec<String>) {
        let settings = Settings::load(configuration, []).unwrap();
        let health = Health::default();
        let (shutdown, ending) = Shutdown::new();
        shutdown.end();
        let cluster = cluster(&settings).unwrap_or_else(|_| panic!("no password file is named"));
        let refusal = Running::start(&settings, &cluster, BOTH, &health, &ending).err().expect("told to end");
        (Failure::from(refusal).lines, health.report().1)
    }

    #[test]
    fn no_part_is_missing_from_readiness_while_the_process_starts() {
        let (_, parts) = begin(
            "[kafka]\nbrokers = \"127.0.0.1:1\"\n[ingest]\nname = \"a\"\n[[ingest.feeds]]\nname = \"main\"\n\
             url = \"mqtt://127.0.0.1:1\"\n[detect]\nname = \"d-0\"\n",
        );
        for part in ["detector", "feed main lane duress", "feed main lane reports"] {
            assert!(parts.iter().any(|line| line.starts_with(&format!("{part}: NOT READY"))), "{part} in {parts:?}");
        }
    }

    #[test]
    fn sections_that_are_missing_are_named_all_at_once() {
        let (said, _) = begin("[kafka]\nbrokers = \"127.0.0.1:1\"\n");
        assert!(said.len() == 2 && said[0].starts_with("ingest") && said[1].starts_with("detect"), "{said:?}");
    }
}
