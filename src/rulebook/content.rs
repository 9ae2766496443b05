//! The entries of the rulebook topic as JSON: what is published, read tolerantly (unknown fields are passed over) and extended,
//! never renamed. Fields for rules of later versions stand here already; this version keeps them out of force.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::geometry::Shape;
use super::model::Meaning;
use crate::alert::{Severity, Stage};
use crate::ids::{CentreName, DeviceId, FeedName, FenceName, GroupName, NameFault, TenantName};
use crate::limits;

/// The version of the entries' format; it changes only when a field's meaning would.
pub(super) const FORMAT: u32 = 1;

/// An entry's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Defaults,
    Centre(CentreName),
    Tenant(TenantName),
    Group(TenantName, GroupName),
    Device(DeviceId),
    Feed(FeedName),
    Fence(TenantName, FenceName),
    Commit,
}

impl Key {
    /// Reads a key.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let fault = |fault: NameFault| fault.to_string();
        match parts.as_slice() {
            ["commit"] => Ok(Self::Commit),
            ["installation", "defaults"] => Ok(Self::Defaults),
            ["centre", name] => CentreName::parse(name).map(Self::Centre).map_err(fault),
            ["tenant", name] => TenantName::parse(name).map(Self::Tenant).map_err(fault),
            ["device", id] => DeviceId::parse(id).map(Self::Device).map_err(fault),
            ["feed", name] => FeedName::parse(name).map(Self::Feed).map_err(fault),
            ["group", tenant, name] => {
                Ok(Self::Group(TenantName::parse(tenant).map_err(fault)?, GroupName::parse(name).map_err(fault)?))
            }
            ["fence", tenant, name] => {
                Ok(Self::Fence(TenantName::parse(tenant).map_err(fault)?, FenceName::parse(name).map_err(fault)?))
            }
            [..] => Err("its kind is unknown to this version".to_owned()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("installation/defaults"),
            Self::Centre(name) => write!(f, "centre/{name}"),
            Self::Tenant(name) => write!(f, "tenant/{name}"),
            Self::Group(tenant, name) => write!(f, "group/{tenant}/{name}"),
            Self::Device(id) => write!(f, "device/{id}"),
            Self::Feed(name) => write!(f, "feed/{name}"),
            Self::Fence(tenant, name) => write!(f, "fence/{tenant}/{name}"),
            Self::Commit => f.write_str("commit"),
        }
    }
}

/// What stands around every entry's content: who, why, when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Envelope {
    #[serde(default = "format_one")]
    pub(super) format: u32,
    pub(super) author: String,
    pub(super) reason: String,
    /// Milliseconds since the epoch.
    pub(super) at: i64,
    /// Written before the tombstone, so that the topic says who removed what.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) removed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Value>,
}

fn format_one() -> u32 {
    FORMAT
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A field that no rule of this version reads: whatever a later version writes there, the entry stays usable.
fn for_later<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let value = Option::<Value>::deserialize(from)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// Off, on with what is inherited, or on with parameters of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Switch<T> {
    OnOff(bool),
    With(T),
}

macro_rules! parts {
    ($($(#[$doc:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            $($(#[$field_meta])* #[serde(skip_serializing_if = "Option::is_none")] pub(super) $field: Option<$type>,)*
        }
    )* };
}

parts! {
    /// `lost_contact`, as far as this level sets it.
    struct LostContactContent {
        silence_millis: i64,
        severity: Severity,
        #[serde(deserialize_with = "for_later")]
        stage: Stage,
        after_will_millis: i64,
    }
    /// `battery_low`, as far as this level sets it.
    struct BatteryLowContent {
        low_percent: u8,
        clear_percent: u8,
        severity: Severity,
        #[serde(deserialize_with = "for_later")]
        stage: Stage,
    }
    /// Rule of a later version.
    struct ManDownContent {
        pre_alert_millis: i64,
        severity: Severity,
        stage: Stage,
    }
    /// Rule of a later version.
    struct NoMotionContent {
        moved_metres: f64,
        still_millis: i64,
        pre_alert_millis: i64,
        severity: Severity,
        stage: Stage,
    }
    /// Rule of a later version.
    struct CheckInContent {
        every_millis: i64,
        reminder_millis: i64,
        grace_millis: i64,
        severity: Severity,
        stage: Stage,
    }
    /// Rule of a later version.
    struct VisitOverrunContent {
        grace_millis: i64,
        severity: Severity,
        stage: Stage,
    }
    /// How often a device reports by itself: for silence limits of a later version.
    struct ExpectedIntervalContent {
        still_millis: i64,
        moving_millis: i64,
        factor: f64,
    }
    /// What one level of installation, tenant, group and device says of the rules; what it leaves out is inherited.
    struct RulesContent {
        stage: Stage,
        lost_contact: Switch<LostContactContent>,
        battery_low: Switch<BatteryLowContent>,
        #[serde(deserialize_with = "for_later")]
        man_down: Switch<ManDownContent>,
        #[serde(deserialize_with = "for_later")]
        no_motion: Switch<NoMotionContent>,
        #[serde(deserialize_with = "for_later")]
        check_in_missed: Switch<CheckInContent>,
        #[serde(deserialize_with = "for_later")]
        visit_overrun: Switch<VisitOverrunContent>,
        #[serde(deserialize_with = "for_later")]
        expected_interval: ExpectedIntervalContent,
    }
}

/// What happens to positions; a field of later versions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Positions {
    Never,
    Visit,
}

