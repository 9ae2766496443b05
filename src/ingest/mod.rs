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

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::alert::Lane;
use crate::config::{FeedSettings, IngestSettings};
use crate::health::Health;
use crate::ids::{CentreName, FeedName, Incarnation};
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
    threads: Vec<JoinHandle<()>>,
}

impl Ingester {
    /// Starts all feeds.
    ///
    /// # Errors
    /// A [`StartFault`] where it must not or cannot start; nothing runs then.
    pub fn start(settings: &IngestSettings, ground: &Ground) -> Result<Self, StartFault> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(StartFault::Chance)?;
        let incarnation = Incarnation(u64::from_le_bytes(bytes));
        let rulebook = Arc::clone(&ground.rulebook.borrow());
        let mut feeds = Vec::new();
        for feed in &settings.feeds {
            let entry = rulebook.feed(&feed.name).ok_or_else(|| StartFault::NoFeed(feed.name.clone()))?;
            feeds.push((feed, entry.fallback_centre.clone()));
        }
        let mut threads = Vec::new();
        for (feed, fallback_centre) in feeds {
            start_feed(settings, ground, feed, &fallback_centre, incarnation, &mut threads)?;
        }
        Ok(Self { threads })
    }

    /// Whether a thread has ended without being told to.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits until every lane has ended in good order.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of ingest had panicked");
            }
        }
    }
}

fn start_feed(
    settings: &IngestSettings,
    ground: &Ground,
    feed: &FeedSettings,
    fallback_centre: &CentreName,
    incarnation: Incarnation,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<(), StartFault> {
    let endpoint = endpoint(feed)?;
    let (sender, receiver) = mpsc::channel(limits::RECEIPTS_WAITING_MAX);
    let probes_sent = ProbesSent::default();
    let twin = Twin::new(Now::read());
    for lane in Lane::ALL {
        let post = Post {
            feed: feed.clone(),
            lane,
            ingester: settings.name.clone(),
            incarnation,
            topics: Arc::clone(&ground.topics),
            fallback_centre: fallback_centre.clone(),
        };
        let client_id = format!("lonewatch-{}-{}-{}", settings.name, feed.name, lane.as_str());
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
        threads.push(thread(&format!("{}-{}", feed.name, lane.as_str()), task)?);
    }
    let publishing = || Publishing {
        feed: feed.clone(),
        endpoint: endpoint.clone(),
        ingester: settings.name.clone(),
        incarnation,
        probes_sent: probes_sent.clone(),
        twin: twin.clone(),
        health: ground.health.clone(),
        ending: ground.ending.clone(),
    };
    threads.push(thread(&format!("{}-probes", feed.name), publishing().probes())?);
    threads.push(thread(&format!("{}-receipts", feed.name), publishing().receipts(receiver))?);
    Ok(())
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
