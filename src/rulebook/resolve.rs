//! Inheritance: what the levels say of the rules, from installation to device, laid over each other.

use super::content::{BatteryLowContent, LostContactContent, RulesContent, Switch};
use super::model::{BatteryLow, LostContact, Rules};
use crate::alert::{Severity, Stage};
use crate::limits;
use crate::time::MINUTE_MILLIS;

/// Silence limit where no level names one.
const SILENCE_MILLIS_DEFAULT: i64 = 10 * MINUTE_MILLIS;
/// Battery limits where no level names them, in percent.
const LOW_PERCENT_DEFAULT: u8 = 15;
/// See [`LOW_PERCENT_DEFAULT`].
const CLEAR_PERCENT_DEFAULT: u8 = 20;

/// The rules after every level, the widest first. A level that says nothing of a thing leaves it as it was; a rule switched off keeps
/// its parameters, so that a narrower level can switch it on again.
pub(super) fn resolve<'a>(levels: impl IntoIterator<Item = &'a RulesContent> + Clone) -> Rules {
    let mut stage = Stage::default();
    let mut silence = Laid {
        on: true,
        rule: LostContact {
            silence_millis: SILENCE_MILLIS_DEFAULT,
            after_will_millis: limits::AFTER_WILL_MILLIS,
            severity: Severity::Major,
        },
    };
    for level in levels.clone() {
        stage = level.stage.unwrap_or(stage);
        silence.lay(level.lost_contact.as_ref(), |rule, part: &LostContactContent| {
            rule.silence_millis = part.silence_millis.unwrap_or(rule.silence_millis);
            rule.after_will_millis = part.after_will_millis.unwrap_or(rule.after_will_millis);
            rule.severity = part.severity.unwrap_or(rule.severity);
        });
    }
    // A will shortens a silence and never lengthens one. Only here, with all levels laid: a narrower level may lengthen the silence again.
    silence.rule.after_will_millis = silence.rule.after_will_millis.min(silence.rule.silence_millis);
    let mut battery = lay_battery(levels);
    // `check` refuses limits that meet; what other hands wrote must still not flap.
    battery.rule.clear_percent = battery.rule.clear_percent.max(battery.rule.low_percent.saturating_add(1));
    Rules { stage, lost_contact: silence.kept(), battery_low: battery.kept() }
}

/// Low and clear percentages that meet, where the levels lead to such.
pub(super) fn battery_limits_meet<'a>(levels: impl IntoIterator<Item = &'a RulesContent>) -> Option<(u8, u8)> {
    let battery = lay_battery(levels).kept()?;
    (battery.clear_percent <= battery.low_percent).then_some((battery.low_percent, battery.clear_percent))
}

fn lay_battery<'a>(levels: impl IntoIterator<Item = &'a RulesContent>) -> Laid<BatteryLow> {
    let rule = BatteryLow { low_percent: LOW_PERCENT_DEFAULT, clear_percent: CLEAR_PERCENT_DEFAULT, severity: Severity::Warning };
    let mut battery = Laid { on: true, rule };
    for level in levels {
        battery.lay(level.battery_low.as_ref(), |rule, part: &BatteryLowContent| {
            rule.low_percent = part.low_percent.unwrap_or(rule.low_percent);
            rule.clear_percent = part.clear_percent.unwrap_or(rule.clear_percent);
            rule.severity = part.severity.unwrap_or(rule.severity);
        });
    }
    battery
}

struct Laid<R> {
    on: bool,
    rule: R,
}

impl<R> Laid<R> {
    fn lay<P>(&mut self, switch: Option<&Switch<P>>, put: impl Fn(&mut R, &P)) {
        match switch {
            Some(Switch::OnOff(on)) => self.on = *on,
            Some(Switch::With(part)) => {
                self.on = true;
                put(&mut self.rule, part);
            }
            None => {}
        }
    }

    fn kept(self) -> Option<R> {
        self.on.then_some(self.rule)
    }
}
