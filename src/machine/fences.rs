//! Fences: on which side of each a device is, judged by the error circle of its fix, with a dwell at each edge (DESIGN section 8).
//!
//! A fence has a state from first sight on; only a transition alerts, except being found inside a keep-out. What is not listed
//! in a device's states is outside: most devices are outside of most fences.

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::{Alert, Grade, Kind};
use crate::ids::{FenceName, GroupName};
use crate::limits;
use crate::rulebook::{Fence, Meaning};
use crate::time::{AppendMillis, ProbeMillis};

use super::actions::Actions;
use super::clocks::TenantClock;
use super::devices::Device;
use super::digest::StateHasher;
use super::fix::AppliedFix;
use super::raise::{Scene, Verdict, millis};

const NOT_FOR_IT: &str = "the fence no longer applies to this device";

/// A device's fences.
#[derive(Clone, Debug, Default)]
pub(super) struct FenceStates {
    states: BTreeMap<FenceName, FenceState>,
    /// Set once all its fences were judged: from here on, what is not listed is outside and not unseen.
    judged: bool,
}

#[derive(Clone, Debug, Default)]
struct FenceState {
    inside: bool,
    pending: Option<Pending>,
    open: Option<Box<Alert>>,
}

/// An edge that was crossed and has not held for its dwell yet.
#[derive(Clone, Debug)]
struct Pending {
    fix: AppliedFix,
    seen: Seen,
    grade: Grade,
    /// The last fix neither showed it again nor undid it: it waits for one that does.
    doubtful: bool,
}

/// On what occasion a fix was judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// When the fix arrived, on the probes' axis; for a rulebook, when that came into force. A dwell counts from here.
    arrived: ProbeMillis,
    /// Set where the fix does not say when it was taken, and its time is only the earliest that it may be: it was taken by then. How long a
    /// crossing held between two fixes counts from here.
    taken_by: Option<ProbeMillis>,
    /// Set where not a fix but a rulebook gives the verdict: that is then part of the cause, for the same fix may have alerted and
    /// cleared under another rulebook.
    rulebook_at: Option<AppendMillis>,
}

impl Seen {
    /// A fix came, with a time of its own or without.
    pub(super) fn fix(arrived: ProbeMillis, dated: bool) -> Self {
        Self { arrived, taken_by: (!dated).then_some(arrived), rulebook_at: None }
    }

    const fn is_dated_fix(self) -> bool {
        self.taken_by.is_none() && self.rulebook_at.is_none()
    }

    /// A rulebook came into force.
    pub(super) const fn rulebook(now: AppendMillis) -> Self {
        Self { arrived: ProbeMillis::new(now.get()), taken_by: None, rulebook_at: Some(now) }
    }
}

/// Which side a fix shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Inside(Grade),
    Outside,
    /// Within the buffer or the error circle: whatever it was before. `near` is the plain position within the fence and its buffer.
    Unclear {
        near: bool,
    },
}

impl FenceStates {
    /// The fences that the device is in, in order of their names.
    pub(super) fn inside(&self) -> impl Iterator<Item = &FenceName> {
        self.states.iter().filter(|(_, state)| state.inside).map(|(name, _)| name)
    }

    /// Whether its fences were judged before: if so, what is not listed is outside.
    pub(super) const fn is_judged(&self) -> bool {
        self.judged
    }

    /// Whether some edge waits for its dwell.
    pub(super) fn pending(&self) -> bool {
        self.states.values().any(|state| state.pending.is_some())
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.count(self.states.len()).count(usize::from(self.judged));
        for (name, state) in &self.states {
            hash.text(name.as_str()).count(usize::from(state.inside)).alert(state.open.as_deref());
            if let Some(pending) = &state.pending {
                hash.bytes(&pending.fix.event.0).int(pending.fix.at.get()).int(pending.fix.appended_at.get());
                hash.int(pending.fix.accuracy_metres.to_bits().cast_signed());
                hash.int(pending.seen.arrived.get())
                    .option(pending.seen.taken_by.map(ProbeMillis::get))
                    .option(pending.seen.rulebook_at.map(AppendMillis::get));
                hash.count(usize::from(pending.grade == Grade::Certain)).count(usize::from(pending.doubtful));
            }
        }
    }
}

