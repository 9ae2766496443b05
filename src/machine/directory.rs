//! From device id to slot: a hash map that cannot be iterated, so that its order can never show.

#[allow(clippy::disallowed_types, reason = "looked up by key only; the type offers no iteration")]
use std::collections::HashMap;

use crate::ids::DeviceId;

/// Where a device's record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(pub(super) u32);

/// The slots of a partition's devices.
#[derive(Clone, Debug, Default)]
#[allow(clippy::disallowed_types, reason = "looked up by key only; the type offers no iteration")]
pub(super) struct Directory(HashMap<DeviceId, Slot>);

impl Directory {
    pub(super) fn get(&self, id: &DeviceId) -> Option<Slot> {
        self.0.get(id).copied()
    }

    pub(super) fn insert(&mut self, id: DeviceId, slot: Slot) {
        self.0.insert(id, slot);
    }

    pub(super) fn remove(&mut self, id: &DeviceId) {
        self.0.remove(id);
    }
}
