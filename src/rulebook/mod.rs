//! The rulebook: tenants, groups, devices, rules, fences, feeds and centres, in versions.
//!
//! Source is a folder of files ([`check`] reads it), truth is a compacted Kafka topic ([`Entries`] reads it, [`plan`] writes what
//! changed), and what machine and ingest see is a [`Rulebook`]: one version, inheritance resolved, never changed once built.
//! A version is the offset of its commit entry; between commits nothing takes effect. Pure: files and entries come in as text.

mod content;
mod duration;
mod entries;
mod fence;
mod fields;
mod geometry;
mod mistake;
mod model;
mod plan;
mod resolve;
mod source;
mod source_fence;
mod source_rules;
mod starter;
#[cfg(test)]
mod tests;
mod validity;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use entries::{Entries, EntryFault};
pub use fence::{Fence, FenceIndex, FenceSlot};
pub use mistake::Mistake;
pub use model::{BatteryLow, Centre, Device, Feed, LostContact, Meaning, Rules, Tenant};
pub use plan::{Change, ChangeKind, Write, diff, losses, plan};
pub use source::{SourceFolder, check};
pub use starter::{StarterAnswers, starter_folder};

use crate::ids::{CentreName, DeviceId, FeedName, TenantName};

/// One version of the rulebook, whole and unchanging.
#[derive(Clone, Debug, PartialEq)]
pub struct Rulebook {
    version: i64,
    centres: BTreeMap<CentreName, Centre>,
    tenants: BTreeMap<TenantName, Tenant>,
    devices: BTreeMap<DeviceId, Device>,
    feeds: BTreeMap<FeedName, Feed>,
    fences: Arc<FenceIndex>,
}

impl Rulebook {
    /// The rulebook before the first commit: version -1, nothing is known.
    pub fn empty() -> Self {
        Self {
            version: -1,
            centres: BTreeMap::new(),
            tenants: BTreeMap::new(),
            devices: BTreeMap::new(),
            feeds: BTreeMap::new(),
            fences: Arc::new(FenceIndex::default()),
        }
    }

    /// The offset of its commit entry in the rulebook topic; -1 before the first.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// A device, with all that it inherits.
    pub fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id)
    }

    /// Every device, in order of id.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// A tenant.
    pub fn tenant(&self, name: &TenantName) -> Option<&Tenant> {
        self.tenants.get(name)
    }

    /// Every tenant, in order of name.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.tenants.values()
    }

    /// A feed.
    pub fn feed(&self, name: &FeedName) -> Option<&Feed> {
        self.feeds.get(name)
    }

    /// Every feed, in order of name.
    pub fn feeds(&self) -> impl Iterator<Item = &Feed> {
        self.feeds.values()
    }

    /// Whether a feed may speak for a device: it carries the device's tenant. Anything may speak for a device that no entry names.
    pub fn carries(&self, feed: &FeedName, device: &DeviceId) -> bool {
        self.device(device).is_none_or(|device| self.carries_tenant(feed, &device.tenant))
    }

    /// Whether a feed may speak for a tenant: its entry names it. A feed whose entry is gone, or not there yet, is nobody else's: while a
    /// feed is renamed its devices must be heard.
    pub fn carries_tenant(&self, feed: &FeedName, tenant: &TenantName) -> bool {
        self.feed(feed).is_none_or(|feed| feed.tenants.contains(tenant))
    }

    /// Whether the same tenants' devices speak through either of two feeds.
    pub fn same_tenants(&self, one: &FeedName, other: &FeedName) -> bool {
        let within = |one: &Feed, other: &Feed| one.tenants.iter().all(|tenant| other.tenants.contains(tenant));
        let both = || Some((self.feed(one)?, self.feed(other)?));
        one == other || both().is_some_and(|(one, other)| within(one, other) && within(other, one))
    }

    /// Every centre, in order of name.
    pub fn centres(&self) -> impl Iterator<Item = &Centre> {
        self.centres.values()
    }

    /// The fences of all tenants.
    pub fn fences(&self) -> &FenceIndex {
        &self.fences
    }
}