/// Judges a fix that moves the device's state forward, or the last one at first sight; `device.fix` is that fix, `clock` its tenant's.
pub(super) fn judge(scene: Scene<'_>, clock: &TenantClock, device: &mut Device, seen: Seen, actions: &mut Actions) {
    // What nobody owns has no fences: they are at first sight when somebody enters it.
    let Some(fix) = device.fix.filter(|_| device.owner.is_some()) else { return };
    let mut due = Vec::new();
    for (name, fence) in candidates(scene, device, &fix, reach_metres(device.fences.judged)) {
        let side = side(fence, &fix);
        let first_sight = !device.fences.judged;
        let state = device.fences.states.entry(name.clone()).or_default();
        if first_sight {
            settle(fence, state, side, &fix, seen);
        } else {
            weigh(state, side, &fix, seen);
        }
        upgrade(scene, state, side, actions);
        if is_due(fence, state, &fix, clock, seen) {
            due.push(name);
        }
    }
    device.fences.judged = true;
    fire(scene, device, &due, actions);
}

/// Fires the edges whose dwell has passed in heard time, and not within a grace: after a gap the word that undoes one may still be on its way.
pub(super) fn sweep(scene: Scene<'_>, clock: &TenantClock, device: &mut Device, actions: &mut Actions) {
    let Some(fences) = fences_of(scene, device) else { return };
    let is_over = |(name, state): (&FenceName, &FenceState)| {
        let pending = state.pending.as_ref().filter(|pending| !pending.doubtful)?;
        let over_at = clock.heard_at(pending.seen.arrived).plus(fences.get(name)?.dwell_millis);
        let over_at = if clock.missed_after(pending.seen.arrived) { clock.after_grace(over_at) } else { over_at };
        (clock.heard() >= over_at).then(|| name.clone())
    };
    let due: Vec<FenceName> = device.fences.states.iter().filter_map(is_over).collect();
    fire(scene, device, &due, actions);
}

/// The fences in which a place lies that moves nothing: by its own verdict, and where that is unclear, as the device is.
pub(super) fn around(scene: Scene<'_>, device: &Device, fix: &AppliedFix) -> Vec<FenceName> {
    let is_inside = |name: &FenceName, fence: &Fence| match side(fence, fix) {
        Side::Inside(_) => true,
        Side::Outside => false,
        Side::Unclear { .. } => device.fences.states.get(name).is_some_and(|state| state.inside),
    };
    let near = candidates(scene, device, fix, limits::ACCURACY_METRES_MAX).into_iter();
    near.filter(|(name, fence)| is_inside(name, fence)).map(|(name, _)| name).take(limits::FENCES_NAMED_MAX).collect()
}

/// What a rulebook changes about the fences of a device.
#[derive(Clone, Copy)]
pub(super) struct Changed<'a> {
    /// Fences of its tenant that came, went, or have another entry.
    pub(super) entries: Option<&'a BTreeSet<FenceName>>,
    /// The group that it had, where it has another now.
    pub(super) group_before: Option<&'a Option<GroupName>>,
}

impl Changed<'_> {
    pub(super) const fn is_any(self) -> bool {
        self.entries.is_some() || self.group_before.is_some()
    }

    /// Whether this fence is another for the device than it was; none of that name is one that has gone.
    fn concerns(self, name: &FenceName, fence: Option<&Fence>, group: Option<&GroupName>) -> bool {
        let moved = || {
            let before = self.group_before?;
            Some(fence?.applies_to(before.as_ref()) != fence?.applies_to(group))
        };
        self.entries.is_some_and(|names| names.contains(name)) || moved().unwrap_or(false)
    }
}

