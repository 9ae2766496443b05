//! Reads the rulebook topic record by record and builds a version at each commit.
//!
//! Same records in the same order give equal rulebooks. An entry that cannot be used is a fault and leaves the last good one under
//! its key in force; nothing takes effect before the next commit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Rulebook;
use super::content::{Content, Envelope, FORMAT, Key, RulesContent};
use super::fence::{Fence, FenceIndex};
use super::model::{Centre, Device, Feed, Rules, Tenant};
use super::resolve::resolve;
use crate::ids::{CentreName, DeviceId, FeedName, GroupName, TenantName};
use crate::limits;

/// An entry that could not be used, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryFault {
    /// Where it stands in the rulebook topic.
    pub offset: i64,
    /// Its key, cut to a printable length.
    pub key: String,
    /// What is wrong and what holds instead.
    pub what: String,
}

impl fmt::Display for EntryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, key, what } = self;
        write!(f, "rulebook entry {key} at offset {offset}: {what}")
    }
}

/// An entry in force, or waiting for the next commit.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    offset: i64,
    pub(super) content: Content,
    fence: Option<Arc<Fence>>,
}

/// The rulebook topic as read so far: feed it every record in order.
#[derive(Clone, Debug)]
pub struct Entries {
    stored: BTreeMap<Key, Stored>,
    /// Faults of entries, then (from `unread` on) those that the last build found between entries.
    faults: Vec<EntryFault>,
    unread: usize,
    waiting: bool,
    version: i64,
}

impl Default for Entries {
    fn default() -> Self {
        Self::new()
    }
}

impl Entries {
    /// Before the first record.
    pub fn new() -> Self {
        Self { stored: BTreeMap::new(), faults: Vec::new(), unread: 0, waiting: false, version: -1 }
    }

    /// Reads the next record; a commit entry yields the version that it makes.
    pub fn read(&mut self, offset: i64, key: &str, value: Option<&[u8]>) -> Option<Arc<Rulebook>> {
        match self.take(offset, key, value) {
            Ok(None) => None,
            Ok(Some(Committed)) => Some(self.build(offset)),
            Err(what) => {
                self.forget_fault(key);
                let what = format!("{what}; the last good entry stays in force");
                if self.unread < limits::ENTRY_FAULTS_MAX {
                    self.faults.insert(self.unread, EntryFault { offset, key: shown(key), what });
                    self.unread += 1;
                }
                None
            }
        }
    }

    /// Every entry that could not be used and has not been replaced since, and what did not fit together in the last version.
    pub fn faults(&self) -> &[EntryFault] {
        &self.faults
    }

    /// The newest version read; -1 before the first.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// What stands under each key, whether in force or waiting for a commit.
    pub(super) fn stored(&self) -> &BTreeMap<Key, Stored> {
        &self.stored
    }

    /// Whether entries wait for a commit.
    pub(super) fn waiting(&self) -> bool {
        self.waiting
    }

    /// Whether the newest entry under the key was unusable: the topic holds that one, not the one in force.
    pub(super) fn spoiled(&self, key: &str) -> bool {
        let key = shown(key);
        self.faults[..self.unread].iter().any(|fault| fault.key == key)
    }

    /// Keys whose newest entry is unusable and that have none in force.
    pub(super) fn never_usable(&self) -> impl Iterator<Item = Key> {
        let keys = self.faults[..self.unread].iter().filter_map(|fault| Key::parse(&fault.key).ok());
        keys.filter(|key| *key != Key::Commit && !self.stored.contains_key(key))
    }