/// When a fence is in force, in the tenant's zone; a field of later versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ScheduleContent {
    /// `mon` to `sun`.
    pub(super) days: Vec<String>,
    /// `HH:MM`; a window whose end is not after its start ends on the next day.
    pub(super) from: String,
    /// See `from`.
    pub(super) to: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DefaultsContent {
    pub(super) rules: RulesContent,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reconnect_grace_millis: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CentreContent {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TenantContent {
    pub(super) centre: CentreName,
    /// An IANA time zone.
    pub(super) zone: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reconnect_grace_millis: Option<i64>,
    #[serde(default)]
    pub(super) rules: RulesContent,
    #[serde(default, deserialize_with = "for_later", skip_serializing_if = "Option::is_none")]
    pub(super) positions: Option<Positions>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct GroupContent {
    pub(super) rules: RulesContent,
    #[serde(deserialize_with = "for_later", skip_serializing_if = "Option::is_none")]
    pub(super) positions: Option<Positions>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DeviceContent {
    pub(super) tenant: TenantName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<GroupName>,
    #[serde(default)]
    pub(super) test: bool,
    #[serde(default)]
    pub(super) rules: RulesContent,
    #[serde(default, deserialize_with = "for_later", skip_serializing_if = "Option::is_none")]
    pub(super) positions: Option<Positions>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FeedContent {
    pub(super) tenants: Vec<TenantName>,
    pub(super) fallback_centre: CentreName,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FenceContent {
    pub(super) meaning: Meaning,
    /// Empty: all of the tenant.
    #[serde(default)]
    pub(super) groups: Vec<GroupName>,
    pub(super) severity: Severity,
    #[serde(default)]
    pub(super) stage: Stage,
    pub(super) buffer_metres: f64,
    pub(super) dwell_millis: i64,
    #[serde(default, deserialize_with = "for_later", skip_serializing_if = "Option::is_none")]
    pub(super) schedule: Option<Vec<ScheduleContent>>,
    pub(super) shape: Shape,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Defaults(DefaultsContent),
    Centre(CentreContent),
    Tenant(TenantContent),
    Group(GroupContent),
    Device(DeviceContent),
    Feed(FeedContent),
    Fence(Arc<FenceContent>),
}

impl Content {
    /// Reads the content of the kind that the key names.
    pub(super) fn read(key: &Key, value: Value) -> Result<Self, String> {
        fn of<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
            serde_json::from_value(value).map_err(|fault| fault.to_string())
        }
        let content = match key {
            Key::Defaults => Self::Defaults(of(value)?),
            Key::Centre(_) => Self::Centre(of(value)?),
            Key::Tenant(_) => Self::Tenant(of(value)?),
            Key::Group(..) => Self::Group(of(value)?),
            Key::Device(_) => Self::Device(of(value)?),
            Key::Feed(_) => Self::Feed(of(value)?),
            Key::Fence(..) => Self::Fence(Arc::new(of(value)?)),
            Key::Commit => return Err("a commit has no content".to_owned()),
        };
        content.usable().map(|()| content)
    }

    /// The content as JSON.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Defaults(content) => serde_json::to_value(content),
            Self::Centre(content) => serde_json::to_value(content),
            Self::Tenant(content) => serde_json::to_value(content),
            Self::Group(content) => serde_json::to_value(content),
            Self::Device(content) => serde_json::to_value(content),
            Self::Feed(content) => serde_json::to_value(content),
            Self::Fence(content) => serde_json::to_value(content.as_ref()),
        }
        .expect("contents have no map with keys that are not text, the only thing that cannot be JSON")
    }

    /// Whether limits hold that readers rely on: the topic may have been written by other hands than [`super::check`].
    fn usable(&self) -> Result<(), String> {
        match self {
            Self::Defaults(content) => {
                grace_usable(content.reconnect_grace_millis)?;
                rules_usable(&content.rules)
            }
            Self::Tenant(content) => {
                grace_usable(content.reconnect_grace_millis)?;
                rules_usable(&content.rules)
            }
            Self::Group(content) => rules_usable(&content.rules),
            Self::Device(content) => rules_usable(&content.rules),
            Self::Fence(content) => fence_usable(content),
            Self::Centre(_) | Self::Feed(_) => Ok(()),
        }
    }
}

fn within<T: PartialOrd + fmt::Display + Copy>(what: &str, value: T, least: T, most: T) -> Result<(), String> {
    if value >= least && value <= most { Ok(()) } else { Err(format!("{what} is {value}, must be {least} to {most}")) }
}

fn grace_usable(millis: Option<i64>) -> Result<(), String> {
    millis.map_or(Ok(()), |millis| within("reconnect_grace_millis", millis, 0, limits::RECONNECT_GRACE_MILLIS_MAX))
}

fn rules_usable(rules: &RulesContent) -> Result<(), String> {
    if let Some(Switch::With(lost)) = &rules.lost_contact {
        for (what, millis) in [("silence_millis", lost.silence_millis), ("after_will_millis", lost.after_will_millis)] {
            millis.map_or(Ok(()), |millis| within(what, millis, limits::SILENCE_MILLIS_MIN, limits::SILENCE_MILLIS_MAX))?;
        }
    }
    if let Some(Switch::With(battery)) = &rules.battery_low {
        within("low_percent", battery.low_percent.unwrap_or(0), 0, 100)?;
        within("clear_percent", battery.clear_percent.unwrap_or(0), 0, 100)?;
    }
    Ok(())
}

fn fence_usable(fence: &FenceContent) -> Result<(), String> {
    within("buffer_metres", fence.buffer_metres, 0.0, limits::FENCE_BUFFER_METRES_MAX)?;
    within("dwell_millis", fence.dwell_millis, 0, limits::FENCE_DWELL_MILLIS_MAX)?;
    fence.shape.usable()
}