/// Takes new or changed fences: they give a state at once on the last fix; being found inside a keep-out alerts. What stands open stays
/// so while its cause does.
pub(super) fn rejudge(scene: Scene<'_>, clock: &TenantClock, device: &mut Device, changed: Changed<'_>, actions: &mut Actions) {
    let Some(owner) = device.owner.clone() else { return };
    let index = scene.rulebook.fences();
    let find = |name: &FenceName| index.find(&owner.tenant, name).map(|slot| index.fence(slot));

    let seen = Seen::rulebook(scene.appended_at);
    // With the states that there are: however far away the device is by now, what is open is looked at.
    let near = device.fix.filter(|_| device.fences.judged).map(|fix| (fix, candidates(scene, device, &fix, reach_metres(false))));
    let mut open: BTreeMap<FenceName, Box<Alert>> = BTreeMap::new();
    let mut was_inside: BTreeSet<FenceName> = BTreeSet::new();
    let concerned = |name: &FenceName| changed.concerns(name, find(name), owner.group.as_ref());
    let names: Vec<FenceName> = device.fences.states.keys().filter(|name| concerned(name)).cloned().collect();
    for name in names {
        let Some(state) = device.fences.states.remove(&name) else { continue };
        if state.inside {
            was_inside.insert(name.clone());
        }
        if let Some(alert) = state.open {
            open.insert(name, alert);
        }
    }
    let mut due = Vec::new();
    if let Some((fix, near)) = near {
        for (name, fence) in near.into_iter().filter(|(name, fence)| changed.concerns(name, Some(fence), owner.group.as_ref())) {
            let side = side(fence, &fix);
            let state = device.fences.states.entry(name.clone()).or_default();
            let entered = matches!(side, Side::Inside(_));
            let holds = |alert: &Alert| alerts(fence.meaning, entered) && (alert.kind == Kind::FenceEntered) == entered;
            if open.get(&name).is_some_and(|alert| holds(alert)) {
                state.open = open.remove(&name);
                state.inside = entered;
            } else {
                settle(fence, state, side, &fix, seen);
                // As at any other fix: what is unclear leaves it as it was.
                state.inside |= matches!(side, Side::Unclear { .. }) && was_inside.contains(&name);
            }
            if is_due(fence, state, &fix, clock, seen) {
                due.push(name);
            }
        }
    }
    for (name, alert) in open {
        let applies = find(&name).is_none_or(|fence| fence.applies_to(owner.group.as_ref()));
        actions.raise(scene.clear(&alert, if applies { "the fence was changed in the rulebook" } else { NOT_FOR_IT }));
    }
    fire(scene, device, &due, actions);
}

/// Moves what is open to where the rulebook in force says that it belongs.
pub(super) fn rearm(scene: Scene<'_>, device: &mut Device, actions: &mut Actions) {
    let (Some(fences), Some(entry)) = (fences_of(scene, device), scene.rulebook.device(&device.id)) else { return };
    for (name, state) in &mut device.fences.states {
        if let (Some(open), Some(fence)) = (&mut state.open, fences.get(name)) {
            scene.hand_over(open, &entry.centre, entry.rules.stage.max(fence.stage), actions);
        }
    }
}

/// Forgets every fence: the device has another owner, or none.
pub(super) fn forget(scene: Scene<'_>, device: &mut Device, actions: &mut Actions) {
    for state in std::mem::take(&mut device.fences).states.into_values() {
        if let Some(open) = state.open {
            actions.raise(scene.clear(&open, NOT_FOR_IT));
        }
    }
}

/// How far from a fix a fence may matter: to its error circle, and at first sight to the widest buffer, within which a device that
/// should stay is not clearly outside.
const fn reach_metres(judged: bool) -> f64 {
    if judged { limits::ACCURACY_METRES_MAX } else { limits::ACCURACY_METRES_MAX + limits::FENCE_BUFFER_METRES_MAX }
}

