//! What lonewatch says to an alarm receiving centre: the alert, the heartbeat, and their JSON.
//!
//! Every revision is the whole alert. A consumer keeps the highest revision per id and is right; fields may be added, never
//! renamed or taken away (`docs/alert.schema.json` is generated from these types, and a test compares it).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AlertId, CentreName, DeviceId, EventId, FeedName, FenceName, GroupName, Hasher, IngesterName, TenantName};
use crate::position::Position;

/// The version of this format; it changes only when a field's meaning would.
pub const FORMAT: u32 = 1;

/// One message on a centre's alerts topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CentreMessage {
    /// Something happened to a device or a feed.
    Alert(Box<Alert>),
    /// A detector lives: its absence is news too.
    Heartbeat(Heartbeat),
}

impl CentreMessage {
    /// The message as one line of JSON; the same message gives the same bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an alert has no map with keys that are not text, the only thing that cannot be JSON")
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody pressed for help. Never suppressed, never clears by itself.
    Duress,
    /// The device reports a fall or a man-down.
    ManDown,
    /// In contact but not moving during a visit.
    NoMotion,
    /// Provably silent for longer than its limit.
    LostContact,
    /// A check-in of a visit is overdue.
    CheckInMissed,
    /// A visit is past its end.
    VisitOverrun,
    /// Entered a fence that it should stay out of, or that asks for notice.
    FenceEntered,
    /// Left a fence that it should stay in, or that asks for notice.
    FenceExited,
    /// Crossed a fence between two fixes.
    FenceCrossed,
    /// The battery is low.
    BatteryLow,
    /// The device says that it was removed, opened or jammed.
    Tamper,
    /// The device says that it is faulty.
    DeviceFault,
    /// Reports arrive, but the position does not renew.
    FixStale,
    /// A device's or an ingester's clock is wrong.
    ClockFault,
    /// Many devices of a tenant fell silent together.
    MassSilence,
    /// We do not hear a feed.
    Blind,
    /// An ingester says that something is wrong with it, other than its clock.
    IngestFault,
    /// Devices that nobody can watch for longer than the tenant allows.
    Unsupervised,
    /// A limit was reached and something was left undone.
    LimitReached,
}

impl Kind {
    /// Every kind, in the order of their definition.
    pub const ALL: [Self; 19] = [
        Self::Duress,
        Self::ManDown,
        Self::NoMotion,
        Self::LostContact,
        Self::CheckInMissed,
        Self::VisitOverrun,
        Self::FenceEntered,
        Self::FenceExited,
        Self::FenceCrossed,
        Self::BatteryLow,
        Self::Tamper,
        Self::DeviceFault,
        Self::FixStale,
        Self::ClockFault,
        Self::MassSilence,
        Self::Blind,
        Self::IngestFault,
        Self::Unsupervised,
        Self::LimitReached,
    ];

    /// The word that stands in JSON and in alert ids.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duress => "duress",
            Self::ManDown => "man_down",
            Self::NoMotion => "no_motion",
            Self::LostContact => "lost_contact",
            Self::CheckInMissed => "check_in_missed",
            Self::VisitOverrun => "visit_overrun",
            Self::FenceEntered => "fence_entered",
            Self::FenceExited => "fence_exited",
            Self::FenceCrossed => "fence_crossed",
            Self::BatteryLow => "battery_low",
            Self::Tamper => "tamper",
            Self::DeviceFault => "device_fault",
            Self::FixStale => "fix_stale",
            Self::ClockFault => "clock_fault",
            Self::MassSilence => "mass_silence",
            Self::Blind => "blind",
            Self::IngestFault => "ingest_fault",
            Self::Unsupervised => "unsupervised",
            Self::LimitReached => "limit_reached",
        }
    }
}

/// How bad it is (the levels of ITU-T X.733).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For notice.
    Warning,
    /// To be looked at.
    Minor,
    /// To be acted on.
    Major,
    /// A life may depend on it.
    Critical,
}

