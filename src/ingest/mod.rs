//! MQTT in: each feed has a lane for presses and a lane for reports, probes that prove listening, and receipts to its devices.
//!
//! Each lane is a thread with a runtime of its own. They share nothing but the rulebook's newest version and the queue of receipts.

mod acks;
mod connection;
mod idle_probe;
mod intake;
mod lane;
mod observing;
mod packet;
mod probe;
mod publisher;
mod quarantine;
mod takeover;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::alert::Lane;
use crate::config::{FeedSettings, IngestSettings};
use crate::health::Health;
use crate::ids::{FeedName, Incarnation, IngesterName};
use crate::journal::PartitionCount;
use crate::kafka::{Cluster, Fault, TopicNames, Urgency, Writer};
use crate::limits;
use crate::priority;
use crate::redact::Redacted;
use crate::rulebook::Rulebook;
use crate::runbook::Entry;
use crate::shutdown::Ending;

pub use idle_probe::idle_probe;

use connection::Endpoint;
use intake::Post;
use lane::{LaneTask, Parts};
use probe::Now;
use publisher::{ProbesSent, Publishing};
use takeover::Twin;

/// Why an ingester refuses to start; each names the mend.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// The rulebook has no entry for a feed.
    #[error(
        "the rulebook has no feed {0}: who hears of a press from an unknown device would be open. \
         Add [feeds.{0}] with tenants and fallback_centre to installation.toml and run `lonewatch rules apply DIR`"
    )]
    NoFeed(FeedName),
    /// Kafka's client refuses its settings.
    #[error(transparent)]
    Kafka(#[from] Fault),
    /// A secret cannot be read.
    #[error("cannot read the MQTT password of feed {0} from {1}: {2}")]
    Password(FeedName, std::path::PathBuf, std::io::Error),
    /// No thread or runtime to be had.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// No random number to be had.
    #[error("the system gives no random numbers: {0}")]
    Chance(getrandom::Error),
}

impl StartFault {
    /// What to do about it.
    pub const fn entry(&self) -> Entry {
        match self {
            Self::NoFeed(_) => Entry::FeedWithoutEntry,
            Self::Kafka(_) => Entry::KafkaSettings,
            Self::Password(..) => Entry::PasswordFile,
            Self::Thread(_) | Self::Chance(_) => Entry::SystemResources,
        }
    }
}

/// What an ingester stands on.
#[derive(Clone)]
pub struct Ground {
    /// Where Kafka is.
    pub cluster: Cluster,
    /// What its topics are called.
    pub topics: Arc<TopicNames>,
    /// The journal's partitions.
    pub partitions: PartitionCount,
    /// The newest rulebook, read to its end once.
    pub rulebook: watch::Receiver<Arc<Rulebook>>,
    /// Where to say why we are not ready.
    pub health: Health,
    /// When to end.
    pub ending: Ending,
}

/// Says of every lane that it has not begun: until its ingester stands, a process must not look ready.
pub fn announce(settings: &IngestSettings, health: &Health) {
    for feed in &settings.feeds {
        for lane in Lane::ALL {
            health.not_ready(&part(feed, lane), Entry::RulebookUnread, "not begun: Kafka's topics and the rulebook come first");
        }
    }
}

/// A lane's name in `/readyz`.
fn part(feed: &FeedSettings, lane: Lane) -> String {
    format!("feed {} lane {}", feed.name, lane.as_str())
}

/// A running ingester.
pub struct Ingester {
    threads: Threads,
    /// Starts the feeds that could not start at first; lives as long as they.
    late: Option<JoinHandle<()>>,
}

/// The threads of all feeds.
type Threads = Arc<Mutex<Vec<JoinHandle<()>>>>;

impl Ingester {
    /// Starts all feeds that can start. One that cannot, because the rulebook does not name it or its password cannot be read, keeps no other
    /// feed's presses waiting: `/readyz` says why, and it starts as soon as it can.
    ///
    /// # Errors
    /// A [`StartFault`] where no feed can start, or the system gives nothing to start one with.
    pub fn start(settings: &IngestSettings, ground: &Ground) -> Result<Self, StartFault> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(StartFault::Chance)?;
        let incarnation = Incarnation(u64::from_le_bytes(bytes));
        let threads = Threads::default();
        let (mut waiting, mut faults) = (Vec::new(), Vec::new());
        for feed in &settings.feeds {
            let start = FeedStart { ingester: settings.name.clone(), incarnation, feed: feed.clone(), ground: ground.clone() };
            if let Some(fault) = start.attempt(&threads)? {
                waiting.push(start);
                faults.push(fault);
            }
        }
        if waiting.len() == settings.feeds.len()
            && let Some(first) = faults.into_iter().next()
        {
            return Err(first);
        }
        let late = (!waiting.is_empty()).then(|| thread("late-feeds", start_late(waiting, ground.clone(), Arc::clone(&threads))));
        Ok(Self { threads, late: late.transpose()? })
    }

    /// Whether a thread has ended without being told to.
    pub fn has_failed(&self) -> bool {
        lock(&self.threads).iter().chain(&self.late).any(JoinHandle::is_finished)
    }

    /// Waits until every lane has ended in good order.
    pub fn join(self) {
        // No feed starts after it has ended.
        let late = self.late.into_iter().map(JoinHandle::join).collect::<Vec<_>>();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for ended in late.into_iter().chain(threads.into_iter().map(JoinHandle::join)) {
            if ended.is_err() {
                tracing::error!("a thread of ingest had panicked");
            }
        }
    }
}

