//! The naive oracle: says from a journal, the slow obvious way, what must be told. It shares no code with the machine.
//!
//! It keeps what it has read as plain lists and computes from them anew at each record: which time was heard (by measuring lists of
//! stretches against each other), since when a device is silent, on which side of a fence it is. It leans on the resolved rulebook,
//! a fence's distance and the alert's identity, and on what the generator promises: dated reports say when they were sent, buffers of
//! 16 messages are not outrun, no fence changes.

mod listening;
mod moves;
mod ourselves;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lonewatch::alert::{Alert, Kind, Lane, Stage, duress_id};
use lonewatch::ids::{AlertId, DeviceId, EventId, FeedName, GroupName, Hasher, IngesterName, ProbeRef, TenantName};
use lonewatch::journal::{MessageContent, MessageRecord, Record};
use lonewatch::position::Position;
use lonewatch::rulebook::{Fence, Meaning, Rulebook};

use crate::generate::Journal;

use moves::place;

const BLIND: i64 = 10_000;
const LATE: i64 = 120_000;
const AGAIN: i64 = 600_000;
const POSTPONED: i64 = 1_800_000;
const BEFORE_A_GAP: i64 = 30_000;
const FAULT_OVER: i64 = 30_000;

/// The note of a silence that a will shortened.
const WILL: &str = "will";

/// What is told: enough to tell any two alerts apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    pub(crate) record: usize,
    pub(crate) id: AlertId,
    pub(crate) words: String,
}

impl Told {
    /// The machine's alert in the same words.
    pub(crate) fn of(record: usize, alert: &Alert) -> Self {
        let tenants: Vec<&str> = alert.tenants.iter().map(TenantName::as_str).collect();
        let of_us = || format!("{} of {}", alert.subject, tenants.join("+"));
        let who = alert.device.as_ref().map_or_else(of_us, |device| format!("{device} {}", alert.subject));
        // The stage of a press is a mark and no place.
        let place = place(alert.centre.as_str(), if alert.kind == Kind::Duress { Stage::Live } else { alert.stage });
        let cleared = alert.state == lonewatch::alert::State::Cleared;
        // How late a press is hangs on what reports taught of its device's clock: that is told in stories and in `skew.rs`.
        let late = alert.late.filter(|_| alert.kind != Kind::Duress).map(|late| late.age_millis);
        let certain = alert.grade.map(|grade| grade == lonewatch::alert::Grade::Certain);
        let mut notes: Vec<&str> = alert.lanes.iter().map(|lane| lane.as_str()).collect();
        if alert.reason.limits.contains_key("after_will_millis") {
            notes.push(WILL);
        }
        Self { record, id: alert.id, words: words(alert.kind, &who, &place, alert.revision, (cleared, late, certain), &notes) }
    }
}

impl Told {
    /// A silence that a will shortened, told for the first time.
    pub(crate) fn is_raised_by_will(&self) -> bool {
        self.words.ends_with(&format!("[{WILL:?}]")) && self.words.contains(" r1 cleared false")
    }
}

fn words(kind: Kind, who: &str, centre: &str, revision: u32, marks: (bool, Option<i64>, Option<bool>), notes: &[&str]) -> String {
    let (cleared, late, certain) = marks;
    format!("{} {who} -> {centre} r{revision} cleared {cleared} late {late:?} certain {certain:?} {notes:?}", kind.as_str())
}

/// An alert that stands.
#[derive(Clone)]
struct Open {
    id: AlertId,
    kind: Kind,
    who: String,
    centre: String,
    late: Option<i64>,
    certain: Option<bool>,
    /// Deaf lanes, or that a will made it so early.
    notes: Vec<&'static str>,
}

#[derive(Clone, Copy)]
struct SeenFix {
    position: Position,
    accuracy: f64,
    at: i64,
    /// It said so itself.
    dated: bool,
    event: EventId,
    appended: i64,
}