    fn take(&mut self, offset: i64, text: &str, value: Option<&[u8]>) -> Result<Option<Committed>, String> {
        let key = Key::parse(text)?;
        let Some(value) = value else {
            self.remove(&key, text);
            return Ok(None);
        };
        let envelope: Envelope = serde_json::from_slice(value).map_err(|fault| format!("not an entry: {fault}"))?;
        if envelope.format > FORMAT {
            return Err(format!("written in format {}, this version reads up to {FORMAT}", envelope.format));
        }
        if key == Key::Commit {
            self.forget_fault(text);
            return Ok(Some(Committed));
        }
        if envelope.removed {
            self.remove(&key, text);
            return Ok(None);
        }
        let content = Content::read(&key, envelope.content.ok_or("has no content")?)?;
        let fence = match (&key, &content) {
            (Key::Fence(tenant, name), Content::Fence(fence)) => Some(Arc::new(Fence::new(tenant, name, fence, offset))),
            _ => None,
        };
        self.stored.insert(key, Stored { offset, content, fence });
        self.forget_fault(text);
        self.waiting = true;
        Ok(None)
    }

    fn remove(&mut self, key: &Key, text: &str) {
        self.forget_fault(text);
        self.waiting |= self.stored.remove(key).is_some();
    }

    fn forget_fault(&mut self, key: &str) {
        let key = shown(key);
        if let Some(at) = self.faults[..self.unread].iter().position(|fault| fault.key == key) {
            self.faults.remove(at);
            self.unread -= 1;
        }
    }

    fn build(&mut self, version: i64) -> Arc<Rulebook> {
        let mut build = Build::default();
        for (key, stored) in &self.stored {
            build.add(key, stored);
        }
        self.faults.truncate(self.unread);
        let (rulebook, mut dangling) = build.finish(version);
        dangling.truncate(limits::ENTRY_FAULTS_MAX);
        self.faults.append(&mut dangling);
        self.waiting = false;
        self.version = version;
        Arc::new(rulebook)
    }
}

struct Committed;

fn shown(key: &str) -> String {
    key.chars().take(200).collect()
}

/// A version in the making. Keys come in their order (defaults, centres, tenants, groups, devices, feeds, fences), so what an entry
/// leans on is there before it.
#[derive(Default)]
struct Build<'a> {
    defaults: Option<&'a super::content::DefaultsContent>,
    groups: BTreeMap<(&'a TenantName, &'a GroupName), &'a RulesContent>,
    tenant_rules: BTreeMap<&'a TenantName, &'a RulesContent>,
    /// Rules of devices that add nothing of their own, shared among them.
    shared: BTreeMap<(TenantName, Option<GroupName>), Arc<Rules>>,
    centres: BTreeMap<CentreName, Centre>,
    tenants: BTreeMap<TenantName, Tenant>,
    devices: BTreeMap<DeviceId, Device>,
    feeds: BTreeMap<FeedName, Feed>,
    fences: Vec<Arc<Fence>>,
    dangling: Vec<EntryFault>,
}

impl<'a> Build<'a> {
    fn add(&mut self, key: &'a Key, stored: &'a Stored) {
        let entry = stored.offset;
        match (key, &stored.content) {
            (Key::Defaults, Content::Defaults(defaults)) => self.defaults = Some(defaults),
            (Key::Centre(name), Content::Centre(_)) => {
                self.centres.insert(name.clone(), Centre { name: name.clone(), entry });
            }
            (Key::Tenant(name), Content::Tenant(content)) => self.tenant(name, content, entry),
            (Key::Group(tenant, group), Content::Group(content)) => {
                if !self.tenants.contains_key(tenant) {
                    self.dangle(key, entry, format!("its tenant {tenant} does not exist; it serves nobody"));
                }
                self.groups.insert((tenant, group), &content.rules);
            }
            (Key::Device(id), Content::Device(content)) => self.device(key, id, content, entry),
            (Key::Feed(name), Content::Feed(content)) => self.feed(key, name, content, entry),
            (Key::Fence(tenant, _), Content::Fence(_)) => match &stored.fence {
                Some(fence) if self.tenants.contains_key(tenant) => self.fences.push(Arc::clone(fence)),
                Some(_) | None => self.dangle(key, entry, format!("its tenant {tenant} does not exist; it is out of force")),
            },
            (key, _) => unreachable!("an entry is read as the kind that its key names: {key}"),
        }
    }