/// Where the alert stands by itself; acknowledging and closing are apart from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Counting down; the device may still cancel.
    PreAlert,
    /// The cause holds.
    Active,
    /// The cause has gone. Duress never clears by itself.
    Cleared,
}

/// How sure a fence verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// The error circle of the fix touches the fence.
    Possible,
    /// The whole error circle is on the stated side.
    Certain,
}

/// Phase of a roll-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Alerts go to the centre.
    #[default]
    Live,
    /// Alerts go to the shadow topic. Duress goes to the centre all the same, with this as a mark.
    Shadow,
}

/// A lane of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Presses, on an MQTT session of their own.
    Duress,
    /// Everything else.
    Reports,
}

impl Lane {
    /// Both lanes.
    pub const ALL: [Self; 2] = [Self::Duress, Self::Reports];

    /// The lane's word in names and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duress => "duress",
            Self::Reports => "reports",
        }
    }
}

/// Where a device was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Degrees, WGS 84, and from there on the fields of one fix.
    #[serde(flatten)]
    pub coordinates: Coordinates,
    /// Radius of the error circle in metres, as the device said or as its decoder assumes.
    pub accuracy_metres: f64,
    /// When the fix was taken, by the device's clock corrected for its skew; milliseconds since the epoch.
    pub fixed_at: i64,
    /// Metres a second, where the device said.
    pub speed_metres_per_second: Option<f64>,
    /// Degrees from north, clockwise, where the device said.
    pub course_degrees: Option<f64>,
}

/// Degrees of latitude and longitude; prints a placeholder.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Coordinates {
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
}

impl From<Position> for Coordinates {
    fn from(position: Position) -> Self {
        let (lat, lon) = position.reveal();
        Self { lat, lon }
    }
}

impl std::fmt::Debug for Coordinates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Coordinates(redacted)")
    }
}

/// What the alert's id was made of, beside device, kind and subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// The event that caused it, or, for what time causes, the last one before the episode began.
    pub event: Option<EventId>,
    /// When the episode began: the sent-at of the newest probe before that event, or the time of the clock that caused it.
    pub began_at: Option<i64>,
}

/// Presses of one device that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Episode {
    /// The alert of its first press.
    pub first: AlertId,
    /// Which press of the episode this is, from 1.
    pub press: u32,
    /// Linked to the episode without a ladder of its own: one of very many presses at once.
    pub folded: bool,
}

/// It happened before we could know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Late {
    /// Milliseconds between what happened and its arrival.
    pub age_millis: i64,
}

/// The visit during which it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Visit {
    /// When it began; milliseconds since the epoch.
    pub started_at: i64,
    /// When it should end, where that was said.
    pub until: Option<i64>,
}

/// Somebody took the alert on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// When; milliseconds since the epoch.
    pub at: i64,
}

/// What it turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A true alarm.
    Genuine,
    /// Raised by mistake by a person.
    FalseByUser,
    /// Raised by mistake by a device or by us.
    FalseByTechnology,
    /// A test.
    Test,
}

/// Somebody closed the alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Closure {
    /// Who.
    pub by: String,
    /// When; milliseconds since the epoch.
    pub at: i64,
    /// As what.
    pub outcome: Outcome,
}

/// Where an unacknowledged alert is on its ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Escalation {
    /// Steps climbed.
    pub level: u32,
    /// The ladder has ended and nobody answered.
    pub exhausted: bool,
}

/// A journal record that an alert rests on. Named by event, never by offset: offsets do not survive a copy of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordRef {
    /// The event.
    pub event: EventId,
    /// When Kafka appended it; none before it has (revision 1 of a press).
    pub appended_at: Option<i64>,
}

/// Why we say so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// The rule, by the name that the rulebook gives it.
    pub rule: String,
    /// One sentence for a person.
    pub text: String,
    /// The limits that the verdict was held against, by their names in the rulebook (units are in the names).
    pub limits: BTreeMap<String, f64>,
    /// The rulebook in force; none before the machine has seen the event.
    pub rulebook_version: Option<i64>,
    /// The records that it rests on.
    pub records: Vec<RecordRef>,
}