#[derive(Default)]
struct Watched {
    /// Through which it spoke last.
    feed: Option<FeedName>,
    events: BTreeSet<EventId>,
    contact: Option<(i64, EventId)>,
    /// Every will, by when its first copy came.
    wills: BTreeMap<EventId, i64>,
    /// Tenant, entry, the tenant's frontier when the entry came into force, and how long it had been silent by then: none where all since
    /// its last contact counts.
    owner: Option<(TenantName, i64, Option<i64>, Option<i64>)>,
    /// The last silence that was told of it and cleared.
    was_lost: Option<AlertId>,
    group: Option<GroupName>,
    fix: Option<SeenFix>,
    level_at: Option<i64>,
    fences: BTreeMap<String, Side>,
    judged: bool,
    lost: Option<Open>,
    battery: Option<Open>,
}

#[derive(Default)]
struct Side {
    inside: bool,
    pending: Option<(SeenFix, i64, Option<i64>, bool)>,
    /// The last fix left open on which side it is.
    open_question: bool,
    open: Option<Open>,
}

/// Which feeds a tenant had, from when to when on the probes' axis. The last goes on.
struct Era {
    begin: i64,
    end: Option<i64>,
    feeds: Vec<FeedName>,
}

/// What a tenant's listening began and reached.
#[derive(Clone, Copy)]
struct Reach {
    began: i64,
    frontier: i64,
}

pub(crate) struct Oracle {
    book: Arc<Rulebook>,
    record: usize,
    now: i64,
    /// The present record's own append time, and the one's before it.
    appended: (i64, i64),
    told: Vec<Told>,
    highest: BTreeMap<AlertId, u32>,
    /// Everything that an ingester said it heard, as it said it.
    ears: Vec<(FeedName, Lane, IngesterName, i64)>,
    /// By feed and lane: stretches heard, each beyond the last.
    heard: BTreeMap<(FeedName, Lane), Vec<(i64, i64)>>,
    reach: BTreeMap<TenantName, Reach>,
    /// By tenant: which feeds it had.
    eras: BTreeMap<TenantName, Vec<Era>>,
    /// By tenant: what all lanes heard, measured anew whenever something was heard.
    pieces: BTreeMap<TenantName, Vec<(i64, i64)>>,
    watched: BTreeMap<DeviceId, Watched>,
    /// By event, and whether the feed may speak for the device: when a copy last came of which that can be told.
    presses: BTreeMap<(EventId, bool), i64>,
    /// Presses told by their receiver's count alone.
    doubled: BTreeSet<(EventId, bool)>,
    feeds: BTreeMap<FeedName, i64>,
    /// What we know to be wrong with ourselves, by what it is, of what, and whose centre's.
    troubles: BTreeMap<(Kind, String, String), Open>,
    /// Every fault of an ingester that showed: when, and on which record.
    faults: Vec<(i64, usize, (Kind, String))>,
    /// Every whole second that was crossed: `now`, and at which record.
    seconds: Vec<(i64, usize)>,
}

/// Everything that the journal's records must tell, in any order within a record.
pub(crate) fn expect(journal: &Journal) -> Vec<Told> {
    let mut oracle = Oracle::new();
    for (record, (appended, what)) in journal.records.iter().enumerate() {
        oracle.read(journal, record, *appended, what);
    }
    oracle.told.sort();
    oracle.told
}

impl Oracle {
    fn new() -> Self {
        Self {
            book: Arc::new(Rulebook::empty()),
            record: 0,
            now: i64::MIN,
            appended: (i64::MIN, i64::MIN),
            told: Vec::new(),
            highest: BTreeMap::new(),
            ears: Vec::new(),
            heard: BTreeMap::new(),
            reach: BTreeMap::new(),
            eras: BTreeMap::new(),
            pieces: BTreeMap::new(),
            watched: BTreeMap::new(),
            presses: BTreeMap::new(),
            doubled: BTreeSet::new(),
            feeds: BTreeMap::new(),
            troubles: BTreeMap::new(),
            faults: Vec::new(),
            seconds: Vec::new(),
        }
    }

