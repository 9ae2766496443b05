//! One simulated device: it wanders, reports, and now and then lives through an episode of its role.
//!
//! An episode begins only where its alert can become due before a bounded run's quiet end. What it did is written down when it
//! is done or sent, never when it is planned.

use super::chance::Chance;
use super::deed::{Act, Deed};
use super::fleet::{DEEDS_MAX, Plan, Send};
use super::message::{self, Fix, Press, Report};
use super::terrain::{Area, ROAM_METRES, Spot};
use super::{ARRIVAL_MILLIS, Limits, QUIET_MILLIS, SETTLE_MILLIS};
use crate::ids::DeviceId;
use crate::time::SECOND_MILLIS;

/// Error circle that devices state; the noise of their fixes stays under 9 m.
const ACCURACY_METRES: f64 = 8.0;
/// Standard deviation of a fix in each direction; cut at three of them, so that no fix is off by more than 9 m.
const NOISE_METRES: f64 = 2.0;
/// How far inside of its gate a leaver lives.
const HOME_METRES: f64 = 40.0;
/// A leaver drives: to 100 m outside and back.
const LEAVER_METRES_PER_MILLI: f64 = 0.02;
/// Time from home to the far end, and to 60 m outside: clear of buffer (15 m), error circle and noise together.
const WAY_OUT_MILLIS: i64 = 7 * SECOND_MILLIS;
const CLEAR_MILLIS: i64 = 5 * SECOND_MILLIS;
/// Waits between the copies of a press: 1, 2, 4 ... up to 30 s (DESIGN section 10).
const REPEAT_MILLIS_FIRST: i64 = SECOND_MILLIS;
const REPEAT_MILLIS_MAX: i64 = 30 * SECOND_MILLIS;
/// How long a battery stays low in a run without end.
const LOW_MILLIS: i64 = 60 * SECOND_MILLIS;
/// Contact is known to the second: silence may count from this long before the device's last message.
const CONTACT_GRAIN_MILLIS: i64 = 2 * SECOND_MILLIS;

/// What a device is in the fleet for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Walker,
    Presser,
    Leaver,
    Silent,
    Late,
    Battery,
    Junk,
}

impl Role {
    /// Every ten devices have the same mix; one device of the fleet sends junk.
    fn of_device(index: usize) -> Self {
        match index % 10 {
            0 | 7 => Self::Presser,
            1 => Self::Leaver,
            2 => Self::Silent,
            3 => Self::Late,
            4 => Self::Battery,
            _ if index == 6 => Self::Junk,
            _ => Self::Walker,
        }
    }

    /// From an episode's begin until what it does must alert, in milliseconds.
    fn length_millis(self, limits: Limits) -> i64 {
        match self {
            Self::Walker | Self::Presser | Self::Junk => 0,
            Self::Leaver => CLEAR_MILLIS + limits.report_every_millis + limits.dwell_millis,
            Self::Silent => limits.silence_millis,
            Self::Late => limits.silence_millis / 2,
            Self::Battery => limits.report_every_millis,
        }
    }
}

/// Where a device is in its script.
#[derive(Debug)]
enum Doing {
    Calm,
    Out { since: i64, deed: Option<usize> },
    Silent { deed: usize, until: i64 },
    Offline { since: i64, until: i64, kept: Vec<Report>, pressed: Option<(i64, Fix)> },
    Low { told: bool, until: i64 },
}

/// A press whose receipt has not come.
#[derive(Debug)]
struct Unreceipted {
    id: String,
    payload: Vec<u8>,
    wait_millis: i64,
    next_at: i64,
    deed: usize,
}

/// What a step of a device works on.
pub(super) struct Step<'a> {
    pub(super) now: i64,
    /// The end of a bounded run.
    pub(super) ends_at: Option<i64>,
    pub(super) sends: &'a mut Vec<Send>,
    pub(super) deeds: &'a mut Vec<Deed>,
}

impl Step<'_> {
    fn did(&mut self, device: &DeviceId, began_at: i64, alert_from: i64, due_at: impl Into<Option<i64>>, act: Act) -> usize {
        let (device, due_at) = (device.clone(), due_at.into());
        self.deeds.push(Deed { device, began_at, ended_at: None, alert_from, due_at, act });
        self.deeds.len() - 1
    }

    fn last_due(&self) -> i64 {
        self.ends_at.map_or(i64::MAX, |at| at - QUIET_MILLIS)
    }
}

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: DeviceId,
    role: Role,
    area: &'static Area,
    limits: Limits,
    chance: Chance,
    boot: u32,
    sequence: u64,
    presses: u32,
    episodes: usize,
    battery_percent: i64,
    /// Where a leaver lives along the boundary beside its gate.
    aside_metres: f64,
    /// Where others wander: from here to there, at this speed.
    at: Spot,
    to: Spot,
    metres_per_second: f64,
    moved_at: i64,
    next_report_at: i64,
    last_sent_at: i64,
    next_episode_at: i64,
    doing: Doing,
    unreceipted: Vec<Unreceipted>,
}