/// How this copy came, which is no part of the alert's identity. Copies by mirrored ingesters differ in nothing else; a copy that a
/// device's repeat made also bears the times of its own arrival.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaneCopy {
    /// The ingester that wrote this copy.
    pub ingester: IngesterName,
    /// When it received the message, by its clock; milliseconds since the epoch.
    pub received_at: i64,
}

/// One revision of one alert, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// The version of this format.
    pub format: u32,
    /// Hash of device, kind, subject and cause: the same cause always gives the same id.
    pub id: AlertId,
    /// Counts the alert's changes from 1. Keep the highest.
    pub revision: u32,
    /// What happened.
    pub kind: Kind,
    /// The highest severity since it was raised: it latches until acknowledged.
    pub severity: Severity,
    /// The severity as things are now.
    pub severity_now: Severity,
    /// Where the alert stands by itself.
    pub state: State,
    /// How sure a fence verdict is; only for fences.
    pub grade: Option<Grade>,
    /// The device; none for alerts about ourselves.
    pub device: Option<DeviceId>,
    /// The device's tenant; none for an unknown device.
    pub tenant: Option<TenantName>,
    /// The device's group.
    pub group: Option<GroupName>,
    /// The centre to whose topic this was written.
    pub centre: CentreName,
    /// The feed on which it was heard, or of which it speaks.
    pub feed: Option<FeedName>,
    /// The fence, the check-in's number, the feed, the feed and its ingester as `main/a`, or empty.
    pub subject: String,
    /// What its id was made of.
    pub cause: Cause,
    /// Phase of the roll-out for this device.
    pub stage: Stage,
    /// Raised in test mode or by a test device: route and severity are those of a true one.
    pub test: bool,
    /// Set where it happened well before we could know of it.
    pub late: Option<Late>,
    /// When it happened, as well as we know; milliseconds since the epoch.
    pub occurred_at: i64,
    /// When we raised it; revision 1 of a press has the newest time that all copies agree on. Milliseconds since the epoch.
    pub raised_at: i64,
    /// When this revision was made. Milliseconds since the epoch.
    pub changed_at: i64,
    /// The last known position.
    pub place: Option<Place>,
    /// Fences that the device is in.
    pub fences: Vec<FenceName>,
    /// The visit during which it happened.
    pub visit: Option<Visit>,
    /// The presses that belong together.
    pub episode: Option<Episode>,
    /// The alert that stands for many such as this one.
    pub part_of: Option<AlertId>,
    /// Set once somebody took it on.
    pub acknowledged: Option<Acknowledgement>,
    /// Set once somebody closed it.
    pub closed: Option<Closure>,
    /// Set once it climbs its ladder.
    pub escalation: Option<Escalation>,
    /// Lanes that we do not hear; only in `blind`.
    pub lanes: Vec<Lane>,
    /// Tenants of the centre that this concerns; only in alerts about ourselves.
    pub tenants: Vec<TenantName>,
    /// Devices that this names; only in alerts about many.
    pub devices: Vec<DeviceId>,
    /// Why we say so.
    pub reason: Reason,
    /// How this copy came; only in revision 1 of a press.
    pub lane: Option<LaneCopy>,
}

impl Alert {
    /// The identity of what `kind` and `subject` say of a device by `cause` (DESIGN section 5).
    pub fn id_of(device: Option<&DeviceId>, kind: Kind, subject: &str, event: Option<EventId>, began_at: Option<i64>) -> AlertId {
        let device = device.map_or("", DeviceId::as_str);
        let hash = Hasher::new("alert").field(device.as_bytes()).field(kind.as_str().as_bytes()).field(subject.as_bytes());
        let hash = hash.field(event.as_ref().map_or(&[][..], |event| &event.0));
        AlertId(match began_at {
            Some(at) => hash.int(at).finish(),
            None => hash.finish(),
        })
    }

