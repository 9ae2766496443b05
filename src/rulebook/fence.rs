//! Fences and the index that finds those near a position.
//!
//! The index is a list by tenant and name with boxes around the parts of each fence; an exact cell index takes its place behind
//! the same calls. It may answer with a fence too many, never with one too few.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::content::FenceContent;
use super::geometry::{Outline, Reach};
use super::model::Meaning;
use crate::alert::{Severity, Stage};
use crate::ids::{FenceName, GroupName, TenantName};
use crate::position::Position;

/// An area of a tenant with a meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    /// Its name, unique in the tenant.
    pub name: FenceName,
    /// Its tenant.
    pub tenant: TenantName,
    /// The groups that it is for; empty means all of the tenant's devices.
    pub groups: Vec<GroupName>,
    /// What it means for them.
    pub meaning: Meaning,
    /// How bad crossing it is.
    pub severity: Severity,
    /// Phase of its roll-out.
    pub stage: Stage,
    /// Metres beyond the boundary, error circle taken off, before it counts as left.
    pub buffer_metres: f64,
    /// How long a verdict must hold before it alerts, in milliseconds of observed time.
    pub dwell_millis: i64,
    /// Offset of its entry in the rulebook topic.
    pub entry: i64,
    outline: Outline,
    content: Arc<FenceContent>,
}

impl Fence {
    pub(super) fn new(tenant: &TenantName, name: &FenceName, content: &Arc<FenceContent>, entry: i64) -> Self {
        Self {
            name: name.clone(),
            tenant: tenant.clone(),
            groups: content.groups.clone(),
            meaning: content.meaning,
            severity: content.severity,
            stage: content.stage,
            buffer_metres: content.buffer_metres,
            dwell_millis: content.dwell_millis,
            entry,
            outline: Outline::of(&content.shape),
            content: Arc::clone(content),
        }
    }

    /// Metres from the position to the boundary: negative inside, zero on it. The side is exact; the distance is right to about a
    /// part in ten thousand within 50 km, and means "far" beyond.
    pub fn signed_distance_metres(&self, position: Position) -> f64 {
        self.outline.signed_distance_metres(&self.content.shape, position)
    }

    /// Whether it is for devices of this group.
    pub fn applies_to(&self, group: Option<&GroupName>) -> bool {
        self.groups.is_empty() || group.is_some_and(|group| self.groups.contains(group))
    }
}

/// A fence's place in the index of one rulebook version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FenceSlot(pub u32);

/// The fences of a rulebook version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FenceIndex {
    /// By tenant, then name.
    fences: Vec<Arc<Fence>>,
    tenants: BTreeMap<TenantName, Range<usize>>,
}

impl FenceIndex {
    /// Indexes fences that come by tenant, then name.
    pub(super) fn of(fences: Vec<Arc<Fence>>) -> Self {
        debug_assert!(fences.is_sorted_by(|a, b| (&a.tenant, &a.name) < (&b.tenant, &b.name)), "slots follow the names");
        let mut tenants: BTreeMap<TenantName, Range<usize>> = BTreeMap::new();
        for (at, fence) in fences.iter().enumerate() {
            tenants.entry(fence.tenant.clone()).or_insert(at..at).end = at + 1;
        }
        Self { fences, tenants }
    }

    /// How many fences there are; slots count from zero up to it.
    pub fn len(&self) -> usize {
        self.fences.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fences.is_empty()
    }

    /// The fence at a slot that this index gave out.
    pub fn fence(&self, slot: FenceSlot) -> &Fence {
        &self.fences[slot.0 as usize]
    }

    /// Every fence with its slot, by tenant and name.
    pub fn iter(&self) -> impl Iterator<Item = (FenceSlot, &Fence)> {
        self.fences.iter().enumerate().map(|(at, fence)| (slot(at), fence.as_ref()))
    }

    /// A fence by name.
    pub fn find(&self, tenant: &TenantName, name: &FenceName) -> Option<FenceSlot> {
        let range = self.tenants.get(tenant)?.clone();
        let at = self.fences[range.clone()].binary_search_by(|fence| fence.name.cmp(name)).ok()?;
        Some(slot(range.start + at))
    }

    /// Adds to `found` the slots, ascending, of the tenant's fences whose boundary or inside may lie within reach of the position.
    pub fn near(&self, tenant: &TenantName, position: Position, reach_metres: f64, found: &mut Vec<FenceSlot>) {
        let Some(range) = self.tenants.get(tenant) else { return };
        let reach = Reach::of(position, reach_metres);
        let near = range.clone().filter(|at| self.fences[*at].outline.may_reach(&reach));
        found.extend(near.map(slot));
    }
}

fn slot(at: usize) -> FenceSlot {
    FenceSlot(u32::try_from(at).expect("fences are far fewer than 2^32: each takes over 100 bytes of memory"))
}