/// The fences within reach of a fix, and those that the device has a state of, in order of their names.
fn candidates<'a>(scene: Scene<'a>, device: &Device, fix: &AppliedFix, reach_metres: f64) -> Vec<(FenceName, &'a Fence)> {
    let Some(owner) = &device.owner else { return Vec::new() };
    let index = scene.rulebook.fences();
    let mut slots = Vec::new();
    index.near(&owner.tenant, fix.position, reach_metres, &mut slots);
    slots.extend(device.fences.states.keys().filter_map(|name| index.find(&owner.tenant, name)));
    slots.sort_unstable();
    slots.dedup();
    let fences = slots.into_iter().map(|slot| index.fence(slot)).filter(|fence| fence.applies_to(owner.group.as_ref()));
    fences.map(|fence| (fence.name.clone(), fence)).collect()
}

fn fences_of<'a>(scene: Scene<'a>, device: &Device) -> Option<BTreeMap<FenceName, &'a Fence>> {
    let owner = device.owner.as_ref()?;
    let index = scene.rulebook.fences();
    let find = |name: &FenceName| Some((name.clone(), index.fence(index.find(&owner.tenant, name)?)));
    Some(device.fences.states.keys().filter_map(find).collect())
}

/// The verdict of the error circle: d is the distance to the boundary (negative inside), a the radius of the circle.
fn side(fence: &Fence, fix: &AppliedFix) -> Side {
    let d = fence.signed_distance_metres(fix.position);
    let a = fix.accuracy_metres.min(limits::ACCURACY_METRES_MAX);
    if d - a > fence.buffer_metres {
        return Side::Outside;
    }
    match fence.meaning {
        Meaning::KeepOut if d + a < 0.0 => Side::Inside(Grade::Certain),
        Meaning::KeepOut if d - a < 0.0 => Side::Inside(Grade::Possible),
        Meaning::KeepIn | Meaning::SafeZone | Meaning::Notify if d <= 0.0 => {
            Side::Inside(if d + a < 0.0 { Grade::Certain } else { Grade::Possible })
        }
        Meaning::KeepOut | Meaning::KeepIn | Meaning::SafeZone | Meaning::Notify => {
            Side::Unclear { near: d <= fence.buffer_metres }
        }
    }
}

/// First sight: a state and not a transition. A keep-out entered before we looked is still to be told.
fn settle(fence: &Fence, state: &mut FenceState, side: Side, fix: &AppliedFix, seen: Seen) {
    match (fence.meaning, side) {
        (Meaning::KeepOut, Side::Inside(_)) => weigh(state, side, fix, seen),
        // Also within the buffer of where it should stay: leaving it later must be told.
        (_, Side::Inside(_)) | (Meaning::KeepIn | Meaning::SafeZone, Side::Unclear { near: true }) => state.inside = true,
        (_, Side::Outside | Side::Unclear { .. }) => {}
    }
}

/// Begins, keeps or drops a pending edge. A fix that is unclear undoes an entry: it shows the plain position outside, or the whole circle of a
/// keep-out. A leaving it undoes only where its plain position does.
fn weigh(state: &mut FenceState, side: Side, fix: &AppliedFix, seen: Seen) {
    let (to_inside, grade) = match side {
        Side::Inside(grade) => (true, grade),
        Side::Outside => (false, Grade::Certain),
        Side::Unclear { near } => {
            let leaves = state.inside && !near;
            state.pending = state.pending.take().filter(|_| leaves).map(|it| Pending { doubtful: true, ..it });
            return;
        }
    };
    if to_inside == state.inside {
        state.pending = None;
    } else {
        match &mut state.pending {
            Some(pending) => (pending.grade, pending.doubtful) = (pending.grade.max(grade), false),
            None => state.pending = Some(Pending { fix: *fix, seen, grade, doubtful: false }),
        }
    }
}

