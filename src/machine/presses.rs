//! Which presses were seen before: a memory for each device, so that no flood of another's makes it forget, and one for devices without a record.
//!
//! It may not hide news: an id that comes back much later is a new press, and past its bound whatever it does not know may be one too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::{DeviceId, EventId};
use crate::limits;
use crate::time::{AppendMillis, ProbeMillis};

use super::digest::StateHasher;

/// The presses of one device.
#[derive(Clone, Debug, Default)]
pub(super) struct Presses {
    /// The longest unseen first.
    seen: VecDeque<Seen>,
    /// When one last had to make room that could still come back.
    forgot_at: Option<AppendMillis>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    event: EventId,
    last_copy: ProbeMillis,
    /// When the log last told of it.
    told_at: AppendMillis,
}

/// A press, as far as telling it from a copy needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) event: EventId,
    /// Under which it alerts by itself: another than `event` where no probe tells it from a copy any more.
    pub(super) alerts_as: EventId,
    /// Under which it alerts if `event` came back long after its last copy.
    pub(super) again: EventId,
    /// When a copy last came another way, and so is in another memory.
    pub(super) elsewhere: Option<ProbeMillis>,
    /// On the probes' axis; none where it may have waited in the broker, nobody knows how long.
    pub(super) came_at: Option<ProbeMillis>,
    /// The latest that it can have come.
    pub(super) arrived: ProbeMillis,
}

impl Presses {
    /// A memory that knows nothing, because it is new, or because the one before it forgot something then.
    pub(super) fn new(forgot_at: Option<AppendMillis>) -> Self {
        Self { forgot_at, ..Self::default() }
    }

    /// Tells a new press from a copy, and remembers it beside `room - 1` others. Gives the event under which a new one alerts; none for a
    /// copy.
    pub(super) fn tell(&mut self, sight: Sight, now: AppendMillis, room: usize) -> Option<EventId> {
        while self.seen.front().is_some_and(|oldest| now.since(oldest.told_at) > limits::PRESS_MEMORY_MILLIS) {
            self.seen.pop_front();
        }
        self.seen.shrink_to(2 * self.seen.len());
        let known = self.find(sight.event);
        let again = |last_copy: ProbeMillis| sight.came_at.is_some_and(|at| at.since(last_copy) > limits::PRESS_AGAIN_MILLIS);
        let verdict = match known {
            _ if sight.alerts_as != sight.event => self.find(sight.alerts_as).is_none().then_some(sight.alerts_as),
            // It may be one that had to make room: doubled rather than hidden behind the alert that it had then.
            None if self.is_forgetful(now) || sight.elsewhere.is_some_and(again) => Some(sight.again),
            None => Some(sight.event),
            Some(seen) if again(seen.last_copy) => Some(sight.again),
            Some(_) => None,
        };
        // A copy that may have waited for hours: when it came says nothing of when the press was last repeated.
        let last_copy = match (known, sight.came_at) {
            (Some(seen), None) => seen.last_copy,
            (Some(seen), Some(at)) => seen.last_copy.max(at),
            (None, at) => at.unwrap_or(sight.arrived),
        };
        self.remember(Seen { event: sight.event, last_copy, told_at: now }, room);
        if sight.alerts_as != sight.event {
            self.remember(Seen { event: sight.alerts_as, last_copy, told_at: now }, room);
        }
        verdict
    }

    /// Whether it has forgotten a press that may still come back.
    pub(super) fn is_forgetful(&self, now: AppendMillis) -> bool {
        self.forgot_at.is_some_and(|at| now.since(at) <= limits::PRESS_MEMORY_MILLIS)
    }

    fn find(&self, event: EventId) -> Option<Seen> {
        self.seen.iter().rev().find(|seen| seen.event == event).copied()
    }

    /// When a copy of a press last came.
    pub(super) fn last_copy(&self, event: EventId) -> Option<ProbeMillis> {
        self.find(event).map(|seen| seen.last_copy)
    }

