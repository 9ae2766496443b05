//! The rulebook as a running process knows it: the newest version, and every version that a journal record may still name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::health::Health;
use crate::kafka::{Cluster, Fault, RulebookItem, RulebookReader, TopicNames};
use crate::metrics;
use crate::rulebook::{Entries, Rulebook};

/// The part's name in `/readyz`.
const PART: &str = "rulebook";

/// Reads the rulebook for ever; hands out versions.
pub struct Rulebooks {
    versions: Versions,
    newest: watch::Receiver<Arc<Rulebook>>,
    complete: watch::Receiver<bool>,
    _reader: RulebookReader,
}

/// Every version read so far. Shared by all partitions; a version's unchanged parts are shared with its neighbours.
#[derive(Clone, Debug, Default)]
pub struct Versions(Arc<Mutex<BTreeMap<i64, Arc<Rulebook>>>>);

impl Versions {
    /// A version, once it was read.
    pub fn get(&self, version: i64) -> Option<Arc<Rulebook>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&version).map(Arc::clone)
    }

    fn add(&self, rulebook: &Arc<Rulebook>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(rulebook.version(), Arc::clone(rulebook));
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
        health.not_ready(PART, "not read to its end yet");
        let reader = RulebookReader::start(cluster, topics, move |item| match item {
            RulebookItem::Entry { offset, key, value } => {
                if let Some(rulebook) = entries.read(offset, &key, value.as_deref()) {
                    sink_versions.add(&rulebook);
                    newest_sender.send_replace(rulebook);
                }
            }
            RulebookItem::End => {
                metrics::rulebook_read(entries.version(), entries.faults().len());
                report(&sink_health, &entries);
                complete_sender.send_replace(true);
            }
            // A stale copy serves; until the first end nobody has started on it.
            RulebookItem::Fault(fault) => sink_health.remark(PART, format!("the copy may be stale: {fault}")),
        })?;
        Ok(Self { versions, newest, complete, _reader: reader })
    }

    /// Every version read so far.
    pub fn versions(&self) -> Versions {
        self.versions.clone()
    }

    /// The newest version, and its changes.
    pub fn newest(&self) -> watch::Receiver<Arc<Rulebook>> {
        self.newest.clone()
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
            format!("{} entries cannot be used, the last good ones stay in force; the first: {first}", rest.len() + 1),
        ),
    }
}
