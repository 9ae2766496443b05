//! What each of our Kafka topics must look like: how they are made, and the check before anything starts.
//!
//! A check never mends: it names the topic, what is, what must be, and the command that mends it. What would make lonewatch
//! wrong (partitions, append time, a policy that deletes what must stay) refuses to start. Where it is one centre's topic, or the
//! quarantine, everybody else is to be watched all the same: it starts, and is not ready. What only shortens a memory (retention, compaction
//! lag), or leaves what is acknowledged on one copy, warns, because a watch with a short memory is better than none.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::cluster::{Cluster, Logged};
use super::fault::{Fault, FaultKind};
use super::handle::Handle;
use crate::ids::CentreName;
use crate::journal::PartitionCount;
use crate::limits;

/// The names of our topics: all begin with the configured prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNames {
    prefix: String,
}

impl TopicNames {
    /// Names under `prefix` (`lonewatch` unless configured otherwise).
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The name of one topic.
    pub fn of(&self, topic: &Topic) -> Arc<str> {
        let prefix = &self.prefix;
        Arc::from(match topic {
            Topic::Journal => format!("{prefix}.journal"),
            Topic::Alerts(centre) => format!("{prefix}.alerts.{centre}"),
            Topic::Shadow(centre) => format!("{prefix}.shadow.{centre}"),
            Topic::Actions(centre) => format!("{prefix}.actions.{centre}"),
            Topic::Rulebook => format!("{prefix}.rulebook"),
            Topic::State => format!("{prefix}.state"),
            Topic::Quarantine => format!("{prefix}.quarantine"),
        })
    }

    /// The journal's name.
    pub fn journal(&self) -> Arc<str> {
        self.of(&Topic::Journal)
    }

    /// The name of a centre's alerts topic.
    pub fn alerts(&self, centre: &CentreName) -> Arc<str> {
        self.of(&Topic::Alerts(centre.clone()))
    }

    /// The rulebook's name; also the transactional id of whoever applies one, so that applies never interleave.
    pub fn rulebook(&self) -> Arc<str> {
        self.of(&Topic::Rulebook)
    }

    /// The quarantine's name.
    pub fn quarantine(&self) -> Arc<str> {
        self.of(&Topic::Quarantine)
    }
}

/// One of our topics (DESIGN section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Reports, presses, observations, metronome.
    Journal,
    /// What a centre reads.
    Alerts(CentreName),
    /// Alerts of what is in stage `shadow`.
    Shadow(CentreName),
    /// What a centre says.
    Actions(CentreName),
    /// Tenants, devices, rules, fences.
    Rulebook,
    /// Snapshots of machines.
    State,
    /// What could not be read.
    Quarantine,
}

/// What a setting of a topic must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    Be(&'static str),
    /// At least so many; `-1` is Kafka's word for "without end".
    AtLeast(i64),
}

struct Setting {
    key: &'static str,
    must: Must,
    weight: Weight,
}

/// What a fault of a topic does to the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// lonewatch would be wrong: it does not start.
    Refuse,
    /// What goes to this topic waits, and nothing else does: it starts, and is not ready.
    Unready,
    /// A memory would be shorter than promised, or rest on one disk: it starts, and says so.
    Warn,
}

impl Topic {
    /// All topics of an installation with these centres.
    pub fn all(centres: &[CentreName]) -> Vec<Self> {
        let mut topics = vec![Self::Journal, Self::Rulebook, Self::State, Self::Quarantine];
        for centre in centres {
            topics.extend([Self::Alerts(centre.clone()), Self::Shadow(centre.clone()), Self::Actions(centre.clone())]);
        }
        topics
    }

    /// Topics keyed by device share the journal's count, so that a device's records keep their order everywhere; the rulebook is
    /// one sequence.
    fn partitions(&self, journal: PartitionCount) -> u32 {
        match self {
            Self::Rulebook => 1,
            Self::Journal | Self::Alerts(_) | Self::Shadow(_) | Self::Actions(_) | Self::State | Self::Quarantine => {
                journal.get()
            }
        }
    }