    fn read(&mut self, journal: &Journal, record: usize, appended: i64, what: &Record) {
        self.record = record;
        let before = self.now;
        self.now = before.max(appended);
        self.appended = (appended, self.appended.0);
        let crossed = self.now / 1_000 > before / 1_000;
        let stands_still = self.now - appended > 2_000;
        if before != i64::MIN && (crossed || stands_still && appended / 1_000 != self.appended.1 / 1_000) {
            self.due();
        }
        match what {
            Record::Message(message) => self.message(message),
            Record::Observation(observation) => self.observation(journal, appended, observation),
            Record::Metronome { .. } | Record::Action => {}
        }
    }

    // ---- telling ----

    fn say(&mut self, open: &Open, cleared: bool) {
        let revision = self.highest.get(&open.id).copied().unwrap_or(0) + 1;
        self.highest.insert(open.id, revision);
        let marks = (cleared, open.late, open.certain);
        let words = words(open.kind, &open.who, &open.centre, revision, marks, &open.notes);
        self.told.push(Told { record: self.record, id: open.id, words });
    }

    fn open(&mut self, device: &DeviceId, kind: Kind, subject: &str, cause: (EventId, Option<i64>), late: Option<i64>) -> Open {
        let id = Alert::id_of(Some(device), kind, subject, Some(cause.0), cause.1);
        let entry = self.book.device(device).expect("only owned devices alert");
        let of_fence =
            self.fences(device).into_iter().find(|fence| fence.name.as_str() == subject).map_or(Stage::Live, |it| it.stage);
        let centre = place(entry.centre.as_str(), entry.rules.stage.max(of_fence));
        Open { id, kind, who: format!("{device} {subject}"), centre, late, certain: None, notes: Vec::new() }
    }

    // ---- what is due ----

    fn due(&mut self) {
        self.seconds.push((self.appended.0, self.record));
        self.judge_ourselves();
        let devices: Vec<DeviceId> = self.watched.keys().cloned().collect();
        for device in &devices {
            self.dwell(device, None, None);
        }
        for device in &devices {
            self.judge_silence(device);
        }
    }

    /// How long nothing was heard of a device that somebody owns: since its last contact, or since its entry where it was never heard, or no
    /// longer than since its entry and what it brought along.
    fn silence(&self, device: &DeviceId) -> i64 {
        let watched = &self.watched[device];
        let (tenant, _, entry, brought) = watched.owner.as_ref().expect("somebody owns it");
        let since_entry = self.heard_since(tenant, entry.unwrap_or(i64::MIN));
        match (watched.contact, brought) {
            (Some((at, _)), Some(brought)) => self.heard_since(tenant, at).min(since_entry + brought),
            (Some((at, _)), None) => self.heard_since(tenant, at),
            (None, _) => since_entry,
        }
    }

    /// How long a device is over its limit, by silence alone and by a will: the longer counts. None where it has no limit.
    fn over(&self, device: &DeviceId) -> Option<(i64, i64)> {
        let watched = &self.watched[device];
        let (tenant, ..) = watched.owner.as_ref()?;
        let rule = self.book.device(device)?.rules.lost_contact?;
        let silence = self.silence(device);
        let will = watched.wills.values().copied().max();
        let will =
            will.filter(|will| watched.contact.is_some_and(|contact| *will > contact.0) && self.will_counts(tenant, *will));
        let will = will.filter(|will| self.heard_since(tenant, *will) <= silence);
        let over_by_will = will.map_or(i64::MIN, |will| self.heard_since(tenant, will) - rule.after_will_millis);
        Some((silence - rule.silence_millis, over_by_will))
    }

