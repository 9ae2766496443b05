//! The rulebook as a running process knows it: the newest version, and every version that a journal record may still name.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::health::Health;
use crate::kafka::{Cluster, Fault, FaultKind, RulebookItem, RulebookReader, TopicNames};
use crate::limits;
use crate::metrics;
use crate::rulebook::{Entries, Rulebook};
use crate::runbook;

/// The part's name in `/readyz`.
const PART: &str = "rulebook";
/// Versions are offsets, and the journal names them: a running process cannot go on with a topic in which they have gone back.
const MADE_ANEW: &str = "its Kafka topic was made anew, or has lost its end: the last rules that were read stay in force, and no others are \
                         read. Apply the folder, then restart";

/// Reads the rulebook for ever; hands out versions.
pub struct Rulebooks {
    versions: Versions,
    newest: watch::Receiver<Arc<Rulebook>>,
    complete: watch::Receiver<bool>,
    reader: RulebookReader,
}

/// Every version that a journal record may still name. Kept as the topic's entries and built when asked for: a thousand versions of
/// a large installation would not fit in memory, their differences do. Shared by all partitions.
#[derive(Clone, Debug, Default)]
pub struct Versions(Arc<Mutex<History>>);

/// What becomes of asking for a version.
#[derive(Clone, Debug)]
pub enum Version {
    /// Here it is.
    Built(Arc<Rulebook>),
    /// The rulebook was not read that far yet.
    NotYet,
    /// The topic no longer holds it: compacted too early.
    Gone,
}

#[derive(Debug, Default)]
struct History {
    log: Vec<Entry>,
    newest: Option<i64>,
    /// The last versions that were asked for, oldest first.
    built: VecDeque<Arc<Rulebook>>,
    /// Builds one version after another; begins anew for an older one.
    builder: Entries,
    builder_at: usize,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    key: String,
    value: Option<Vec<u8>>,
}

impl Versions {
    /// A version.
    pub fn get(&self, version: i64) -> Version {
        self.lock().get(version)
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    fn get(&mut self, version: i64) -> Version {
        if let Some(built) = self.built.iter().find(|built| built.version() == version) {
            return Version::Built(Arc::clone(built));
        }
        if self.newest.is_none_or(|newest| newest < version) {
            return Version::NotYet;
        }
        if self.builder.version() >= version {
            (self.builder, self.builder_at) = (Entries::new(), 0);
        }
        while let Some(entry) = self.log.get(self.builder_at) {
            self.builder_at += 1;
            let built = self.builder.read(entry.offset, &entry.key, entry.value.as_deref());
            if let Some(built) = built.filter(|built| built.version() == version) {
                self.keep(Arc::clone(&built));
                return Version::Built(built);
            }
            if entry.offset >= version {
                break;
            }
        }
        Version::Gone
    }

    fn keep(&mut self, built: Arc<Rulebook>) {
        if self.built.len() == limits::RULEBOOKS_BUILT_MAX {
            self.built.pop_front();
        }
        self.built.push_back(built);
    }

    fn add(&mut self, entry: Entry, newest: Option<Arc<Rulebook>>) {
        self.log.push(entry);
        if let Some(newest) = newest {
            self.newest = Some(newest.version());
            self.keep(newest);
        }
    }
}

impl Rulebooks {
    /// Begins to read.
    ///
    /// # Errors
    /// A lasting [`Fault`] if Kafka's client refuses its settings.
    pub fn start(cluster: &Cluster, topics: &TopicNames, health: &Health) -> Result<Self, Fault> {
        let versions = Versions::default();
        let (newest_sender, newest) = watch::channel(Arc::new(Rulebook::empty()));
        let (complete_sender, complete) = watch::channel(false);
        let mut entries = Entries::new();
        let (sink_versions, sink_health) = (versions.clone(), health.clone());
        health.not_ready(PART, runbook::Entry::RulebookUnread, "not read to its end yet");
        let reader = RulebookReader::start(cluster, topics, move |item| match item {
            RulebookItem::Entry { offset, key, value } => {
                let rulebook = entries.read(offset, &key, value.as_deref());
                sink_versions.lock().add(Entry { offset, key, value }, rulebook.clone());
                if let Some(rulebook) = rulebook {
                    newest_sender.send_replace(rulebook);
                }
            }
            RulebookItem::End => {
                metrics::rulebook_read(entries.version(), entries.faults().len());
                report(&sink_health, &entries);
                complete_sender.send_replace(true);
            }
            RulebookItem::Anew => sink_health.not_ready(PART, runbook::Entry::RulebookUnread, MADE_ANEW),
            RulebookItem::Fault(fault) => {
                tracing::debug!(%fault, "reading the rulebook");
                let why = match fault.kind {
                    FaultKind::Passing => "Kafka does not answer its reader".to_owned(),
                    FaultKind::Lasting | FaultKind::Fatal => fault.text,
                };
                // A stale copy serves; until the first end nobody has started on it.
                if *complete_sender.borrow() {
                    sink_health.remark(PART, runbook::Entry::RulebookUnread, format!("the copy may be stale: {why}"));
                } else {
                    sink_health.not_ready(PART, runbook::Entry::RulebookUnread, format!("not read to its end yet: {why}"));
                }
            }
        })?;
        Ok(Self { versions, newest, complete, reader })
    }

