//! What the rulebook says once inheritance is resolved: the shape that machine and ingest read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::{Severity, Stage};
use crate::ids::{CentreName, DeviceId, FeedName, GroupName, TenantName};

/// A feed's entry: whose devices it carries, and who hears of a press that nobody owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The feed's name; its endpoint and filters are the ingesters' configuration.
    pub name: FeedName,
    /// Tenants whose devices report through it.
    pub tenants: Vec<TenantName>,
    /// The centre of devices that stand in no rulebook.
    pub fallback_centre: CentreName,
    /// Offset of its entry in the rulebook topic.
    pub entry: i64,
}

/// An alarm receiving centre's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Centre {
    /// Its name, part of its Kafka topics'.
    pub name: CentreName,
    /// Offset of its entry in the rulebook topic.
    pub entry: i64,
}

/// A tenant's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// Its alarm receiving centre.
    pub centre: CentreName,
    /// Its IANA time zone, for schedules.
    pub zone: String,
    /// The feeds that carry its devices, in order of their names.
    pub feeds: Vec<FeedName>,
    /// After a gap in listening: how long nothing counts against its devices, in milliseconds.
    pub reconnect_grace_millis: i64,
    /// Offset of its entry in the rulebook topic.
    pub entry: i64,
}

/// A device's entry, with everything that it inherits.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its tenant.
    pub tenant: TenantName,
    /// Its group within the tenant.
    pub group: Option<GroupName>,
    /// Its tenant's centre.
    pub centre: CentreName,
    /// A device for tests: its alerts are marked, routed as true ones.
    pub test: bool,
    /// Defaults < tenant < group < device.
    pub rules: Arc<Rules>,
    /// Offset of its entry in the rulebook topic.
    pub entry: i64,
}

/// The rules of a device. A rule that is none is switched off.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Phase of the roll-out.
    pub stage: Stage,
    /// `lost_contact`.
    pub lost_contact: Option<LostContact>,
    /// `battery_low`.
    pub battery_low: Option<BatteryLow>,
}

/// Silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostContact {
    /// Observed silence after which contact counts as lost, in milliseconds.
    pub silence_millis: i64,
    /// The same after the device's will, in milliseconds; as long as the silence where a will shortens nothing, never longer.
    pub after_will_millis: i64,
    /// How bad that is.
    pub severity: Severity,
}

/// Battery, with room between raising and clearing so that it does not flap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatteryLow {
    /// Raised at or under this percentage.
    pub low_percent: u8,
    /// Cleared at or over this percentage.
    pub clear_percent: u8,
    /// How bad that is.
    pub severity: Severity,
}

/// What a fence means for the devices that it is assigned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// Leaving it alerts.
    KeepIn,
    /// Entering it alerts, and being found in it.
    KeepOut,
    /// Known good ground; leaving it alerts as leaving a keep-in does.
    SafeZone,
    /// Entering and leaving are told.
    Notify,
}