fn lock(threads: &Threads) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
    threads.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts each feed once it can be started; then waits for the end.
async fn start_late(mut waiting: Vec<FeedStart>, ground: Ground, threads: Threads) {
    let (mut ending, mut rulebook) = (ground.ending, ground.rulebook);
    let mut looks = tokio::time::interval(Duration::from_millis(limits::LATE_FEED_LOOK_MILLIS.unsigned_abs()));
    loop {
        tokio::select! {
            () = ending.wait() => return,
            // A password may come without a word.
            _ = looks.tick() => {}
            _ = rulebook.changed() => {}
        }
        let mut still = Vec::new();
        for start in waiting {
            match start.attempt(&threads) {
                Ok(None) => tracing::info!(feed = %start.feed.name, "starts late"),
                Ok(Some(_)) => still.push(start),
                // To end without being told to is how it is known that this process cannot go on.
                Err(fault) => return tracing::error!(%fault, feed = %start.feed.name, "cannot start"),
            }
        }
        waiting = still;
        if waiting.is_empty() {
            return ending.wait().await;
        }
    }
}

/// What it takes to start a feed.
struct FeedStart {
    ingester: IngesterName,
    incarnation: Incarnation,
    feed: FeedSettings,
    ground: Ground,
}

impl FeedStart {
    /// Starts the feed; says and gives why it cannot start yet. An error where it never will.
    fn attempt(&self, threads: &Threads) -> Result<Option<StartFault>, StartFault> {
        match self.start(threads) {
            Ok(()) => Ok(None),
            Err(fault @ (StartFault::NoFeed(_) | StartFault::Password(..))) => {
                for lane in Lane::ALL {
                    self.ground.health.not_ready(&part(&self.feed, lane), fault.entry(), fault.to_string());
                }
                Ok(Some(fault))
            }
            Err(fault) => Err(fault),
        }
    }

    fn start(&self, threads: &Threads) -> Result<(), StartFault> {
        let Self { ingester, incarnation, feed, ground } = self;
        let fallback_centre = ground.rulebook.borrow().feed(&feed.name).map(|entry| entry.fallback_centre.clone());
        let fallback_centre = fallback_centre.ok_or_else(|| StartFault::NoFeed(feed.name.clone()))?;
        let endpoint = endpoint(feed)?;
        let (sender, receiver) = mpsc::channel(limits::RECEIPTS_WAITING_MAX);
        let probes_sent = ProbesSent::default();
        let twin = Twin::new(Now::read());
        for lane in Lane::ALL {
            let post = Post {
                feed: feed.clone(),
                lane,
                ingester: ingester.clone(),
                incarnation: *incarnation,
                topics: Arc::clone(&ground.topics),
                fallback_centre: fallback_centre.clone(),
            };
            let client_id = format!("lonewatch-{ingester}-{}-{}", feed.name, lane.as_str());
            let (writer, deliveries) = Writer::open(&ground.cluster, &client_id, lane.urgency(), ground.partitions)?;
            let parts = Parts {
                post,
                endpoint: endpoint.clone(),
                writer,
                deliveries,
                rulebook: ground.rulebook.clone(),
                receipts: sender.clone(),
                probes_sent: probes_sent.clone(),
                twin: twin.clone(),
                partitions: ground.partitions,
                health: ground.health.clone(),
                ending: ground.ending.clone(),
            };
            ground.health.not_ready(&part(feed, lane), Entry::MqttConnection, "connecting");
            let task = LaneTask::new(parts).run();
            let task = async move {
                if lane == Lane::Reports {
                    priority::give_way();
                }
                task.await;
            };
            lock(threads).push(thread(&format!("{}-{}", feed.name, lane.as_str()), task)?);
        }
        let publishing = || Publishing {
            feed: feed.clone(),
            endpoint: endpoint.clone(),
            ingester: ingester.clone(),
            incarnation: *incarnation,
            probes_sent: probes_sent.clone(),
            twin: twin.clone(),
            health: ground.health.clone(),
            ending: ground.ending.clone(),
        };
        lock(threads).push(thread(&format!("{}-probes", feed.name), publishing().probes())?);
        lock(threads).push(thread(&format!("{}-receipts", feed.name), publishing().receipts(receiver))?);
        Ok(())
    }
}

fn endpoint(feed: &FeedSettings) -> Result<Endpoint, StartFault> {
    let password = match &feed.password_file {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|fault| StartFault::Password(feed.name.clone(), path.clone(), fault))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => String::new(),
    };
    let credentials = feed.username.clone().map(|user| (user, Redacted::new(password)));
    Ok(Endpoint { host: feed.host.clone(), port: feed.port, credentials })
}

/// A thread with a runtime of its own, on which one task runs to its end.
fn thread(name: &str, task: impl Future<Output = ()> + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(task))
}

impl Lane {
    /// How urgent a lane's writes are.
    const fn urgency(self) -> Urgency {
        match self {
            Self::Duress => Urgency::Duress,
            Self::Reports => Urgency::Reports,
        }
    }

    /// How long a lane's messages may gather before they are read.
    const fn gather(self) -> Duration {
        match self {
            Self::Duress => Duration::ZERO,
            Self::Reports => Duration::from_micros(limits::REPORTS_GATHER_MICROS),
        }
    }

    /// Messages that the broker may have on their way to a lane.
    const fn receive_maximum(self) -> u16 {
        match self {
            Self::Duress => limits::DURESS_RECEIVE_MAXIMUM,
            Self::Reports => limits::RECEIVE_MAXIMUM,
        }
    }
}