    /// Every version read so far.
    pub fn versions(&self) -> Versions {
        self.versions.clone()
    }

    /// The newest version, and its changes.
    pub fn newest(&self) -> watch::Receiver<Arc<Rulebook>> {
        self.newest.clone()
    }

    /// Whether the reader's thread has died: the rules in force would grow old, and nobody would know.
    pub fn have_died(&self) -> bool {
        self.reader.has_died()
    }

    /// Waits until the rulebook was read to its end once.
    pub async fn complete(&self) {
        // An error means that the reader is gone, as at shutdown: whoever waits is ended elsewhere.
        let mut complete = self.complete.clone();
        let _complete_or_gone = complete.wait_for(|complete| *complete).await;
    }
}

fn report(health: &Health, entries: &Entries) {
    match entries.faults() {
        [] => health.ready(PART),
        [first, rest @ ..] => health.remark(
            PART,
            runbook::Entry::RulebookEntries,
            format!("{} entries cannot be used, the last good ones stay in force; the first: {first}", rest.len() + 1),
        ),
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::clock;
    use crate::rulebook::{check, plan};

    /// Versions of a rulebook whose only tenant gets one more device each time; their offsets, in order.
    fn history(count: usize) -> (History, Vec<i64>) {
        let (mut history, mut entries, mut versions) = (History::default(), Entries::new(), Vec::new());
        let mut offset = 0;
        for devices in 1..=count {
            let devices: String = (0..devices).map(|n| format!("[devices.dev-{n}]\n")).collect::<Vec<_>>().concat();
            let files = [
                ("installation.toml", "[centres.c]\n[feeds.main]\ntenants = [\"t\"]\nfallback_centre = \"c\"\n".to_owned()),
                ("tenants/t.toml", format!("centre = \"c\"\nzone = \"UTC\"\n{devices}")),
            ];
            let folder = check(&files.map(|(path, text)| (path.to_owned(), text))).unwrap();
            for (key, value) in plan(&entries, &folder, "a", "r", 1) {
                let built = entries.read(offset, &key, value.as_deref());
                versions.extend(built.as_ref().map(|built| built.version()));
                history.add(Entry { offset, key, value }, built);
                offset += 1;
            }
        }
        (history, versions)
    }

    #[test]
    fn every_version_can_be_had_in_any_order() {
        let count = limits::RULEBOOKS_BUILT_MAX + 5;
        let (mut history, versions) = history(count);
        assert_eq!(versions.len(), count);
        for (i, version) in versions.iter().enumerate().chain(versions.iter().enumerate().rev()) {
            let Version::Built(rulebook) = history.get(*version) else { panic!("version {version}") };
            assert_eq!((rulebook.version(), rulebook.devices().count()), (*version, i + 1));
        }
        assert!(history.built.len() <= limits::RULEBOOKS_BUILT_MAX);
    }

    /// Where the topic could not be read from the start, `/readyz` said that the process was ready with a stale copy, of nothing.
    #[test]
    fn a_rulebook_that_was_never_read_is_not_ready_and_says_why() {
        let mock = crate::kafka::mock(1);
        let names = TopicNames::new("lonewatch");
        mock.create_topic(&names.rulebook(), 1, 1).unwrap();
        mock.broker_down(1).unwrap();
        let health = Health::default();
        let _rulebooks = Rulebooks::start(&Cluster::embedded(&mock.bootstrap_servers()), &names, &health).unwrap();
        let wait = |wanted: &str| {
            let began = clock::steady_millis();
            while !health.report().1.iter().any(|line| line.starts_with(wanted)) {
                assert!(clock::steady_millis() - began < 30_000, "{wanted}, but it is {:?}", health.report());
                std::thread::yield_now();
            }
        };
        wait("rulebook: NOT READY: not read to its end yet: Kafka does not answer");
        mock.broker_up(1).unwrap();
        wait("rulebook: ready");
    }

    #[test]
    fn what_is_not_read_yet_and_what_is_gone_are_told_apart() {
        let (mut history, versions) = history(3);
        assert!(matches!(history.get(versions[2] + 1), Version::NotYet));
        assert!(matches!(history.get(versions[1] + 1), Version::Gone), "an offset between commits is no version");
        assert!(matches!(history.get(versions[0]), Version::Built(_)));
    }
}