    /// Revision 1 of an alert of this kind for a centre, made at `at` (milliseconds since the epoch), with nothing in it yet.
    pub fn blank(centre: CentreName, kind: Kind, at: i64) -> Self {
        Self {
            format: FORMAT,
            id: Self::id_of(None, kind, "", None, None),
            revision: 1,
            kind,
            severity: Severity::Warning,
            severity_now: Severity::Warning,
            state: State::Active,
            grade: None,
            device: None,
            tenant: None,
            group: None,
            centre,
            feed: None,
            subject: String::new(),
            cause: Cause { event: None, began_at: None },
            stage: Stage::Live,
            test: false,
            late: None,
            occurred_at: at,
            raised_at: at,
            changed_at: at,
            place: None,
            fences: Vec::new(),
            visit: None,
            episode: None,
            part_of: None,
            acknowledged: None,
            closed: None,
            escalation: None,
            lanes: Vec::new(),
            tenants: Vec::new(),
            devices: Vec::new(),
            reason: Reason {
                rule: kind.as_str().to_owned(),
                text: String::new(),
                limits: BTreeMap::new(),
                rulebook_version: None,
                records: Vec::new(),
            },
            lane: None,
        }
    }

    /// The Kafka key: the device, or for alerts about ourselves the feed.
    pub fn key(&self) -> &str {
        match (&self.device, &self.feed) {
            (Some(device), _) => device.as_str(),
            (None, Some(feed)) => feed.as_str(),
            (None, None) => "",
        }
    }

    /// Where the next revision begins: the same alert, one revision on, without the marks of a copy.
    #[must_use]
    pub fn next_revision(&self, changed_at: i64) -> Self {
        Self { revision: self.revision + 1, changed_at, lane: None, ..self.clone() }
    }
}

/// The identity of an alert that nothing but a device's event caused.
pub fn duress_id(device: &DeviceId, event: EventId) -> AlertId {
    Alert::id_of(Some(device), Kind::Duress, "", Some(event), None)
}

/// A detector's sign of life on every centre's alerts topic, every 5 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// The version of this format.
    pub format: u32,
    /// The detector's name.
    pub detector: String,
    /// The detector's clock; milliseconds since the epoch.
    pub at: i64,
    /// Partitions of the journal: all of them must be claimed by somebody.
    pub partition_count: u32,
    /// The partitions that this detector owns.
    pub partitions: Vec<PartitionBeat>,
}

/// One partition in a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionBeat {
    /// The partition.
    pub partition: u32,
    /// Milliseconds by which its `now` is behind the detector's clock; none before its first record.
    pub now_behind_millis: Option<i64>,
    /// Lanes of feeds that the machine knows.
    pub feeds: Vec<FeedBeat>,
    /// Alerts that Kafka has not acknowledged yet: the age of the oldest in milliseconds.
    pub oldest_unacknowledged_alert_millis: Option<i64>,
}

/// One lane of a feed in a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedBeat {
    /// The feed.
    pub feed: FeedName,
    /// The lane.
    pub lane: Lane,
    /// Milliseconds by which what we heard of it is behind `now`; none where it was never heard.
    pub heard_behind_millis: Option<i64>,
}

/// The JSON Schema of [`CentreMessage`], as published in `docs/alert.schema.json`.
pub fn schema_json() -> String {
    let schema = schemars::schema_for!(CentreMessage);
    serde_json::to_string_pretty(&schema).expect("a schema is JSON by construction") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_the_one_of_these_types() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alert.schema.json");
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(&path, schema_json()).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(published == schema_json(), "docs/alert.schema.json is stale: run the tests with REGENERATE=1");
    }

    #[test]
    fn kinds_have_one_word_each() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.as_str()));
        }
    }

    #[test]
    fn an_id_hangs_on_every_part_of_its_cause() {
        let device = DeviceId::parse("dev-1").unwrap();
        let id = |subject, event, began| Alert::id_of(Some(&device), Kind::FenceExited, subject, event, began);
        let event = Some(EventId([1; 16]));
        assert_eq!(id("depot", event, None), id("depot", event, None));
        assert_ne!(id("depot", event, None), id("yard", event, None));
        assert_ne!(id("depot", event, None), id("depot", Some(EventId([2; 16])), None));
        assert_ne!(id("depot", event, None), id("depot", event, Some(0)));
    }
}