    /// What it does to a start that it is missing, or of another shape.
    const fn weight(&self) -> Weight {
        match self {
            Self::Journal | Self::Rulebook | Self::State => Weight::Refuse,
            Self::Alerts(_) | Self::Shadow(_) | Self::Actions(_) | Self::Quarantine => Weight::Unready,
        }
    }

    /// With so many copies of each partition, where that is known.
    fn settings(&self, copies: Option<usize>) -> Vec<Setting> {
        let mut settings = self.own_settings();
        // Else a leader that has lost sight of the others acknowledges alone, and its disk takes along what was acknowledged. Of two copies
        // one may always be away.
        if copies.is_some_and(|copies| copies >= 3) {
            settings.push(Setting { key: "min.insync.replicas", must: Must::AtLeast(2), weight: Weight::Warn });
        }
        settings
    }

    fn own_settings(&self) -> Vec<Setting> {
        let kept = |weight| Setting { key: "cleanup.policy", must: Must::Be("delete"), weight };
        let compacted = Setting { key: "cleanup.policy", must: Must::Be("compact"), weight: Weight::Refuse };
        let warn = |key, least| Setting { key, must: Must::AtLeast(least), weight: Weight::Warn };
        match self {
            // Compaction would keep a device's last report only; without append time the machine has no `now`; a size limit
            // would end retention early.
            Self::Journal => vec![
                kept(Weight::Refuse),
                Setting { key: "message.timestamp.type", must: Must::Be("LogAppendTime"), weight: Weight::Refuse },
                warn("retention.ms", limits::JOURNAL_RETENTION_MILLIS),
                warn("retention.bytes", i64::MAX),
            ],
            // Compaction would let a device's newest alert delete its earlier ones.
            Self::Alerts(_) => vec![kept(Weight::Unready), warn("retention.ms", limits::ALERTS_RETENTION_MILLIS_MIN)],
            Self::Shadow(_) | Self::Actions(_) | Self::Quarantine => {
                vec![kept(Weight::Warn), warn("retention.ms", limits::ALERTS_RETENTION_MILLIS_MIN)]
            }
            // Deletion would forget a device's rules after a week. A replay needs every version that the journal names.
            Self::Rulebook => vec![
                compacted,
                warn("min.compaction.lag.ms", limits::RULEBOOK_LAG_MILLIS_MIN),
                warn("delete.retention.ms", limits::RULEBOOK_LAG_MILLIS_MIN),
            ],
            Self::State => vec![compacted],
        }
    }
}

impl Must {
    fn is_met_by(self, value: &str) -> bool {
        match self {
            Self::Be(wanted) => value == wanted,
            Self::AtLeast(least) => value.parse::<i64>().is_ok_and(|value| value == -1 || value >= least),
        }
    }

    /// The value that we set.
    fn value(self) -> String {
        match self {
            Self::Be(wanted) => wanted.to_owned(),
            Self::AtLeast(i64::MAX) => "-1".to_owned(),
            Self::AtLeast(least) => least.to_string(),
        }
    }
}

impl fmt::Display for Must {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Be(wanted) => f.write_str(wanted),
            Self::AtLeast(i64::MAX) => f.write_str("-1 (no limit)"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
        }
    }
}

/// One thing about a topic that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFault {
    /// The Kafka topic.
    pub topic: String,
    /// Whether it keeps lonewatch from starting.
    pub weight: Weight,
    /// What is.
    pub is: String,
    /// What must be.
    pub must: String,
    /// The command, or the choice, that mends it.
    pub mend: String,
}

impl fmt::Display for TopicFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kafka topic {}: {}, but must be {}. Mend: {}", self.topic, self.is, self.must, self.mend)
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is not as it must be, the refusing ones first.
    pub faults: Vec<TopicFault>,
    /// Topics whose settings the broker would not tell, each with the reason: their settings are unchecked.
    pub unanswered: Vec<(String, String)>,
}

impl Checked {
    /// Whether lonewatch may start.
    pub fn allows_start(&self) -> bool {
        self.faults.iter().all(|fault| fault.weight != Weight::Refuse)
    }

    /// Whether everything goes where it should.
    pub fn is_right(&self) -> bool {
        self.faults.iter().all(|fault| fault.weight == Weight::Warn)
    }
}

