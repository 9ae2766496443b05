//! The fleet: all devices, stepped together in one order, and their record.

use std::collections::BTreeMap;

use super::deed::{Act, Deed};
use super::device::{Device, Step};
use super::{Limits, message};
use crate::ids::DeviceId;
use crate::time::SECOND_MILLIS;

/// Deeds that a fleet remembers: days of a run without end. Past it devices report and repeat, and begin nothing new.
pub(super) const DEEDS_MAX: usize = 100_000;

/// What decides everything that a fleet does, beside the times at which it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many devices.
    pub devices: usize,
    /// Decides all chance.
    pub seed: u64,
    /// How long the run is; none for one without end. From 30 s on with [`Limits::DEMO`] every kind of deed happens.
    pub seconds: Option<u32>,
    /// Limits that scripts keep to; the silence limit is at least five times the reports' distance.
    pub limits: Limits,
}

impl Plan {
    /// When a run that starts at `start_millis` ends.
    pub fn ends_at(&self, start_millis: i64) -> Option<i64> {
        self.seconds.map(|seconds| start_millis + i64::from(seconds) * SECOND_MILLIS)
    }
}

/// One message that a device sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Who sends it.
    pub device: DeviceId,
    /// Where to.
    pub mqtt_topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// MQTT quality of service.
    pub qos: u8,
}

/// Simulated devices and the record of what they did.
#[derive(Debug)]
pub struct Fleet {
    plan: Plan,
    now: i64,
    ends_at: Option<i64>,
    devices: Vec<Device>,
    places: BTreeMap<DeviceId, usize>,
    deeds: Vec<Deed>,
    messages_sent: u64,
    messages_lost: u64,
    longest_stall_millis: i64,
}

impl Fleet {
    /// A fleet that begins at `start_millis` (since the epoch).
    pub fn new(plan: Plan, start_millis: i64) -> Self {
        let devices: Vec<_> = (0..plan.devices).map(|index| Device::new(index, &plan, start_millis)).collect();
        let places = devices.iter().enumerate().map(|(place, device)| (device.id.clone(), place)).collect();
        let ends_at = plan.ends_at(start_millis);
        Self {
            plan,
            now: start_millis,
            ends_at,
            devices,
            places,
            deeds: Vec::new(),
            messages_sent: 0,
            messages_lost: 0,
            longest_stall_millis: 0,
        }
    }

    /// Everything that devices send up to `now_millis`, in the order of sending. Call it often: what is due goes out late otherwise.
    #[must_use]
    pub fn advance(&mut self, now_millis: i64) -> Vec<Send> {
        self.longest_stall_millis = self.longest_stall_millis.max(now_millis - self.now);
        self.now = self.now.max(now_millis);
        let mut sends = Vec::new();
        let mut step = Step { now: self.now, ends_at: self.ends_at, sends: &mut sends, deeds: &mut self.deeds };
        for device in &mut self.devices {
            device.advance(&mut step);
        }
        self.messages_sent += sends.len() as u64;
        sends
    }

    /// A receipt arrived at a device: the press that it names is not repeated any more.
    pub fn receipt(&mut self, device: &DeviceId, payload: &[u8]) {
        let (Some(place), Some(id)) = (self.places.get(device), message::receipted_id(payload)) else { return };
        self.devices[*place].receipt(&id, self.now, &mut self.deeds);
    }

    /// The plan that it follows.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its devices, in order.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = &DeviceId> {
        self.devices.iter().map(|device| &device.id)
    }

    /// Everything that devices did so far.
    pub fn deeds(&self) -> &[Deed] {
        &self.deeds
    }

    /// Counts a message that [`Self::advance`] gave out and the caller could not hand over.
    pub fn lost_one(&mut self) {
        self.messages_lost += 1;
    }

    /// Messages that never left their device.
    pub fn messages_lost(&self) -> u64 {
        self.messages_lost
    }

    /// The longest time between two calls of [`Self::advance`], in milliseconds. Near the silence limit devices were truly silent, and the
    /// record says so.
    pub fn longest_stall_millis(&self) -> i64 {
        self.longest_stall_millis
    }

    /// Messages sent so far, with repeats and lost ones.
    pub fn messages_sent(&self) -> u64 {
        self.messages_sent
    }

    /// Presses whose receipt came.
    pub fn presses_receipted(&self) -> usize {
        self.deeds.iter().filter(|deed| matches!(deed.act, Act::Pressed { receipted_at: Some(_), .. })).count()
    }

    /// The end of a bounded run, in milliseconds since the epoch.
    pub fn ends_at(&self) -> Option<i64> {
        self.ends_at
    }
}