    fn judge_silence(&mut self, device: &DeviceId) {
        let watched = &self.watched[device];
        let Some((tenant, entry, ..)) = watched.owner.clone() else { return };
        if watched.lost.is_some() || !self.reach.contains_key(&tenant) {
            return;
        }
        let Some((over, over_by_will)) = self.over(device) else { return };
        if over.max(over_by_will) < if self.is_in_grace(&tenant) { POSTPONED } else { 0 } {
            return;
        }
        let cause = match watched.contact {
            Some((at, event)) => (event, Some(at)),
            None => (EventId(Hasher::new("rulebook-entry").int(entry).finish()), None),
        };
        let notes = if over_by_will > over { vec![WILL] } else { Vec::new() };
        let open = Open { notes, ..self.open(device, Kind::LostContact, "", cause, None) };
        self.say(&open, false);
        self.watched.get_mut(device).expect("watched").lost = Some(open);
    }

    /// Whether devices may still be on their way back after a time that was not heard.
    fn is_in_grace(&self, tenant: &TenantName) -> bool {
        let grace = self.book.tenant(tenant).expect("a tenant").reconnect_grace_millis;
        self.heard_since_gap(tenant).is_some_and(|heard| heard < grace)
    }

    /// Not where it came within 30 s before a time that was not heard, in one, or within the grace after one.
    fn will_counts(&self, tenant: &TenantName, will: i64) -> bool {
        let (grace, reach) = (self.book.tenant(tenant).expect("a tenant").reconnect_grace_millis, self.reach[tenant]);
        let mut pieces = vec![(reach.began, reach.began)];
        pieces.extend(&self.pieces[tenant]);
        pieces.push((reach.frontier, reach.frontier));
        let mut unheard = vec![(i64::MIN, reach.began)];
        unheard.extend(pieces.windows(2).map(|pair| (pair[0].1, pair[1].0)).filter(|gap| gap.0 < gap.1));
        !unheard.into_iter().any(|(from, to)| {
            // Nothing was missed at the journal's beginning: no grace there.
            let grace = if from == i64::MIN { 0 } else { grace };
            let between: i64 = pieces.iter().map(|piece| (piece.1.min(will) - piece.0.max(to)).max(0)).sum();
            will >= from.saturating_sub(BEFORE_A_GAP) && (will <= to || between < grace)
        })
    }

    // ---- messages ----

    fn message(&mut self, message: &MessageRecord) {
        let device = &message.device;
        if !self.speaks_for(message) {
            if message.press.is_some() {
                self.press(message, message.after_probe.as_ref(), message.arrived_at().min(self.now));
            }
            return;
        }
        let watched = self.watched.entry(device.clone()).or_default();
        let of = |feed: &FeedName| Some(self.book.feed(feed)?.tenants.iter().collect::<BTreeSet<_>>());
        let before = watched.feed.replace(message.feed.clone()).filter(|before| *before != message.feed);
        if watched.owner.is_none() && before.is_some_and(|before| of(&before).is_none() || of(&before) != of(&message.feed)) {
            // Nobody's, and now another's feed speaks of it: that one knows nothing of it.
            *watched = Watched { feed: watched.feed.clone(), ..Watched::default() };
        }
        let probe = message.after_probe.as_ref();
        let past = |sent_at: i64| sent_at + message.past_probe_millis.max(0);
        let arrived = probe.map_or(message.received_at.get(), |probe| past(probe.sent_at.get())).min(self.now);
        self.contact(message, arrived);
        let report = if let MessageContent::Report(report) = &message.content { Some(report) } else { None };
        // What bears no time is as old as it can be: a session holds a day.
        let oldest = match probe {
            Some(_) => arrived,
            None => self.last_heard_by(message).unwrap_or(message.connected_at.get() - 24 * 3_600_000).min(arrived),
        };
        // The generator's word: what is dated says when it was sent, and has a probe.
        let back = |at: Option<lonewatch::time::DeviceMillis>| match (at, report.and_then(|report| report.sent)) {
            (Some(at), Some(sent)) => (arrived - (sent.get() - at.get())).min(arrived),
            (Some(_), None) => arrived,
            (None, _) => oldest,
        };
        if message.press.is_some() {
            self.press(message, probe, arrived);
        }
        let Some(report) = report else { return };
        let appended = self.appended.0;
        let watched = self.watched.get_mut(device).expect("watched");
        let told = back(report.device_time());
        let said = report.fix.map(|fix| fix.at.or(report.device_time()));
        let is_old = |is: Option<i64>, known: Option<i64>| is.is_none_or(|is| known.is_some_and(|known| is < known));
        let old_level = is_old(report.battery_percent.map(|_| told), watched.level_at);
        let old_fix = is_old(said.map(back), watched.fix.map(|fix| fix.at));
        let says = report.battery_percent.is_some() || said.is_some();
        // Its copy by another way may be known to be newer.
        if probe.is_none() && says && old_level && old_fix {
            return;
        }
        if !watched.events.insert(message.event) || message.retained {
            return;
        }
        if let Some(percent) = report.battery_percent.filter(|_| watched.level_at.is_none_or(|known| told >= known)) {
            watched.level_at = Some(told);
            self.battery(device, percent, message.event, told);
        }
        let watched = self.watched.get_mut(device).expect("watched");
        if let Some(fix) = report.fix {
            let said = fix.at.or(report.device_time());
            let at = back(said);
            if watched.fix.is_none_or(|known| at >= known.at) {
                let accuracy = f64::from(fix.accuracy_cm) / 100.0;
                let (event, dated) = (message.event, said.is_some());
                let fix = SeenFix { position: fix.position, accuracy, at, dated, event, appended };
                watched.fix = Some(fix);
                self.judge_fences(device, fix, arrived, None, None);
            }
        }
    }

