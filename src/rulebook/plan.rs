//! From the source folder to the topic: what an apply writes, and how that reads to people.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::Rulebook;
use super::content::{Envelope, FORMAT, Key};
use super::duration;
use super::entries::Entries;
use super::source::SourceFolder;

/// So many devices may go without a word.
const DEVICES_REMOVED_UNASKED: usize = 3;

/// A record to be written: its key and its value; no value is a tombstone.
pub type Write = (String, Option<Vec<u8>>);

/// What an apply does to one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It says something else.
    Changed,
    /// It goes.
    Removed,
}

/// One entry that an apply would add, change or remove; prints as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happens to it.
    pub kind: ChangeKind,
    /// Its key, as `device/dev-7`.
    pub key: String,
    /// What changes within it, as `rules.lost_contact.silence: 10m -> 5m`. Never a coordinate.
    pub details: Vec<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Changed => '~',
            ChangeKind::Removed => '-',
        };
        write!(f, "{sign} {}", self.key)?;
        if !self.details.is_empty() {
            write!(f, "  ({})", self.details.join(", "))?;
        }
        Ok(())
    }
}

/// The difference between what the topic holds and what the folder wants: new and changed entries in order of key, then those that go.
pub fn diff(current: &Entries, desired: &SourceFolder) -> Vec<Change> {
    let mut changes = Vec::new();
    for (key, content) in desired.contents() {
        let text = key.to_string();
        let new = content.to_value();
        match current.stored().get(key) {
            None => changes.push(Change { kind: ChangeKind::Added, key: text, details: Vec::new() }),
            Some(stored) if stored.content != *content => {
                changes.push(Change { kind: ChangeKind::Changed, key: text, details: details(&stored.content.to_value(), &new) });
            }
            Some(_) if current.spoiled(&text) => {
                let details = vec!["replaces an unusable entry".to_owned()];
                changes.push(Change { kind: ChangeKind::Changed, key: text, details });
            }
            Some(_) => {}
        }
    }
    for key in current.stored().keys().filter(|key| !desired.contents().contains_key(*key)) {
        changes.push(Change { kind: ChangeKind::Removed, key: key.to_string(), details: Vec::new() });
    }
    for key in current.never_usable().filter(|key| !desired.contents().contains_key(key)) {
        let details = vec!["was never usable".to_owned()];
        changes.push(Change { kind: ChangeKind::Removed, key: key.to_string(), details });
    }
    changes
}

/// What an apply would take away that is seldom meant, in words: a centre, a tenant, all fences, more than a tenth (and more than a few) of the
/// devices. So reads the wrong folder, or half of one. Empty where nothing needs asking.
pub fn losses(current: &Entries, desired: &SourceFolder) -> Vec<String> {
    let is = |wanted: fn(&Key) -> bool| {
        let held = current.stored().keys().filter(move |key| wanted(key));
        let (stay, go): (Vec<&Key>, Vec<&Key>) = held.partition(|key| desired.contents().contains_key(*key));
        (stay.len() + go.len(), go)
    };
    let (_, gone) = is(|key| matches!(key, Key::Centre(_) | Key::Tenant(_)));
    let mut losses: Vec<String> = gone.iter().map(ToString::to_string).collect();
    let is_fence = |key: &Key| matches!(key, Key::Fence(..));
    let fences = is(is_fence).0;
    if fences > 0 && !desired.contents().keys().any(is_fence) {
        losses.push(if fences == 1 { "the only fence".to_owned() } else { format!("all {fences} fences") });
    }
    let (devices, gone) = is(|key| matches!(key, Key::Device(_)));
    if gone.len() > DEVICES_REMOVED_UNASKED && gone.len() * 10 > devices {
        losses.push(format!("{} of {devices} devices", gone.len()));
    }
    losses
}

/// The records of an apply, to be written in this order and in one transaction: what is new or changed, who removed what and its
/// tombstone, the commit. Empty where nothing changes. `at` is in milliseconds since the epoch.
pub fn plan(current: &Entries, desired: &SourceFolder, author: &str, reason: &str, at: i64) -> Vec<Write> {
    let envelope = |removed, content| {
        let envelope = Envelope { format: FORMAT, author: author.to_owned(), reason: reason.to_owned(), at, removed, content };
        Some(serde_json::to_vec(&envelope).expect("an envelope has no map with keys that are not text"))
    };
    let mut writes: Vec<Write> = Vec::new();
    for change in diff(current, desired) {
        match change.kind {
            ChangeKind::Added | ChangeKind::Changed => {
                let key = Key::parse(&change.key).expect("a key that was printed reads back");
                let content = desired.contents().get(&key).expect("only what is desired is added or changed");
                writes.push((change.key, envelope(false, Some(content.to_value()))));
            }
            ChangeKind::Removed => {
                writes.push((change.key.clone(), envelope(true, None)));
                writes.push((change.key, None));
            }
        }
    }
    if !writes.is_empty() || current.waiting() {
        writes.push((Key::Commit.to_string(), envelope(false, None)));
    }
    writes
}

impl SourceFolder {
    /// The rulebook that this folder alone would make, with versions and entries counted from zero: for rehearsals and tests.
    pub fn rulebook(&self) -> Arc<Rulebook> {
        let mut entries = Entries::new();
        let mut newest = Arc::new(Rulebook::empty());
        for (offset, (key, value)) in (0..).zip(plan(&Entries::new(), self, "rehearsal", "rehearsal", 0)) {
            newest = entries.read(offset, &key, value.as_deref()).unwrap_or(newest);
        }
        newest
    }
}

fn details(old: &Value, new: &Value) -> Vec<String> {
    let (old, new) = (leaves(old), leaves(new));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut lines = Vec::new();
    for key in keys {
        let (before, after) = (old.get(key), new.get(key));
        if before == after {
            continue;
        }
        if key == "shape" {
            lines.push("shape".to_owned());
            continue;
        }
        let shown = |value: Option<&Value>| value.map_or_else(|| "inherited".to_owned(), |value| shown(key, value));
        lines.push(format!("{}: {} -> {}", key.strip_suffix("_millis").unwrap_or(key), shown(before), shown(after)));
    }
    lines
}

/// The values under their key paths. Shapes and lists are left whole.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if path != "shape" => {
                for (key, value) in fields {
                    walk(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, found);
                }
            }
            value => drop(found.insert(path.to_owned(), value.clone())),
        }
    }
    let mut found = BTreeMap::new();
    walk("", value, &mut found);
    found
}

fn shown(key: &str, value: &Value) -> String {
    match (value.as_i64(), value.as_str()) {
        (Some(millis), _) if key.ends_with("_millis") => duration::text(millis),
        (_, Some(text)) => text.to_owned(),
        (_, None) => value.to_string(),
    }
}
