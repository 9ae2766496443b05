//! What is measured: lonewatch as an operator runs it, and the null pipeline. Each on a Mosquitto and Kafka topics of its own.

use std::sync::Arc;
use std::time::Duration;

use lonewatch::ids::CentreName;
use lonewatch::journal::PartitionCount;
use lonewatch::kafka::{Cluster, Created, Topic, TopicNames, create_topics};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;

use crate::arrivals::IsAnswer;
use crate::load::device_name;
use crate::marks::{self, MARKED, Say};
use crate::payload;
use crate::rig::{CENTRE, Guarded, Kafka, Mosquitto, MosquittoOptions, PARTITIONS, Role, Rules, Site, World, ends, wait_until};

const SOON: Duration = Duration::from_mins(1);

/// What the reader of a table calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// lonewatch.
    Ours,
    /// The same hops with empty logic.
    Null,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Ours, Self::Null];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "lonewatch",
            Self::Null => "null",
        }
    }
}

/// A system with its brokers. Dropping it ends its processes and its Mosquitto; Kafka goes on.
pub(crate) enum System {
    Ours(Ours),
    Null(Null),
}

/// lonewatch, in two roles.
pub(crate) struct Ours {
    roles: Vec<(&'static str, Role)>,
    site: Site,
}

/// The null pipeline, in two roles.
pub(crate) struct Null {
    roles: Vec<(&'static str, Guarded)>,
    kafka: Arc<Kafka>,
    mosquitto: Mosquitto,
    names: TopicNames,
}

impl System {
    /// Fresh topics and a fresh Mosquitto, nothing running. Every name is used once.
    pub(crate) fn new(kind: Kind, kafka: &Arc<Kafka>, name: &str, devices: u64) -> Self {
        let prefix = format!("{}-{name}", if kind == Kind::Ours { "o" } else { "n" });
        // Backlogs of the overload are larger than the queue that we advise.
        let further_lines = vec!["max_queued_messages 10000000".to_owned()];
        let mosquitto = Mosquitto::start_with(&MosquittoOptions { further_lines, ..MosquittoOptions::default() });
        match kind {
            Kind::Ours => {
                let site = Site::new(World::of(Arc::clone(kafka), mosquitto, &prefix), &rules(devices));
                Self::Ours(Ours { roles: Vec::new(), site })
            }
            Kind::Null => {
                let names = TopicNames::new(&prefix);
                make_topics(kafka, &names);
                Self::Null(Null { roles: Vec::new(), kafka: Arc::clone(kafka), mosquitto, names })
            }
        }
    }

    /// Starts both roles; returns when they serve, with the rulebook in force in every machine.
    pub(crate) fn start(&mut self) {
        self.start_ingest();
        match self {
            Self::Ours(ours) => {
                let mut detect = ours.site.start("detect");
                detect.wait_watching();
                ours.roles.push(("detect", detect));
            }
            Self::Null(null) => {
                let mut detect = null.role("null-detect", &[]);
                detect.wait_said(SOON, "assigned");
                null.roles.push(("detect", detect));
            }
        }
    }

    /// Starts the ingester alone.
    pub(crate) fn start_ingest(&mut self) {
        match self {
            Self::Ours(ours) => {
                let ingest = ours.site.start("ingest");
                wait_until(SOON, "both lanes to be subscribed", || ingest.metric("lonewatch_mqtt_connected", &[]) > 1.5);
                ours.roles.push(("ingest", ingest));
            }
            Self::Null(null) => {
                let mut ingest = null.launch_ingest();
                ingest.wait_said(SOON, "reports subscribed");
                ingest.wait_said(SOON, "duress subscribed");
                null.roles.push(("ingest", ingest));
            }
        }
    }

    /// Kills the ingester; what comes meanwhile waits in its MQTT sessions.
    pub(crate) fn kill_ingest(&mut self) {
        match self {
            Self::Ours(ours) => ours.roles.retain(|(role, _)| *role != "ingest"),
            Self::Null(null) => null.roles.retain(|(role, _)| *role != "ingest"),
        }
    }

    /// Starts the ingester alone, and does not wait for it.
    pub(crate) fn launch_ingest(&mut self) {
        match self {
            Self::Ours(ours) => ours.roles.push(("ingest", ours.site.launch("ingest"))),
            Self::Null(null) => null.roles.push(("ingest", null.launch_ingest())),
        }
    }