    /// Not where the device is another tenant's than those of the feed.
    fn speaks_for(&self, message: &MessageRecord) -> bool {
        let (Some(feed), Some(entry)) = (self.book.feed(&message.feed), self.book.device(&message.device)) else { return true };
        feed.tenants.contains(&entry.tenant)
    }

    /// Up to when the receiver of a message without a probe had itself heard that lane, if before the connection on which it came.
    fn last_heard_by(&self, message: &MessageRecord) -> Option<i64> {
        let mine = self.ears.iter().filter(|ear| ear.0 == message.feed && ear.1 == message.lane && ear.2 == message.ingester);
        mine.map(|ear| ear.3).max().filter(|heard| *heard < message.connected_at.get())
    }

    /// When its device was alive at the latest, as far as anybody knows: a receiver that never heard has no session from before, so nothing
    /// that it hands over is older than what others heard until then.
    fn alive_by(&self, message: &MessageRecord) -> Option<i64> {
        let lane = || self.ears.iter().filter(|ear| ear.0 == message.feed && ear.1 == message.lane);
        if lane().any(|ear| ear.2 == message.ingester) {
            return self.last_heard_by(message);
        }
        lane().map(|ear| ear.3).max().filter(|heard| *heard < message.connected_at.get())
    }

    fn contact(&mut self, message: &MessageRecord, arrived: i64) {
        if message.content == MessageContent::Will && !message.retained && message.after_probe.is_some() {
            self.watched.get_mut(&message.device).expect("watched").wills.entry(message.event).or_insert(arrived);
        }
        if message.retained || message.content == MessageContent::Will {
            return;
        }
        let at = match &message.after_probe {
            Some(_) => arrived,
            None => match self.alive_by(message) {
                Some(heard) => heard,
                None => return,
            },
        };
        let watched = self.watched.get_mut(&message.device).expect("watched");
        if watched.contact.is_some_and(|known| known.0 >= at) {
            return;
        }
        watched.contact = Some((at, message.event));
        let Some(open) = watched.lost.clone() else { return };
        let Some((over, over_by_will)) = self.over(&message.device) else { return };
        if over.max(over_by_will) < 0 {
            self.say(&open, true);
            let watched = self.watched.get_mut(&message.device).expect("watched");
            (watched.lost, watched.was_lost) = (None, Some(open.id));
        }
    }