    fn remember(&mut self, press: Seen, room: usize) {
        self.seen.retain(|seen| seen.event != press.event);
        while self.seen.len() >= room {
            self.seen.pop_front();
            self.forgot_at = Some(press.told_at);
        }
        self.seen.push_back(press);
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.option(self.forgot_at.map(AppendMillis::get)).count(self.seen.len());
        for seen in &self.seen {
            hash.bytes(&seen.event.0).int(seen.last_copy.get()).int(seen.told_at.get());
        }
    }
}

/// The presses of devices that have no record: there was no room for one, or another tenant's feed speaks for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    by_device: BTreeMap<DeviceId, (AppendMillis, Presses)>,
    by_age: BTreeSet<(AppendMillis, DeviceId)>,
    forgot_at: Option<AppendMillis>,
}

impl Strangers {
    /// When it last forgot a device that may still come back.
    pub(super) const fn forgot_at(&self) -> Option<AppendMillis> {
        self.forgot_at
    }

    /// When a copy of a device's press last came by this way.
    pub(super) fn last_copy(&self, device: &DeviceId, event: EventId) -> Option<ProbeMillis> {
        self.by_device.get(device).and_then(|(_, presses)| presses.last_copy(event))
    }

    /// What is remembered of a device; the one that was silent longest makes room for a new one.
    pub(super) fn of(&mut self, device: &DeviceId, now: AppendMillis) -> &mut Presses {
        if let Some((at, _)) = self.by_device.get(device) {
            self.by_age.remove(&(*at, device.clone()));
        } else if self.by_device.len() >= limits::STRANGERS_REMEMBERED_MAX
            && let Some((at, oldest)) = self.by_age.pop_first()
        {
            self.by_device.remove(&oldest);
            if now.since(at) <= limits::PRESS_MEMORY_MILLIS {
                self.forgot_at = Some(now);
            }
        }
        self.by_age.insert((now, device.clone()));
        let unknown = || (now, Presses::new(self.forgot_at));
        let (at, presses) = self.by_device.entry(device.clone()).or_insert_with(unknown);
        *at = now;
        presses
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.option(self.forgot_at.map(AppendMillis::get)).count(self.by_device.len());
        for (device, (at, presses)) in &self.by_device {
            hash.text(device.as_str()).int(at.get());
            presses.digest(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{HOUR_MILLIS, MINUTE_MILLIS};

    const ROOM: usize = limits::PRESSES_REMEMBERED_MAX;

    fn event(n: u32) -> EventId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        EventId(id)
    }

    /// A sight of a press, which would be a thousand higher if it were new again.
    fn sight_of(n: u32, at: i64) -> Sight {
        let arrived = ProbeMillis::new(at);
        Sight { event: event(n), alerts_as: event(n), again: event(n + 1_000), elsewhere: None, came_at: Some(arrived), arrived }
    }

    fn tell(presses: &mut Presses, n: u32, at: i64) -> Option<EventId> {
        presses.tell(sight_of(n, at), AppendMillis::new(at), ROOM)
    }

    #[test]
    fn an_old_press_id_that_returns_is_a_new_press_once() {
        let mut presses = Presses::default();
        assert_eq!(tell(&mut presses, 1, 0), Some(event(1)));
        assert_eq!(tell(&mut presses, 1, 30_000), None);
        assert_eq!(tell(&mut presses, 1, 10 * MINUTE_MILLIS), None, "within ten minutes of its last copy");
        assert_eq!(tell(&mut presses, 1, 21 * MINUTE_MILLIS), Some(event(1_001)), "a new press");
        assert_eq!(tell(&mut presses, 1, 21 * MINUTE_MILLIS), None);
    }

    #[test]
    fn what_may_have_waited_is_a_copy_and_dates_nothing() {
        let mut presses = Presses::default();
        let waited = |at| Sight { came_at: None, ..sight_of(1, at) };
        tell(&mut presses, 1, 0);
        assert_eq!(presses.tell(waited(30 * MINUTE_MILLIS), AppendMillis::new(30 * MINUTE_MILLIS), ROOM), None);
        assert_eq!(tell(&mut presses, 1, 31 * MINUTE_MILLIS), Some(event(1_001)), "that copy did not hide the next press");
    }

    #[test]
    fn what_no_probe_tells_from_a_copy_alerts_for_itself_once() {
        let mut presses = Presses::default();
        let counted = |n, at| Sight { alerts_as: event(n), again: event(n), ..sight_of(1, at) };
        tell(&mut presses, 1, 0);
        let at = AppendMillis::new(MINUTE_MILLIS);
        assert_eq!(presses.tell(counted(7, MINUTE_MILLIS), at, ROOM), Some(event(7)));
        assert_eq!(presses.tell(counted(7, MINUTE_MILLIS), at, ROOM), None, "the same record again");
        assert_eq!(presses.tell(counted(8, MINUTE_MILLIS), at, ROOM), Some(event(8)), "doubled rather than hidden");
        assert_eq!(tell(&mut presses, 1, 11 * MINUTE_MILLIS), None, "a copy with a probe, within ten minutes of its last");
    }

    #[test]
    fn presses_are_forgotten_after_26_hours_and_copies_take_no_room() {
        let mut presses = Presses::default();
        tell(&mut presses, 1, 0);
        assert_eq!(tell(&mut presses, 1, 27 * HOUR_MILLIS), Some(event(1)));
        for at in 0..1_000 {
            assert_eq!(tell(&mut presses, 1, 27 * HOUR_MILLIS + at), None);
        }
        assert_eq!(presses.seen.len(), 1);
    }

    #[test]
    fn past_its_bound_a_memory_doubles_rather_than_hides() {
        let mut presses = Presses::default();
        let bound = u32::try_from(ROOM).unwrap();
        for n in 0..bound {
            assert_eq!(tell(&mut presses, n, n.into()), Some(event(n)));
        }
        assert_eq!(tell(&mut presses, bound, 2 * MINUTE_MILLIS), Some(event(bound)), "press 0 makes room");
        assert_eq!(tell(&mut presses, 0, 20 * MINUTE_MILLIS), Some(event(1_000)), "under its own alert it would be hidden");
        assert_eq!(tell(&mut presses, 0, 20 * MINUTE_MILLIS), None, "once");
        assert_eq!(tell(&mut presses, bound, 3 * MINUTE_MILLIS), None, "what is known is known");
        assert_eq!(presses.seen.len(), ROOM);
        assert_eq!(tell(&mut presses, 0, 60 * HOUR_MILLIS), Some(event(0)), "a day later nothing that it forgot can come back");
    }

    #[test]
    fn a_stranger_who_had_to_make_room_is_not_hidden() {
        let mut strangers = Strangers::default();
        let device = |n: usize| DeviceId::parse(&format!("x-{n}")).unwrap();
        let now = AppendMillis::new(0);
        for n in 0..limits::STRANGERS_REMEMBERED_MAX {
            assert_eq!(tell(strangers.of(&device(n), now), 1, 0), Some(event(1)));
        }
        assert_eq!(tell(strangers.of(&device(0), now), 1, 0), None);
        let later = AppendMillis::new(MINUTE_MILLIS);
        strangers.of(&device(0), later);
        strangers.of(&device(limits::STRANGERS_REMEMBERED_MAX), later);
        assert_eq!(tell(strangers.of(&device(0), later), 1, MINUTE_MILLIS), None, "who was heard last stays");
        assert_eq!(tell(strangers.of(&device(1), later), 1, MINUTE_MILLIS), Some(event(1_001)), "who made room may alert twice");
        assert_eq!(strangers.by_age.len(), strangers.by_device.len());
        assert_eq!(strangers.by_device.len(), limits::STRANGERS_REMEMBERED_MAX);
    }
}