    fn dangle(&mut self, key: &Key, offset: i64, what: String) {
        self.dangling.push(EntryFault { offset, key: key.to_string(), what });
    }

    fn tenant(&mut self, name: &'a TenantName, content: &'a super::content::TenantContent, entry: i64) {
        if !self.centres.contains_key(&content.centre) {
            let what = format!("its centre {} has no entry; its alerts go there all the same", content.centre);
            self.dangle(&Key::Tenant(name.clone()), entry, what);
        }
        let wide = self.defaults.and_then(|defaults| defaults.reconnect_grace_millis);
        let tenant = Tenant {
            name: name.clone(),
            centre: content.centre.clone(),
            zone: content.zone.clone(),
            feeds: Vec::new(),
            reconnect_grace_millis: content.reconnect_grace_millis.or(wide).unwrap_or(limits::RECONNECT_GRACE_MILLIS),
            entry,
        };
        self.tenants.insert(name.clone(), tenant);
        self.tenant_rules.insert(name, &content.rules);
    }

    fn device(&mut self, key: &Key, id: &DeviceId, content: &'a super::content::DeviceContent, entry: i64) {
        let Some(tenant) = self.tenants.get(&content.tenant) else {
            let what = format!(
                "its tenant {} does not exist; it counts as unknown, its presses go to the feed's fallback centre",
                content.tenant
            );
            return self.dangle(key, entry, what);
        };
        let centre = tenant.centre.clone();
        let group_rules = content.group.as_ref().and_then(|group| self.groups.get(&(&content.tenant, group)).copied());
        if let (Some(group), None) = (&content.group, group_rules) {
            self.dangle(key, entry, format!("its group {group} does not exist; its tenant's rules hold"));
        }
        let levels: Vec<&RulesContent> =
            [self.defaults.map(|defaults| &defaults.rules), self.tenant_rules.get(&content.tenant).copied(), group_rules]
                .into_iter()
                .flatten()
                .collect();
        let rules = if content.rules == RulesContent::default() {
            let place = (content.tenant.clone(), content.group.clone());
            Arc::clone(self.shared.entry(place).or_insert_with(|| Arc::new(resolve(levels))))
        } else {
            Arc::new(resolve(levels.into_iter().chain([&content.rules])))
        };
        let (tenant, group) = (content.tenant.clone(), content.group.clone());
        self.devices.insert(id.clone(), Device { id: id.clone(), tenant, group, centre, test: content.test, rules, entry });
    }

    fn feed(&mut self, key: &Key, name: &FeedName, content: &super::content::FeedContent, entry: i64) {
        if !self.centres.contains_key(&content.fallback_centre) {
            let what = format!("its fallback centre {} has no entry; alerts go there all the same", content.fallback_centre);
            self.dangle(key, entry, what);
        }
        for tenant in &content.tenants {
            match self.tenants.get_mut(tenant) {
                // Feeds come in order of name, each at most once per tenant.
                Some(tenant) if tenant.feeds.last() == Some(name) => {}
                Some(tenant) => tenant.feeds.push(name.clone()),
                None => self.dangle(key, entry, format!("its tenant {tenant} does not exist; the others hold")),
            }
        }
        let feed = Feed {
            name: name.clone(),
            tenants: content.tenants.clone(),
            fallback_centre: content.fallback_centre.clone(),
            entry,
        };
        self.feeds.insert(name.clone(), feed);
    }

    fn finish(self, version: i64) -> (Rulebook, Vec<EntryFault>) {
        let Self { centres, tenants, devices, feeds, fences, dangling, .. } = self;
        let fences = Arc::new(FenceIndex::of(fences));
        (Rulebook { version, centres, tenants, devices, feeds, fences }, dangling)
    }
}