impl Device {
    pub(super) fn new(index: usize, plan: &Plan, start_millis: i64) -> Self {
        let mut chance = Chance::of_device(plan.seed, index as u64);
        let role = Role::of_device(index);
        let home = random_spot(&mut chance);
        let pace = chance.between(0, 99);
        Self {
            id: DeviceId::parse(&format!("unit-{:03}", index + 1)).expect("a word, a hyphen and digits are a device id"),
            role,
            area: Area::of_device(index),
            limits: plan.limits,
            // A later run of the same plan is another start of the devices: its sequence numbers are new ones.
            boot: u32::try_from(start_millis / SECOND_MILLIS).unwrap_or(0),
            sequence: 0,
            presses: 0,
            episodes: 0,
            battery_percent: chance.between(40, 100),
            aside_metres: (2.0 * chance.unit() - 1.0) * 40.0,
            at: home,
            to: home,
            metres_per_second: if pace < 55 {
                0.0
            } else if pace < 90 {
                1.4
            } else {
                12.0
            },
            moved_at: start_millis,
            next_report_at: start_millis + chance.between(0, plan.limits.report_every_millis - 1),
            last_sent_at: start_millis,
            next_episode_at: first_episode(role, plan, start_millis, &mut chance),
            doing: Doing::Calm,
            unreceipted: Vec::new(),
            chance,
        }
    }

    /// Does what is due by now.
    pub(super) fn advance(&mut self, step: &mut Step<'_>) {
        self.end_episode(step);
        if matches!(self.doing, Doing::Calm) && self.next_episode_at <= step.now {
            self.begin_episode(step);
        }
        if self.next_report_at <= step.now {
            let late_by = step.now - self.next_report_at;
            let every = self.limits.report_every_millis;
            self.next_report_at += (late_by / every + 1) * every;
            self.report(step);
        }
        self.repeat_presses(step);
    }

    /// The centre has the press of this id: its copies stop.
    pub(super) fn receipt(&mut self, id: &str, now: i64, deeds: &mut [Deed]) {
        for press in self.unreceipted.iter().filter(|press| press.id == id) {
            if let Act::Pressed { receipted_at, .. } = &mut deeds[press.deed].act {
                receipted_at.get_or_insert(now);
            }
        }
        self.unreceipted.retain(|press| press.id != id);
    }

    fn begin_episode(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        let too_late = now + self.role.length_millis(self.limits) > step.last_due();
        if too_late || step.deeds.len() >= DEEDS_MAX {
            self.next_episode_at = i64::MAX;
            return;
        }
        self.episodes += 1;
        self.next_episode_at = i64::MAX;
        match self.role {
            Role::Walker => {}
            Role::Presser => {
                let fix = self.fix(now);
                self.press(now, fix, step);
                self.rest(step);
            }
            Role::Junk => {
                step.did(&self.id, now, now, now, Act::Junk);
                self.send(step, "report", message::junk(self.episodes - 1));
                self.rest(step);
            }
            Role::Leaver => self.doing = Doing::Out { since: now, deed: None },
            Role::Silent => {
                let from = self.last_sent_at + self.limits.silence_millis - CONTACT_GRAIN_MILLIS;
                let due_at = now + self.limits.silence_millis + ARRIVAL_MILLIS;
                let deed = step.did(&self.id, self.last_sent_at, from, due_at, Act::Silent);
                self.doing = Doing::Silent { deed, until: due_at + SECOND_MILLIS };
            }
            Role::Late => {
                // Half the limit: whatever grain contact is known by, it never looks like the whole.
                let until = self.last_sent_at + self.limits.silence_millis / 2;
                self.doing = Doing::Offline { since: now, until, kept: Vec::new(), pressed: None };
            }
            Role::Battery => {
                let until = if step.ends_at.is_some() { i64::MAX } else { now + LOW_MILLIS };
                self.battery_percent = 12;
                self.doing = Doing::Low { told: false, until };
            }
        }
    }

