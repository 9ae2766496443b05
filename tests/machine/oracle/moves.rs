//! What the oracle expects of devices and open alerts that a new rulebook moves: to another group, another centre, another stage.

use lonewatch::alert::Stage;
use lonewatch::ids::{DeviceId, GroupName};
use lonewatch::rulebook::Fence;

use super::Oracle;

/// A centre's alerts, and its alerts in stage shadow, are two places.
pub(super) fn place(centre: &str, stage: Stage) -> String {
    match stage {
        Stage::Live => centre.to_owned(),
        Stage::Shadow => format!("{centre} (shadow)"),
    }
}

fn is_for(fence: &Fence, group: Option<&GroupName>) -> bool {
    fence.groups.is_empty() || fence.groups.iter().any(|of| Some(of) == group)
}

impl Oracle {
    /// The fences of a device's tenant that are for its group.
    pub(super) fn fences(&self, device: &DeviceId) -> Vec<Fence> {
        let Some((tenant, ..)) = &self.watched[device].owner else { return Vec::new() };
        let group = self.book.device(device).and_then(|entry| entry.group.as_ref());
        let all = self.book.fences().iter().map(|(_, fence)| fence);
        all.filter(|fence| fence.tenant == *tenant && is_for(fence, group)).cloned().collect()
    }

    /// A device of the same tenant has another group: fences that were for it alone end, those that were not begin.
    pub(super) fn regroup(&mut self, device: &DeviceId) {
        let group = self.book.device(device).and_then(|entry| entry.group.clone());
        let watched = self.watched.get_mut(device).expect("watched");
        let had = std::mem::replace(&mut watched.group, group.clone());
        let Some((tenant, ..)) = watched.owner.clone() else { return };
        let fences: Vec<Fence> = self.book.fences().iter().map(|(_, fence)| fence.clone()).collect();
        for fence in fences.iter().filter(|fence| fence.tenant == tenant) {
            let name = fence.name.to_string();
            let watched = self.watched.get_mut(device).expect("watched");
            match (is_for(fence, had.as_ref()), is_for(fence, group.as_ref())) {
                (true, false) => {
                    let open = watched.fences.remove(&name).and_then(|side| side.open);
                    if let Some(open) = open {
                        self.say(&open, true);
                    }
                }
                (false, true) => {
                    if let Some(fix) = watched.fix.filter(|_| watched.judged) {
                        self.judge_fences(device, fix, self.appended.0, Some(self.appended.0), Some(&name));
                    }
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    /// What is open at another place than the rulebook now says ends there and goes on here.
    pub(super) fn hand_over(&mut self, device: &DeviceId) {
        let Some(entry) = self.book.device(device).cloned() else { return };
        let fences = self.fences(device);
        let stage = |name: &str| fences.iter().find(|fence| fence.name.as_str() == name).map_or(Stage::Live, |fence| fence.stage);
        let mut moved = Vec::new();
        let watched = self.watched.get_mut(device).expect("watched");
        let of_fences = watched.fences.iter_mut().filter_map(|(name, side)| Some((stage(name), side.open.as_mut()?)));
        let others = [&mut watched.lost, &mut watched.battery].into_iter().flatten().map(|open| (Stage::Live, open));
        for (stage, open) in of_fences.chain(others) {
            let before = open.clone();
            open.centre = place(entry.centre.as_str(), entry.rules.stage.max(stage));
            if open.centre != before.centre {
                moved.push((before, open.clone()));
            }
        }
        for (before, after) in moved {
            self.say(&before, true);
            self.say(&after, false);
        }
    }
}
