//! A battery that is low, with room between raising and clearing so that it does not flap.

use crate::alert::Kind;
use crate::ids::EventId;
use crate::time::{AppendMillis, ProbeMillis};

use super::actions::Actions;
use super::devices::Device;
use super::raise::{Scene, Verdict};

const UNWATCHED: &str = "the rulebook no longer watches this battery";

/// Judges a battery level that moves the device's state forward.
pub(super) fn level(
    scene: Scene<'_>,
    device: &mut Device,
    percent: u8,
    event: EventId,
    told_at: ProbeMillis,
    appended_at: AppendMillis,
    actions: &mut Actions,
) {
    let Some(entry) = scene.rulebook.device(&device.id) else { return };
    let Some(rule) = entry.rules.battery_low else {
        return clear(scene, device, UNWATCHED, actions);
    };
    if device.battery_low.is_some() {
        if percent >= rule.clear_percent {
            clear(scene, device, &format!("the battery is at {percent} %"), actions);
        }
    } else if percent <= rule.low_percent {
        let verdict = Verdict {
            kind: Kind::BatteryLow,
            severity: rule.severity,
            stage: entry.rules.stage,
            subject: "",
            event: Some(event),
            began_at: None,
            occurred_at: told_at,
            text: format!("the battery is at {percent} %"),
            limits: &[("low_percent", rule.low_percent.into()), ("clear_percent", rule.clear_percent.into())],
            appended_at: Some(appended_at),
        };
        if let Some(alert) = scene.raise(device, &verdict) {
            device.battery_low = Some(Box::new(alert.clone()));
            actions.raise(alert);
        }
    }
}

/// Moves what is open to where the rulebook in force says that it belongs, or ends it with its rule.
pub(super) fn rearm(scene: Scene<'_>, device: &mut Device, actions: &mut Actions) {
    let Some(entry) = scene.rulebook.device(&device.id) else { return };
    if entry.rules.battery_low.is_none() {
        return clear(scene, device, UNWATCHED, actions);
    }
    if let Some(open) = &mut device.battery_low {
        scene.hand_over(open, &entry.centre, entry.rules.stage, actions);
    }
}

/// Clears what is open.
pub(super) fn clear(scene: Scene<'_>, device: &mut Device, text: &str, actions: &mut Actions) {
    if let Some(open) = device.battery_low.take() {
        actions.raise(scene.clear(&open, text));
    }
}