    fn end_episode(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        match &mut self.doing {
            Doing::Calm => return,
            Doing::Out { since, .. } if now < *since + way_back(self.limits) + WAY_OUT_MILLIS => return,
            Doing::Silent { until, .. } | Doing::Offline { until, .. } | Doing::Low { until, .. } if now < *until => return,
            Doing::Out { .. } => {}
            Doing::Low { .. } => self.battery_percent = 80,
            Doing::Silent { deed, .. } => {
                step.deeds[*deed].ended_at = Some(now);
                self.last_sent_at = now;
                self.next_report_at = now;
            }
            Doing::Offline { since, kept, pressed, .. } => {
                let (since, kept, pressed) = (*since, std::mem::take(kept), pressed.take());
                self.upload(since, kept, pressed, step);
                self.next_report_at = now;
            }
        }
        if let Doing::Out { deed: Some(deed), .. } = self.doing {
            step.deeds[deed].ended_at.get_or_insert(now);
        }
        self.doing = Doing::Calm;
        self.rest(step);
    }

    /// Until the next episode: seconds in a bounded run, minutes in one to be watched.
    fn rest(&mut self, step: &Step<'_>) {
        let (low, high) = if step.ends_at.is_some() { (4, 8) } else { (60, 240) };
        self.next_episode_at = step.now + self.chance.between(low * SECOND_MILLIS, high * SECOND_MILLIS);
    }

    fn report(&mut self, step: &mut Step<'_>) {
        if matches!(self.doing, Doing::Silent { .. }) {
            return;
        }
        let report = self.next_report(step);
        if let Doing::Offline { since, until, kept, pressed } = &mut self.doing {
            // Every other time the wearer presses while out of reach.
            if self.episodes % 2 == 1 && pressed.is_none() && step.now - *since >= (*until - *since) / 3 {
                *pressed = Some((step.now, report.fix.clone()));
            }
            kept.push(report);
            return;
        }
        self.remember(step);
        self.send(step, "report", message::bytes(&report));
    }

    fn next_report(&mut self, step: &Step<'_>) -> Report {
        self.sequence += 1;
        let fix = self.fix(step.now);
        Report {
            boot: self.boot,
            seq: self.sequence,
            sent: step.now,
            battery: self.battery_percent,
            motion: if fix.speed > 0.0 { "moving" } else { "still" },
            interval: (self.limits.report_every_millis / SECOND_MILLIS).max(1),
            fix,
        }
    }

    /// Writes down what the report that is about to be sent shows for the first time.
    fn remember(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        let outside = self.beyond_gate(now) > 0.0;
        match &mut self.doing {
            Doing::Out { since, deed: deed @ None } if outside => {
                let clear = *since + CLEAR_MILLIS + self.limits.report_every_millis;
                let act = Act::LeftFence { fence: self.area.fence };
                *deed = Some(step.did(&self.id, now, now, clear + self.limits.dwell_millis + ARRIVAL_MILLIS, act));
            }
            Doing::Out { deed: Some(deed), .. } if !outside => {
                step.deeds[*deed].ended_at.get_or_insert(now);
            }
            Doing::Low { told: told @ false, .. } => {
                *told = true;
                step.did(&self.id, now, now, now + ARRIVAL_MILLIS, Act::BatteryLow);
            }
            Doing::Calm | Doing::Out { .. } | Doing::Silent { .. } | Doing::Offline { .. } | Doing::Low { .. } => {}
        }
    }

    fn upload(&mut self, since: i64, kept: Vec<Report>, pressed: Option<(i64, Fix)>, step: &mut Step<'_>) {
        let reports = u32::try_from(kept.len()).unwrap_or(u32::MAX);
        let deed = step.did(&self.id, since, step.now, step.now, Act::Late { reports });
        step.deeds[deed].ended_at = Some(step.now);
        if let Some((pressed_at, fix)) = pressed {
            self.press(pressed_at, fix, step);
        }
        for report in kept {
            self.send(step, "report", message::bytes(&Report { sent: step.now, ..report }));
        }
    }

    fn press(&mut self, pressed_at: i64, fix: Fix, step: &mut Step<'_>) {
        self.presses += 1;
        let id = format!("p-{}-{}", self.boot, self.presses);
        let press = Press { id: id.clone(), time: pressed_at, sent: step.now, battery: self.battery_percent, fix };
        let payload = message::bytes(&press);
        let act = Act::Pressed { id: id.clone(), sent_at: step.now, receipted_at: None, copies: 1 };
        let deed = step.did(&self.id, pressed_at, step.now, step.now + ARRIVAL_MILLIS, act);
        self.send(step, "duress", payload.clone());
        let next_at = step.now + REPEAT_MILLIS_FIRST;
        self.unreceipted.push(Unreceipted { id, payload, wait_millis: REPEAT_MILLIS_FIRST, next_at, deed });
    }

