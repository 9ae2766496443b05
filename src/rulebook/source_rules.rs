//! A level's rules as the source folder writes them.

use super::content::{BatteryLowContent, LostContactContent, RulesContent, Switch};
use super::fields::Fields;
use crate::alert::{Severity, Stage};
use crate::limits;

pub(super) const SEVERITIES: [(&str, Severity); 4] =
    [("warning", Severity::Warning), ("minor", Severity::Minor), ("major", Severity::Major), ("critical", Severity::Critical)];
pub(super) const STAGES: [(&str, Stage); 2] = [("live", Stage::Live), ("shadow", Stage::Shadow)];

/// Rules that the entries have fields for and that this version does not act on.
const RULES_NOT_YET: [&str; 5] = ["man_down", "no_motion", "check_in_missed", "visit_overrun", "expected_interval"];

/// A `[rules]` table.
pub(super) fn read_rules(fields: Fields<'_>) -> RulesContent {
    let rules = RulesContent {
        stage: fields.one_of("stage", &STAGES),
        lost_contact: read_switch(&fields, "lost_contact", |rule| LostContactContent {
            silence_millis: rule.duration("silence", limits::SILENCE_MILLIS_MIN..=limits::SILENCE_MILLIS_MAX),
            after_will_millis: rule.duration("after_will", limits::SILENCE_MILLIS_MIN..=limits::SILENCE_MILLIS_MAX),
            severity: rule.one_of("severity", &SEVERITIES),
            ..LostContactContent::default()
        }),
        battery_low: read_switch(&fields, "battery_low", |rule| BatteryLowContent {
            low_percent: rule.percent("low"),
            clear_percent: rule.percent("clear"),
            severity: rule.one_of("severity", &SEVERITIES),
            ..BatteryLowContent::default()
        }),
        ..RulesContent::default()
    };
    fields.not_yet(&RULES_NOT_YET);
    fields.done();
    rules
}

fn read_switch<T>(fields: &Fields<'_>, key: &'static str, read: impl Fn(&Fields<'_>) -> T) -> Option<Switch<T>> {
    let value = fields.value(key)?;
    if let Some(on) = value.as_bool() {
        return Some(Switch::OnOff(on));
    }
    if !value.is_object() {
        let mend = "write a table with its limits, or false to switch it off";
        fields.note(key, "is neither a table nor true or false", mend);
        return None;
    }
    let rule = fields.table(key)?;
    let part = read(&rule);
    rule.not_yet(&["stage"]);
    rule.done();
    Some(Switch::With(part))
}

/// `reconnect_grace`, of the installation or of a tenant.
pub(super) fn read_reconnect_grace(fields: &Fields<'_>) -> Option<i64> {
    fields.duration("reconnect_grace", 0..=limits::RECONNECT_GRACE_MILLIS_MAX)
}