/// What `create` did about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    Made(String),
    /// It was there and stays as it is; [`check`] says whether that is right.
    Existed(String),
    /// The broker would not.
    Failed(String, Fault),
}

pub(super) fn admin(cluster: &Cluster) -> Result<Handle<AdminClient<Logged>>, Fault> {
    Handle::open(&cluster.client("lonewatch-topics"), Logged).map_err(|error| Fault::of(&error, "opening Kafka's admin client"))
}

/// Makes the topics that are missing. `replicas`: how many; where absent, the cluster's `default.replication.factor`, because
/// whoever set up the cluster knows how many brokers it has.
///
/// # Errors
/// A [`Fault`] if no broker answered `within`; what a broker said about one topic is in [`Created`].
pub async fn create(
    cluster: &Cluster,
    names: &TopicNames,
    topics: &[Topic],
    partitions: PartitionCount,
    replicas: Option<u16>,
    within: Duration,
) -> Result<Vec<Created>, Fault> {
    let admin = admin(cluster)?;
    let wanted: Vec<_> =
        topics.iter().map(|topic| (names.of(topic), topic.partitions(partitions), values(topic, replicas))).collect();
    let new: Vec<NewTopic<'_>> = wanted
        .iter()
        .map(|(name, count, values)| {
            let count = i32::try_from(*count).unwrap_or(i32::MAX);
            let new = NewTopic::new(name, count, TopicReplication::Fixed(replicas.map_or(-1, i32::from)));
            values.iter().fold(new, |new, (key, value)| new.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(within)).operation_timeout(Some(within));
    let made = admin.create_topics(&new, &options).await.map_err(|error| Fault::of(&error, "creating Kafka topics"))?;
    Ok(made
        .into_iter()
        .map(|result| match result {
            Ok(name) => Created::Made(name),
            Err((name, Code::TopicAlreadyExists)) => Created::Existed(name),
            Err((name, code)) => {
                let fault = Fault::new(FaultKind::Lasting, format!("creating {name}: {code}"));
                Created::Failed(name, fault)
            }
        })
        .collect())
}

fn values(topic: &Topic, replicas: Option<u16>) -> Vec<(&'static str, String)> {
    topic.settings(replicas.map(usize::from)).iter().map(|setting| (setting.key, setting.must.value())).collect()
}

/// Looks whether the topics are as they must be. For the start: it blocks the calling thread while metadata is fetched.
///
/// # Errors
/// A [`Fault`] if no broker answered `within`.
pub async fn check(
    cluster: &Cluster,
    names: &TopicNames,
    topics: &[Topic],
    partitions: PartitionCount,
    within: Duration,
) -> Result<Checked, Fault> {
    let admin = admin(cluster)?;
    let doing = format!("looking up Kafka topics at {}", cluster.brokers());
    // All topics at once: asking for one by name would make it, where the broker creates topics by itself.
    let metadata = admin.inner().fetch_metadata(None, within).map_err(|error| Fault::of(&error, &doing))?;
    let mut checked = Checked::default();
    let mut present = Vec::new();
    for topic in topics {
        let name = names.of(topic);
        let found = metadata.topics().iter().find(|found| found.name() == &*name).map_or(&[][..], |found| found.partitions());
        checked.faults.extend(count_fault(cluster, topic, &name, found.len(), topic.partitions(partitions)));
        if let Some(copies) = found.iter().map(|partition| partition.replicas().len()).min() {
            present.push(Present { name, topic, copies });
        }
    }
    check_settings(cluster, &admin, &present, within, &mut checked).await?;
    checked.faults.sort_by_key(|fault| fault.weight);
    Ok(checked)
}

fn count_fault(cluster: &Cluster, topic: &Topic, name: &str, is: usize, must: u32) -> Option<TopicFault> {
    let fault = |is: String, must: String, mend: String| {
        Some(TopicFault { topic: name.to_owned(), weight: topic.weight(), is, must, mend })
    };
    if is == 0 {
        // Kafka hides from a principal what it may not describe.
        let mend = "lonewatch topics create; if it is there, let this principal describe it";
        return fault("is missing".into(), "there".into(), mend.into());
    }
    if is == must as usize {
        return None;
    }
    let mend = match topic {
        Topic::Rulebook => format!(
            "kafka-topics.sh --bootstrap-server {} --delete --topic {name}, then lonewatch topics create and lonewatch rules apply",
            cluster.brokers()
        ),
        Topic::Journal | Topic::State => format!(
            "set partitions = {is} under [kafka] (LONEWATCH__KAFKA__PARTITIONS={is}) if this topic is right; its count cannot change \
             without losing the devices' order"
        ),
        Topic::Alerts(_) | Topic::Shadow(_) | Topic::Actions(_) | Topic::Quarantine if is < must as usize => {
            format!("kafka-topics.sh --bootstrap-server {} --alter --topic {name} --partitions {must}", cluster.brokers())
        }
        Topic::Alerts(_) | Topic::Shadow(_) | Topic::Actions(_) | Topic::Quarantine => format!(
            "once it is read to its end: kafka-topics.sh --bootstrap-server {} --delete --topic {name}, then lonewatch topics create",
            cluster.brokers()
        ),
    };
    fault(format!("has {is} partitions"), format!("{must}"), mend)
}

/// A topic that is there.
struct Present<'a> {
    name: Arc<str>,
    topic: &'a Topic,
    /// Of the partition that has the fewest.
    copies: usize,
}

async fn check_settings(
    cluster: &Cluster,
    admin: &Handle<AdminClient<Logged>>,
    present: &[Present<'_>],
    within: Duration,
    checked: &mut Checked,
) -> Result<(), Fault> {
    if present.is_empty() {
        return Ok(());
    }
    let silent = || {
        let why = "the broker does not tell the settings of topics";
        present.iter().map(|present| (present.name.to_string(), why.to_owned())).collect::<Vec<_>>()
    };
    if cluster.is_embedded() {
        // It would let the question time out.
        checked.unanswered.extend(silent());
        return Ok(());
    }
    let asked: Vec<_> = present.iter().map(|present| ResourceSpecifier::Topic(&present.name)).collect();
    let options = AdminOptions::new().request_timeout(Some(within));
    let answers = match admin.describe_configs(&asked, &options).await {
        Ok(answers) => answers,
        Err(KafkaError::AdminOp(Code::UnsupportedFeature | Code::UnsupportedVersion | Code::NotImplemented)) => {
            checked.unanswered.extend(silent());
            return Ok(());
        }
        Err(error) => return Err(Fault::of(&error, "asking for the settings of Kafka topics")),
    };
    for (present, answer) in present.iter().zip(answers) {
        match answer {
            Ok(resource) => checked.faults.extend(setting_faults(cluster, present, &resource)),
            Err(code) => checked.unanswered.push((present.name.to_string(), code.to_string())),
        }
    }
    Ok(())
}

fn setting_faults(cluster: &Cluster, present: &Present<'_>, resource: &ConfigResource) -> Vec<TopicFault> {
    let is = |key| resource.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
    let settings = present.topic.settings(Some(present.copies));
    let wrong = settings.into_iter().filter(|setting| !setting.must.is_met_by(&is(setting.key)));
    wrong.map(|setting| setting_fault(cluster.brokers(), &present.name, &setting, &is(setting.key))).collect()
}

fn setting_fault(brokers: &str, name: &str, setting: &Setting, is: &str) -> TopicFault {
    let Setting { key, must, weight } = setting;
    let value = must.value();
    let mut mend = format!(
        "kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {name} --add-config {key}={value}"
    );
    if *key == "message.timestamp.type" {
        mend +=
            " (before its first record; a journal that already holds records without append time must be deleted and made anew)";
    }
    TopicFault { topic: name.to_owned(), weight: *weight, is: format!("{key} is {is:?}"), must: must.to_string(), mend }
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, OwnedResourceSpecifier};

    use super::*;

    fn centre() -> CentreName {
        CentreName::parse("north").unwrap()
    }

    #[test]
    fn names_bear_the_prefix_and_the_centre() {
        let names = TopicNames::new("lonewatch");
        assert_eq!(&*names.journal(), "lonewatch.journal");
        assert_eq!(&*names.alerts(&centre()), "lonewatch.alerts.north");
        let all: Vec<_> = Topic::all(&[centre()]).iter().map(|topic| names.of(topic)).collect();
        assert_eq!(all.len(), 7, "{all:?}");
    }

    #[test]
    fn every_topic_that_we_make_passes_our_check() {
        for topic in Topic::all(&[centre()]) {
            for setting in topic.settings(Some(3)) {
                assert!(setting.must.is_met_by(&setting.must.value()), "{topic:?} {}", setting.key);
            }
        }
    }

    /// A press that was acknowledged could rest on the disk of one broker of three, and the check called it well.
    #[test]
    fn of_three_copies_two_must_be_in_sync_and_of_fewer_one_may_be_away() {
        let key = "min.insync.replicas";
        for topic in Topic::all(&[centre()]) {
            let made = |replicas| values(&topic, replicas).into_iter().find(|(of, _)| *of == key).map(|(_, value)| value);
            assert_eq!((made(None), made(Some(2)), made(Some(3))), (None, None, Some("2".to_owned())), "{topic:?}");
        }
        let cluster = Cluster::new("kafka:9092", std::collections::BTreeMap::new());
        let is = |value: &str| {
            let value = Some(value.to_owned());
            let source = rdkafka::admin::ConfigSource::Default;
            let entry =
                ConfigEntry { name: key.into(), value, source, is_read_only: false, is_default: true, is_sensitive: false };
            ConfigResource { specifier: OwnedResourceSpecifier::Topic("t".into()), entries: vec![entry] }
        };
        let says = |copies, value: &str| {
            let present = Present { name: "t".into(), topic: &Topic::Journal, copies };
            let faults = setting_faults(&cluster, &present, &is(value));
            faults.into_iter().find(|fault| fault.is.starts_with(key))
        };
        assert_eq!((says(1, "1"), says(2, "1"), says(3, "2")), (None, None, None));
        let fault = says(3, "1").unwrap();
        assert_eq!(fault.weight, Weight::Warn);
        assert!(fault.mend.ends_with("--add-config min.insync.replicas=2"), "{fault}");
    }

    #[test]
    fn a_count_that_differs_refuses_and_names_the_mend() {
        let cluster = Cluster::new("kafka:9092", std::collections::BTreeMap::new());
        let fault = |topic: &Topic, is| count_fault(&cluster, topic, "t", is, 12);
        assert_eq!(fault(&Topic::Journal, 12), None);
        assert!(fault(&Topic::Journal, 0).unwrap().mend.contains("lonewatch topics create"));
        assert!(fault(&Topic::Journal, 6).unwrap().mend.contains("partitions = 6"));
        let alerts = fault(&Topic::Alerts(centre()), 1).unwrap();
        assert_eq!((fault(&Topic::Journal, 6).unwrap().weight, alerts.weight), (Weight::Refuse, Weight::Unready));
        assert!(alerts.to_string().contains("--alter --topic t --partitions 12"), "{alerts}");
    }

    #[test]
    fn retention_without_end_is_long_enough() {
        assert!(Must::AtLeast(5).is_met_by("-1") && Must::AtLeast(5).is_met_by("5") && !Must::AtLeast(5).is_met_by("4"));
        assert!(!Must::AtLeast(5).is_met_by("") && !Must::Be("delete").is_met_by("compact,delete"));
    }

    #[test]
    fn a_broker_that_does_not_tell_settings_is_named_and_faults_no_topic() {
        let mock = crate::kafka::mock(1);
        let names = TopicNames::new("lonewatch");
        mock.create_topic(&names.journal(), 4, 1).unwrap();
        let cluster = Cluster::embedded(&mock.bootstrap_servers());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (partitions, within) = (PartitionCount::new(4).unwrap(), Duration::from_secs(20));
        let checked = runtime.block_on(check(&cluster, &names, &[Topic::Journal], partitions, within)).unwrap();
        assert_eq!((checked.faults.len(), checked.unanswered.len()), (0, 1), "{checked:?}");
        assert!(checked.allows_start());
        let checked = runtime.block_on(check(&cluster, &names, &[Topic::Rulebook], partitions, within)).unwrap();
        assert!(!checked.allows_start(), "{checked:?}");
    }
}