    fn press(&mut self, message: &MessageRecord, probe: Option<&ProbeRef>, arrived: i64) {
        let press = message.press.as_ref().expect("a press");
        let carried = self.speaks_for(message);
        // By the receiver's count where no probe has come for 5 s; each for itself where none has for ten minutes.
        let counted = press.counted.map(|it| message.event.counted(&message.ingester, it.incarnation, it.counter));
        let quiet = press.counted.map_or(0, |counted| counted.quiet_millis);
        let came = match probe {
            Some(probe) => Some((probe.sent_at.get() + quiet).min(self.now)),
            None => (quiet > 60_000).then_some(message.received_at.get()),
        };
        let known = self.presses.get(&(message.event, carried)).copied();
        let last = match (known, came) {
            (Some(known), came) => known.max(came.unwrap_or(known)),
            (None, came) => came.unwrap_or(arrived),
        };
        self.presses.insert((message.event, carried), last);
        let other_way = self.presses.get(&(message.event, !carried)).copied();
        let by_now = known.or(other_way.filter(|last| came.is_some_and(|came| came - last > AGAIN)));
        let event = match (by_now, came) {
            _ if quiet > AGAIN => counted.expect("what is quiet is counted"),
            (None, _) => message.event,
            (Some(known), Some(came)) if came - known > AGAIN => match (counted, probe) {
                (Some(counted), _) => counted,
                (None, probe) => message.event.raised_again(probe.expect("it came after one")),
            },
            (Some(_), _) => return,
        };
        if quiet > AGAIN && !self.doubled.insert((event, carried)) {
            return;
        }
        let sent_to = message.press.as_ref().expect("a press").centre.to_string();
        let mut centres = BTreeSet::from([sent_to]);
        centres.extend(match self.book.device(&message.device) {
            Some(entry) if self.speaks_for(message) => Some(entry.centre.to_string()),
            Some(_) => self.book.feed(&message.feed).map(|feed| feed.fallback_centre.to_string()),
            None => None,
        });
        let id = duress_id(&message.device, event);
        for centre in centres {
            let words = words(Kind::Duress, &format!("{} ", message.device), &centre, 2, (false, None, None), &[]);
            self.told.push(Told { record: self.record, id, words });
        }
    }

    fn battery(&mut self, device: &DeviceId, percent: u8, event: EventId, told: i64) {
        let Some(rule) = self.book.device(device).map(|entry| entry.rules.battery_low) else { return };
        let open = self.watched[device].battery.clone();
        match (rule, open) {
            (Some(rule), Some(open)) if percent >= rule.clear_percent => {
                self.say(&open, true);
                self.watched.get_mut(device).expect("watched").battery = None;
            }
            (Some(rule), None) if percent <= rule.low_percent => {
                let late = Some(self.appended.0 - told).filter(|age| *age > LATE);
                let open = self.open(device, Kind::BatteryLow, "", (event, None), late);
                self.say(&open, false);
                self.watched.get_mut(device).expect("watched").battery = Some(open);
            }
            (_, _) => {}
        }
    }
}

// ---- fences ----

/// What a fix says of a fence.
#[derive(Clone, Copy)]
enum Verdict {
    Inside { certain: bool },
    Outside,
    AsBefore,
}

fn side(fence: &Fence, fix: &SeenFix) -> Verdict {
    let (d, a) = (fence.signed_distance_metres(fix.position), fix.accuracy.min(100.0));
    let entered = if fence.meaning == Meaning::KeepOut { d - a < 0.0 } else { d <= 0.0 };
    if d - a > fence.buffer_metres {
        Verdict::Outside
    } else if entered {
        Verdict::Inside { certain: d + a < 0.0 }
    } else {
        Verdict::AsBefore
    }
}