/// A possible entry that a later fix makes certain is a new revision.
fn upgrade(scene: Scene<'_>, state: &mut FenceState, side: Side, actions: &mut Actions) {
    let Some(open) = state.open.as_mut().filter(|open| open.kind == Kind::FenceEntered && open.grade == Some(Grade::Possible))
    else {
        return;
    };
    if side == Side::Inside(Grade::Certain) {
        let mut next = open.next_revision(scene.appended_at.get());
        next.grade = Some(Grade::Certain);
        actions.raise(next.clone());
        **open = next;
    }
}

/// Whether a pending edge has held for its dwell, up to a fix that shows it: by the time between fixes, or by heard time. Within a grace
/// a fix that says when it was taken counts by that alone: it may have been kept since before the gap, with what undoes the edge behind it.
fn is_due(fence: &Fence, state: &FenceState, fix: &AppliedFix, clock: &TenantClock, seen: Seen) -> bool {
    state.pending.as_ref().filter(|pending| !pending.doubtful).is_some_and(|pending| {
        let began = pending.seen;
        let between_fixes = fix.at.since(began.taken_by.unwrap_or(pending.fix.at));
        let by_fixes_alone = seen.is_dated_fix() && clock.missed_after(began.arrived) && clock.heard() < clock.grace_until();
        let heard_millis = clock.heard_at(seen.arrived).since(clock.heard_at(began.arrived));
        let held_millis = if by_fixes_alone { between_fixes } else { between_fixes.max(heard_millis) };
        held_millis >= fence.dwell_millis
    })
}

/// Makes pending edges true: exits first, then entries; each clears what stands open of the other direction.
fn fire(scene: Scene<'_>, device: &mut Device, due: &[FenceName], actions: &mut Actions) {
    let Some(fences) = fences_of(scene, device) else { return };
    for entering in [false, true] {
        for name in due {
            let Some(fence) = fences.get(name) else { continue };
            let Some(state) = device.fences.states.get_mut(name).filter(|state| state.inside != entering) else { continue };
            let Some(pending) = state.pending.take() else { continue };
            state.inside = entering;
            if let Some(open) = state.open.take() {
                actions.raise(scene.clear(&open, if entering { "the device is back inside" } else { "the device has left" }));
            }
            if alerts(fence.meaning, entering) {
                let alert = raise(scene, device, fence, entering, &pending);
                if let Some(alert) = alert {
                    actions.raise(alert.clone());
                    if let Some(state) = device.fences.states.get_mut(name) {
                        state.open = Some(Box::new(alert));
                    }
                }
            }
        }
    }
    device.fences.states.retain(|_, state| state.inside || state.pending.is_some() || state.open.is_some());
}

/// Whether a fence of this meaning tells of this edge.
const fn alerts(meaning: Meaning, entering: bool) -> bool {
    match meaning {
        Meaning::KeepIn | Meaning::SafeZone => !entering,
        Meaning::KeepOut => entering,
        Meaning::Notify => true,
    }
}

fn raise(scene: Scene<'_>, device: &Device, fence: &Fence, entering: bool, pending: &Pending) -> Option<Alert> {
    let entry = scene.rulebook.device(&device.id)?;
    let (kind, verb) = if entering { (Kind::FenceEntered, "is inside of") } else { (Kind::FenceExited, "is outside of") };
    let began_at = pending.seen.rulebook_at.map(|at| ProbeMillis::new(at.get()));
    let verdict = Verdict {
        kind,
        severity: fence.severity,
        stage: entry.rules.stage.max(fence.stage),
        subject: fence.name.as_str(),
        event: Some(pending.fix.event),
        began_at,
        occurred_at: began_at.unwrap_or(pending.fix.at),
        text: format!("the device {verb} fence {}", fence.name),
        limits: &[
            ("buffer_metres", fence.buffer_metres),
            ("dwell_millis", millis(fence.dwell_millis)),
            ("accuracy_metres", pending.fix.accuracy_metres),
        ],
        appended_at: Some(pending.fix.appended_at),
    };
    let mut alert = scene.raise(device, &verdict)?;
    alert.grade = Some(pending.grade);
    Some(alert)
}