    /// Ends everything of it, its Kafka topics too: gigabytes of old journals are nobody's page cache.
    pub(crate) fn end(mut self) {
        match &mut self {
            Self::Ours(ours) => ours.roles.clear(),
            Self::Null(null) => null.roles.clear(),
        }
        let names = match &self {
            Self::Ours(ours) => TopicNames::new(&ours.site.world.prefix),
            Self::Null(null) => null.names.clone(),
        };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka().bootstrap());
        let admin: AdminClient<DefaultClientContext> = config.create().expect("an admin client");
        let topics = [names.journal(), names.alerts(&centre()), names.quarantine()];
        let topics: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
        runtime().block_on(admin.delete_topics(&topics, &AdminOptions::new())).expect("Kafka answers");
    }

    pub(crate) fn mosquitto(&self) -> &Mosquitto {
        match self {
            Self::Ours(ours) => &ours.site.world.mosquitto,
            Self::Null(null) => &null.mosquitto,
        }
    }

    fn kafka(&self) -> &Arc<Kafka> {
        match self {
            Self::Ours(ours) => &ours.site.world.kafka,
            Self::Null(null) => &null.kafka,
        }
    }

    pub(crate) fn alerts_topic(&self) -> String {
        match self {
            Self::Ours(ours) => ours.site.alerts_topic(),
            Self::Null(null) => null.names.alerts(&centre()).to_string(),
        }
    }

    /// How often a lane of ours has had to connect again; the null pipeline would have ended.
    pub(crate) fn reconnects(&self) -> f64 {
        match self {
            Self::Ours(ours) => ours.roles.iter().map(|(_, role)| role.metric("lonewatch_mqtt_reconnects_total", &[])).sum(),
            Self::Null(_) => 0.0,
        }
    }

    /// How many records the journal holds.
    pub(crate) fn journaled(&self) -> u64 {
        let topic = match self {
            Self::Ours(ours) => ours.site.world.kafka_topic("journal"),
            Self::Null(null) => null.names.journal().to_string(),
        };
        ends(self.kafka(), &topic, PARTITIONS).values().map(|end| end.unsigned_abs()).sum()
    }

    /// The processes to watch, brokers among them.
    pub(crate) fn processes(&self) -> Vec<(&'static str, u32)> {
        let mut all = vec![("mosquitto", self.mosquitto().pid()), ("kafka", self.kafka().pid())];
        match self {
            Self::Ours(ours) => all.extend(ours.roles.iter().map(|(role, process)| (*role, process.pid()))),
            Self::Null(null) => all.extend(null.roles.iter().map(|(role, process)| (*role, process.pid()))),
        }
        all
    }

    /// What answers a mark. The null pipeline gives back what was sent.
    pub(crate) fn is_answer(&self, what: Say) -> IsAnswer {
        match (self, what) {
            (Self::Ours(_), Say::Crossings) => |json: &Value| json["kind"] == "fence_exited" && json["revision"] == 1,
            (Self::Ours(_), Say::Presses) => |json: &Value| json["kind"] == "duress" && json["revision"] == 1,
            (Self::Null(_), Say::Crossings) => {
                |json: &Value| json["fix"]["lat"].as_f64().is_some_and(|lat| lat >= payload::OUTSIDE_LAT)
            }
            (Self::Null(_), Say::Presses) => |_: &Value| true,
        }
    }
}

impl Null {
    fn launch_ingest(&self) -> Guarded {
        self.role("null-ingest", &["--port", &self.mosquitto.port().to_string()])
    }

    fn role(&self, role: &str, further: &[&str]) -> Guarded {
        let itself = std::env::current_exe().expect("a running program has a file");
        let alerts = self.names.alerts(&centre());
        Guarded::start(role, &itself, |command| {
            command.args([role, "--kafka", &self.kafka.bootstrap(), "--journal", &self.names.journal(), "--alerts", &alerts]);
            command.args(further);
        })
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn centre() -> CentreName {
    CentreName::parse(CENTRE).expect("the rig's centre has a legal name")
}

fn rules(devices: u64) -> Rules {
    let marked = (0..marks::DEVICES).map(|number| format!("{MARKED}{number}"));
    let names: Vec<String> = (0..devices).map(device_name).chain(marked).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Rules::of(&names).keep_in("area", payload::MIDDLE, payload::HALF)
}

/// The two topics of the null pipeline, with the settings of ours.
fn make_topics(kafka: &Kafka, names: &TopicNames) {
    let cluster = Cluster::new(&kafka.bootstrap(), std::collections::BTreeMap::new());
    let topics = [Topic::Journal, Topic::Alerts(centre())];
    let partitions = PartitionCount::new(PARTITIONS).expect("a legal count");
    let made = runtime().block_on(create_topics(&cluster, names, &topics, partitions, None, SOON)).expect("Kafka answers");
    for made in made {
        assert!(!matches!(made, Created::Failed(..)), "{made:?}");
    }
}