impl Oracle {
    /// All fences of a device, or one that it sees for the first time.
    fn judge_fences(&mut self, device: &DeviceId, fix: SeenFix, seen_at: i64, rulebook_at: Option<i64>, new: Option<&str>) {
        if self.watched[device].owner.is_none() {
            return;
        }
        for fence in self.fences(device).into_iter().filter(|fence| new.is_none_or(|new| fence.name.as_str() == new)) {
            let verdict = side(&fence, &fix);
            let watched = self.watched.get_mut(device).expect("watched");
            let (judged, state) = (watched.judged, watched.fences.entry(fence.name.to_string()).or_default());
            if (!judged || new.is_some()) && fence.meaning != Meaning::KeepOut {
                let plainly_near = fence.signed_distance_metres(fix.position) <= fence.buffer_metres;
                let stays = plainly_near && matches!(fence.meaning, Meaning::KeepIn | Meaning::SafeZone);
                state.inside = match verdict {
                    Verdict::Inside { .. } => true,
                    Verdict::Outside => false,
                    Verdict::AsBefore => stays,
                };
                continue;
            }
            let plainly_inside = fence.signed_distance_metres(fix.position) <= fence.buffer_metres;
            state.open_question = matches!(verdict, Verdict::AsBefore);
            let (inside, certain) = match verdict {
                Verdict::Inside { certain } => (true, certain),
                Verdict::Outside => (false, true),
                Verdict::AsBefore if state.pending.is_some() => (state.inside && plainly_inside, false),
                Verdict::AsBefore => (state.inside, false),
            };
            state.pending = (inside != state.inside).then_some(match state.pending {
                Some((first, at, book, grade)) => (first, at, book, grade || certain),
                None => (fix, seen_at, rulebook_at, certain),
            });
            let doubtful = state.open.clone().filter(|open| open.kind == Kind::FenceEntered && open.certain == Some(false));
            if let (Verdict::Inside { certain: true }, Some(open)) = (verdict, doubtful) {
                let open = Open { certain: Some(true), ..open };
                state.open = Some(open.clone());
                self.say(&open, false);
            }
        }
        self.watched.get_mut(device).expect("watched").judged = true;
        self.dwell(device, Some((fix, seen_at, fix.dated && rulebook_at.is_none())), new);
    }

    /// Fires the edges that have held: by time heard since they were seen, or by a later fix.
    fn dwell(&mut self, device: &DeviceId, latest: Option<(SeenFix, i64, bool)>, only: Option<&str>) {
        let Some((tenant, ..)) = self.watched[device].owner.clone() else { return };
        for fence in self.fences(device).into_iter().filter(|fence| only.is_none_or(|only| fence.name.as_str() == only)) {
            let name = fence.name.to_string();
            let Some(state) = self.watched[device].fences.get(&name) else { continue };
            let Some((first, seen_at, rulebook_at, certain)) = state.pending.filter(|_| !state.open_question) else { continue };
            let (inside, open) = (state.inside, state.open.clone());
            let heard = self.heard_since(&tenant, seen_at) - latest.map_or(0, |(_, at, _)| self.heard_since(&tenant, at));
            let began = if first.dated || rulebook_at.is_some() { first.at } else { seen_at };
            let held = latest.map_or(heard, |(fix, ..)| heard.max(fix.at - began));
            // After a gap the word that undoes it may still be on its way; a fix that shows it again is that word, unless it may be of before.
            let waits_for_word = self.last_gap_end(&tenant).is_some_and(|end| seen_at < end) && self.is_in_grace(&tenant);
            let held = match latest {
                Some((fix, _, true)) if waits_for_word => fix.at - began,
                _ => held,
            };
            let waits = if latest.is_none() && waits_for_word { POSTPONED } else { 0 };
            if held < fence.dwell_millis + waits {
                continue;
            }
            if let Some(open) = &open {
                self.say(open, true);
            }
            let entering = !inside;
            let tells = match fence.meaning {
                Meaning::KeepIn | Meaning::SafeZone => !entering,
                Meaning::KeepOut => entering,
                Meaning::Notify => true,
            };
            let kind = if entering { Kind::FenceEntered } else { Kind::FenceExited };
            let late = Some(first.appended - rulebook_at.unwrap_or(first.at)).filter(|age| *age > LATE);
            let raised = tells.then(|| {
                let open = self.open(device, kind, &name, (first.event, rulebook_at), late);
                Open { certain: Some(certain), ..open }
            });
            if let Some(open) = &raised {
                self.say(open, false);
            }
            let watched = self.watched.get_mut(device).expect("watched");
            watched.fences.insert(name, Side { inside: entering, open: raised, ..Side::default() });
        }
    }