    fn repeat_presses(&mut self, step: &mut Step<'_>) {
        let mut copies = Vec::new();
        for press in self.unreceipted.iter_mut().filter(|press| press.next_at <= step.now) {
            press.wait_millis = (press.wait_millis * 2).min(REPEAT_MILLIS_MAX);
            press.next_at = step.now + press.wait_millis;
            if let Act::Pressed { copies, .. } = &mut step.deeds[press.deed].act {
                *copies += 1;
            }
            copies.push(press.payload.clone());
        }
        for payload in copies {
            self.send(step, "duress", payload);
        }
    }

    fn send(&mut self, step: &mut Step<'_>, what: &str, payload: Vec<u8>) {
        let may_be_lost = self.last_sent_at + self.limits.silence_millis - CONTACT_GRAIN_MILLIS;
        if step.now >= may_be_lost && !matches!(self.doing, Doing::Silent { .. }) {
            let deed = step.did(&self.id, self.last_sent_at, may_be_lost, None, Act::Stalled);
            step.deeds[deed].ended_at = Some(step.now);
        }
        self.last_sent_at = step.now;
        let mqtt_topic = format!("lw/v1/{}/{what}", self.id);
        step.sends.push(Send { device: self.id.clone(), mqtt_topic, payload, qos: 1 });
    }

    fn fix(&mut self, now: i64) -> Fix {
        let (true_spot, speed) = self.whereabouts(now);
        let spot = Spot {
            east: true_spot.east + self.chance.around_zero(NOISE_METRES),
            north: true_spot.north + self.chance.around_zero(NOISE_METRES),
        };
        let (lat, lon) = self.area.degrees(spot);
        Fix { lat, lon, time: now, accuracy: ACCURACY_METRES, speed }
    }

    /// The true place, and the speed in metres a second.
    fn whereabouts(&mut self, now: i64) -> (Spot, f64) {
        if self.role == Role::Leaver {
            let speed = if matches!(self.doing, Doing::Out { .. }) { LEAVER_METRES_PER_MILLI * 1_000.0 } else { 0.0 };
            return (self.area.at_gate(self.beyond_gate(now), self.aside_metres), speed);
        }
        self.wander(now);
        (self.at, self.metres_per_second)
    }

    /// How far outside of its gate a leaver is, in metres; negative inside.
    fn beyond_gate(&self, now: i64) -> f64 {
        let Doing::Out { since, .. } = self.doing else { return -HOME_METRES };
        let (gone, back) = (now - since, now - since - way_back(self.limits));
        let out = -HOME_METRES + LEAVER_METRES_PER_MILLI * as_metres(gone.min(WAY_OUT_MILLIS));
        out - LEAVER_METRES_PER_MILLI * as_metres(back.clamp(0, WAY_OUT_MILLIS))
    }

    fn wander(&mut self, now: i64) {
        let mut stride = self.metres_per_second * as_metres(now - self.moved_at) / 1_000.0;
        self.moved_at = now;
        // A stall of the caller is no reason to run through many legs: one leg at most is finished in a step.
        let (east, north) = (self.to.east - self.at.east, self.to.north - self.at.north);
        let left = (east * east + north * north).sqrt();
        if left <= stride {
            self.at = self.to;
            self.to = random_spot(&mut self.chance);
            stride = 0.0;
        }
        if left > 0.0 {
            self.at.east += east / left * stride;
            self.at.north += north / left * stride;
        }
    }
}

/// Milliseconds as a factor for metres.
fn as_metres(millis: i64) -> f64 {
    f64::from(i32::try_from(millis).unwrap_or(i32::MAX))
}

/// From an outing's begin until its way back: clear of the fence for the dwell, and until the alert must have come.
fn way_back(limits: Limits) -> i64 {
    WAY_OUT_MILLIS + limits.report_every_millis + limits.dwell_millis + ARRIVAL_MILLIS
}

/// Somewhere in the disc in which devices wander.
fn random_spot(chance: &mut Chance) -> Spot {
    loop {
        let mut along = || (2.0 * chance.unit() - 1.0) * ROAM_METRES;
        let spot = Spot { east: along(), north: along() };
        if spot.east * spot.east + spot.north * spot.north <= ROAM_METRES * ROAM_METRES {
            return spot;
        }
    }
}

/// When the first episode of a device begins.
fn first_episode(role: Role, plan: &Plan, start_millis: i64, chance: &mut Chance) -> i64 {
    let settled = start_millis + SETTLE_MILLIS + plan.limits.report_every_millis;
    let spread = match plan.ends_at(start_millis) {
        Some(end) => (end - QUIET_MILLIS - role.length_millis(plan.limits) - settled).clamp(0, 6 * SECOND_MILLIS),
        None => 30 * SECOND_MILLIS,
    };
    settled + chance.between(0, spread)
}