    // ---- rulebooks ----

    fn install(&mut self, book: Arc<Rulebook>) {
        let owned = self.watched.iter().filter(|(_, watched)| watched.owner.is_some());
        let silences: BTreeMap<DeviceId, i64> = owned.map(|(device, _)| (device.clone(), self.silence(device))).collect();
        self.book = book;
        let book = Arc::clone(&self.book);
        self.reach.retain(|tenant, _| book.tenant(tenant).is_some());
        self.eras.retain(|tenant, _| book.tenant(tenant).is_some());
        for tenant in book.tenants() {
            self.change_feeds(&tenant.name, &tenant.feeds);
        }
        self.measure();
        for feed in book.feeds() {
            self.feeds.entry(feed.name.clone()).or_insert(self.appended.0);
        }
        for entry in book.devices() {
            self.watched.entry(entry.id.clone()).or_default();
        }
        let devices: Vec<DeviceId> = self.watched.keys().cloned().collect();
        for device in devices {
            let entry = book.device(&device);
            let had = self.watched[&device].owner.clone();
            let spoke = self.watched[&device].feed.as_ref().and_then(|feed| book.feed(feed));
            let of_others = spoke.zip(entry).is_some_and(|(feed, entry)| !feed.tenants.contains(&entry.tenant));
            if had.is_none() && of_others {
                let watched = self.watched.get_mut(&device).expect("watched");
                *watched = Watched { feed: watched.feed.clone(), ..Watched::default() };
            }
            let moved = had.as_ref().is_some_and(|had| entry.is_none_or(|entry| entry.tenant != had.0));
            if moved {
                self.release(&device);
            }
            let Some(entry) = entry else {
                self.watched.get_mut(&device).expect("watched").owner = None;
                continue;
            };
            let reached = self.reach.get(&entry.tenant).map(|reach| reach.frontier);
            let watched = &self.watched[&device];
            let (since, brought) = match had {
                Some((_, _, since, brought)) if !moved => (since, brought),
                Some(_) => (reached, Some(silences[&device])),
                None => {
                    let silence = |(at, event)| Alert::id_of(Some(&device), Kind::LostContact, "", Some(event), Some(at));
                    let was_told = watched.contact.is_some_and(|contact| watched.was_lost == Some(silence(contact)));
                    (reached, (!was_told).then_some(0))
                }
            };
            let watched = self.watched.get_mut(&device).expect("watched");
            watched.owner = Some((entry.tenant.clone(), entry.entry, since, brought));
            self.regroup(&device);
            let watched = self.watched.get_mut(&device).expect("watched");
            let off = entry.rules.lost_contact.is_none();
            if let Some(open) = watched.lost.clone().filter(|_| off) {
                (watched.lost, watched.was_lost) = (None, Some(open.id));
                self.say(&open, true);
            }
            let watched = &self.watched[&device];
            if let Some(fix) = watched.fix.filter(|_| !watched.judged) {
                self.judge_fences(&device, fix, self.appended.0, Some(self.appended.0), None);
            }
            self.hand_over(&device);
        }
    }

    /// The device leaves its tenant: what is open there clears.
    fn release(&mut self, device: &DeviceId) {
        let watched = self.watched.get_mut(device).expect("watched");
        watched.judged = false;
        watched.was_lost = watched.lost.as_ref().map(|open| open.id).or(watched.was_lost);
        let fences = std::mem::take(&mut watched.fences).into_values().filter_map(|side| side.open);
        let open: Vec<Open> = fences.chain(watched.lost.take()).chain(watched.battery.take()).collect();
        for open in open {
            self.say(&open, true);
        }
    }
}
