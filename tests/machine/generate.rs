//! Journals by seed: two tenants on two feeds, each heard by two ingesters; devices that report, press, repeat themselves, buffer,
//! fall silent, with and without a will, and come back; lanes that stand still, ingesters that restart, Kafka that stands still; rulebooks that change.

use std::sync::Arc;

use lonewatch::alert::Lane;
use lonewatch::device::{Decoder, Fix, RejectReason, Report};
use lonewatch::ids::{CentreName, DeviceId, EventId, FeedName, Incarnation, IngesterName, Origin, ProbeRef};
use lonewatch::journal::{Counted, Heard, IngestFault, MessageContent, MessageRecord, Observation, Press, Record};
use lonewatch::rulebook::Rulebook;
use lonewatch::time::{DeviceMillis, IngestMillis, ProbeMillis};

use crate::chance::Chance;
use crate::rules::Rules;
use crate::script::{DAY, metres};
use crate::world::probe;

/// A journal and the rulebook versions that its observations name.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) books: Vec<Arc<Rulebook>>,
    /// Append time and record; the offset is the index.
    pub(crate) records: Vec<(i64, Record)>,
}

const RULES: [&str; 10] = [
    "centre north",
    "centre south",
    "feed main tenants acme,beta fallback north",
    "feed other tenants beta fallback south",
    "tenant acme centre north silence 20s grace 15s will 5s",
    "tenant beta centre south silence 90s grace 10s will 40s",
    "fence depot tenant acme meaning keep_in circle 0,0,200 dwell 0s buffer 15",
    "fence school tenant acme meaning keep_out circle 300,0,150 dwell 8s buffer 10",
    "fence shop tenant beta meaning notify circle 0,0,250 dwell 5s buffer 15 stage shadow",
    "fence yard tenant acme group visitors meaning keep_out circle -100,0,150 dwell 3s buffer 10",
];

/// One ingester on one feed's lane.
struct Ear {
    feed: FeedName,
    lane: Lane,
    ingester: IngesterName,
    /// Since when it hears without a break; none while it is down.
    from: Option<i64>,
}

/// A message that was sent and may be sent again.
type Sent = (DeviceId, FeedName, Lane, MessageContent, Option<Press>, String);

struct Maker {
    chance: Chance,
    rules: Rules,
    journal: Journal,
    named: i64,
    now: i64,
    /// When Kafka appended last, leaps apart, and whether its clock leaps.
    last: i64,
    leaps: bool,
    /// Until when Kafka stands still.
    stalled_until: i64,
    ears: Vec<Ear>,
    devices: Vec<DeviceId>,
    silent_until: Vec<i64>,
    /// Wills that the brokers will send, and when.
    wills: Vec<(i64, usize)>,
    counter: u64,
    again: Option<Sent>,
}

/// The journal of a seed, about so many records long.
pub(crate) fn journal(seed: u64, records: usize) -> Journal {
    let mut maker = Maker::new(seed);
    while maker.journal.records.len() < records {
        maker.second();
    }
    maker.journal.records.truncate(records);
    maker.journal
}

fn name(text: &str) -> IngesterName {
    IngesterName::parse(text).expect("a name")
}

impl Maker {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut rules = Rules::new();
        for line in RULES {
            rules.set(line);
        }
        let count = chance.between(20, 50);
        let mut devices = Vec::new();
        for n in 0..count {
            rules.set(&format!("device dev-{n} tenant {}", if n % 2 == 0 { "acme" } else { "beta" }));
            devices.push(DeviceId::parse(&format!("dev-{n}")).expect("an id"));
        }
        devices.push(DeviceId::parse("nobody-1").expect("an id"));
        let book = rules.apply();
        let mut ears = Vec::new();
        for feed in ["main", "other"] {
            for lane in Lane::ALL {
                for ingester in ["a", "b"] {
                    let feed = FeedName::parse(feed).expect("a name");
                    ears.push(Ear { feed, lane, ingester: name(ingester), from: Some(DAY) });
                }
            }
        }
        let silent_until = devices.iter().map(|_| if chance.percent(10) { DAY + chance.between(0, 90_000) } else { 0 }).collect();
        let (named, now, stalled_until) = (book.version(), DAY, 0);
        let journal = Journal { books: vec![book], records: Vec::new() };
        let leaps = chance.percent(25);
        Self {
            last: i64::MIN,
            leaps,
            chance,
            rules,
            journal,
            named,
            now,
            stalled_until,
            ears,
            devices,
            silent_until,
            wills: Vec::new(),
            counter: 0,
            again: None,
        }
    }

    fn push(&mut self, record: Record) {
        let appended = (self.now + self.chance.between(0, 40)).max(self.stalled_until);
        // Kafka's clocks may differ between leaders: now and then an append time goes back.
        let appended = if self.chance.percent(2) { appended - 500 } else { appended.max(self.last) };
        self.last = appended;
        // And in some journals it leaps for a moment.
        let leap =
            if self.leaps && self.chance.percent(1) { self.chance.one_of(&[5_000, 30_000, 3_600_000, -30_000]) } else { 0 };
        self.journal.records.push((appended + leap, record));
    }

    fn second(&mut self) {
        self.now += 1_000 * self.chance.between(1, 2);
        if self.chance.percent(2) {
            self.stalled_until = self.now + 1_000 * self.chance.between(3, 25);
        }
        if self.chance.percent(60) {
            self.push(Record::Metronome { detector: "d".to_owned() });
        }
        for _ in 0..self.chance.between(0, 5) {
            self.report();
        }
        if self.chance.percent(8) {
            self.press();
        }
        self.send_wills();
        if self.chance.percent(1) {
            self.reassign();
        }
        if let Some(sent) = self.again.clone().filter(|_| self.chance.percent(40)) {
            self.send(&sent);
        }
        if self.chance.percent(4) {
            self.change();
        }
        self.listen();
    }

    /// Ears go down and come back; those that are up say how far they hear.
    fn listen(&mut self) {
        for at in 0..self.ears.len() {
            if self.chance.percent(if self.ears[at].from.is_some() { 2 } else { 15 }) {
                let up = self.ears[at].from.is_none();
                self.ears[at].from = up.then_some(self.now);
            }
        }
        if self.chance.percent(1) {
            self.ears.iter_mut().for_each(|ear| ear.from = None);
            if self.chance.percent(50) {
                // A broker that stops sends every will first.
                self.wills.extend((0..self.devices.len()).map(|at| (self.now, at)));
            }
        }
        for (feed, ingester) in [("main", "a"), ("main", "b"), ("other", "a"), ("other", "b")] {
            if !self.chance.percent(45) {
                continue;
            }
            let (feed, ingester) = (FeedName::parse(feed).expect("a name"), name(ingester));
            let ahead = if self.chance.percent(1) { 3_000 } else { 0 };
            let mine = self.ears.iter().filter(|ear| ear.feed == feed && ear.ingester == ingester);
            let heard = |ear: &Ear| {
                Some(Heard { lane: ear.lane, from: ProbeMillis::new(ear.from?), to: ProbeMillis::new(self.now + ahead) })
            };
            let heard: Vec<Heard> = mine.filter_map(heard).collect();
            let faults: Vec<IngestFault> = if self.chance.percent(4) {
                vec![self.chance.one_of(&[IngestFault::Clock, IngestFault::TakenOver])]
            } else {
                Vec::new()
            };
            if !(heard.is_empty() && faults.is_empty()) {
                self.observe(feed, ingester, heard, faults);
            }
        }
    }

    fn observe(&mut self, feed: FeedName, ingester: IngesterName, heard: Vec<Heard>, faults: Vec<IngestFault>) {
        let newest = self.journal.books.last().expect("one at least").version();
        // An ingester that has read less names an older version; the one in force never goes back.
        if self.chance.percent(70) {
            self.named = newest;
        }
        let rulebook_version = if self.chance.percent(95) { self.named } else { self.journal.books[0].version() };
        let observation = Observation { feed, ingester, incarnation: Incarnation(1), rulebook_version, heard, faults };
        self.push(Record::Observation(observation));
    }

    /// A device goes, comes back, is new, or gets another limit; or a feed has other tenants.
    fn change(&mut self) {
        if self.chance.percent(35) {
            let line = self.chance.one_of(&[
                "feed main tenants acme,beta fallback north",
                "feed main tenants acme fallback north",
                "feed other tenants acme,beta fallback south",
                "feed other tenants beta fallback south",
            ]);
            self.rules.set(line);
            return self.publish_rules();
        }
        let n = self.chance.between(0, 9);
        let tenant = if n % 2 == 0 { "acme" } else { "beta" };
        let line = match self.chance.between(0, 4) {
            0 => format!("device dev-{n} tenant {tenant} silence {}s", self.chance.between(5, 60)),
            1 => format!("device dev-{n} tenant {tenant} silence off"),
            2 => format!("device dev-{n} tenant {tenant} will {}s", self.chance.between(3, 40)),
            3 => format!("device new-{n} tenant {tenant}"),
            _ => format!("device dev-{n} tenant {}", if n % 2 == 0 { "beta" } else { "acme" }),
        };
        self.rules.set(&line);
        let id = DeviceId::parse(line.split(' ').nth(1).expect("a name")).expect("an id");
        if self.chance.percent(30) {
            self.rules.remove("device", id.as_str());
        }
        self.publish_rules();
    }

    fn publish_rules(&mut self) {
        // A change that changes nothing makes no version.
        let mut rules = self.rules.clone();
        rules.set(&format!("device stamp-{} tenant acme silence off", self.counter));
        self.counter += 1;
        let book = rules.apply();
        self.rules = rules;
        self.journal.books.push(book);
    }

    /// A tenant goes to another centre or changes its stage, or a device changes its group.
    fn reassign(&mut self) {
        let (n, centre) = (self.chance.between(0, 19), self.chance.one_of(&["north", "south"]));
        let stage = self.chance.one_of(&["", " stage shadow"]);
        let line = match self.chance.between(0, 4) {
            0 => format!("tenant acme centre {centre} silence 20s grace 15s will 5s{stage}"),
            1 => format!("tenant beta centre {centre} silence 90s grace 10s will 40s{stage}"),
            _ => format!("device dev-{n} tenant acme{}", self.chance.one_of(&["", " group visitors", " group visitors"])),
        };
        self.rules.set(&line);
        self.change();
    }

    fn feed_of(&mut self, device: usize) -> FeedName {
        let feed = if device % 2 == 1 && self.chance.percent(50) { "other" } else { "main" };
        FeedName::parse(feed).expect("a name")
    }

    fn report(&mut self) {
        let at =
            usize::try_from(self.chance.between(0, i64::try_from(self.devices.len()).expect("few") - 1)).expect("not negative");
        if self.silent_until[at] > self.now {
            return;
        }
        if self.chance.percent(4) {
            self.silent_until[at] = self.now + 1_000 * self.chance.between(20, 120);
            if self.chance.percent(60) {
                self.wills.push((self.now + 1_000 * self.chance.between(0, 10), at));
            }
        }
        let fix = self.chance.percent(70);
        let dated = self.chance.percent(50);
        let wrong = self.chance.one_of(&[0, 0, 500, -7_000_000_000, 400_000_000_000]);
        let age = self.chance.one_of(&[0, 0, 0, 1_000, 4_000, 30_000, 200_000]);
        let device_now = DeviceMillis::new(self.now + wrong);
        let taken = DeviceMillis::new(self.now + wrong - age);
        let fix = fix.then(|| Fix {
            position: metres(f64::from(self.chance.small(-500, 700)), f64::from(self.chance.small(-60, 60))),
            at: dated.then_some(taken),
            accuracy_cm: u32::try_from(self.chance.between(100, 15_000)).expect("not negative"),
            altitude_cm: None,
            speed_cm_s: None,
            course_cdeg: None,
        });
        self.counter += 1;
        let report = Report {
            own_id: self.chance.percent(30).then(|| format!("m-{}", self.counter)),
            happened: (dated && fix.is_none()).then_some(taken),
            sent: dated.then_some(device_now),
            battery_percent: self.chance.percent(30).then(|| u8::try_from(self.chance.between(5, 30)).expect("a percentage")),
            fix,
            ..Report::default()
        };
        let own = report.own_id.is_some();
        let content = match self.chance.between(0, 99) {
            0..=2 => MessageContent::Will,
            3..=5 => MessageContent::Other,
            6..=7 => MessageContent::Unreadable(RejectReason::NotJson),
            _ => MessageContent::Report(Box::new(report)),
        };
        let sent = (self.devices[at].clone(), self.feed_of(at), Lane::Reports, content, None, format!("bytes {}", self.counter));
        self.send(&sent);
        self.again = own.then_some(sent);
    }

    fn send_wills(&mut self) {
        let (due, later) = std::mem::take(&mut self.wills).into_iter().partition(|(at, _)| *at <= self.now);
        self.wills = later;
        let due: Vec<(i64, usize)> = due;
        for (_, at) in due {
            self.counter += 1;
            let (device, feed, bytes) = (self.devices[at].clone(), self.feed_of(at), format!("bytes {}", self.counter));
            self.send(&(device, feed, Lane::Reports, MessageContent::Will, None, bytes));
        }
    }

    fn press(&mut self) {
        let at =
            usize::try_from(self.chance.between(0, i64::try_from(self.devices.len()).expect("few") - 1)).expect("not negative");
        let age = self.chance.one_of(&[0, 0, 5_000, 1_800_000]);
        let report = Report {
            own_id: self.chance.percent(50).then(|| format!("p-{}", self.counter % 3)),
            happened: Some(DeviceMillis::new(self.now - age)),
            sent: Some(DeviceMillis::new(self.now)),
            ..Report::default()
        };
        let junk = self.chance.percent(40);
        let content =
            if junk { MessageContent::Unreadable(RejectReason::NotUtf8) } else { MessageContent::Report(Box::new(report)) };
        let centre = CentreName::parse(self.chance.one_of(&["north", "north", "south"])).expect("a name");
        let sent = (
            self.devices[at].clone(),
            self.feed_of(at),
            Lane::Duress,
            content,
            Some(Press { centre, counted: None }),
            "help".to_owned(),
        );
        self.send(&sent);
        self.again = Some(sent);
    }

    /// One message, by one ingester or both.
    fn send(&mut self, sent: &Sent) {
        let (device, feed, lane, content, press, bytes) = sent;
        let report = if let MessageContent::Report(report) = content { Some(report) } else { None };
        let undated = report.is_none_or(|report| report.sent.is_none());
        let after: Option<ProbeRef> =
            (!(undated && self.chance.percent(3))).then(|| probe(self.now - 1_000 * i64::from(self.chance.percent(20))));
        // Now and then it came at QoS 0, past probes that wait.
        let past_probe_millis =
            if undated && press.is_none() && self.chance.percent(10) { self.chance.between(0, 40_000) } else { 0 };
        let retained = undated && press.is_none() && self.chance.percent(3);
        let own_id = report.and_then(|report| report.own_id.clone()).filter(|_| !retained);
        let connected_at = IngestMillis::new(if self.chance.percent(50) { DAY } else { self.now });
        for ingester in if self.chance.percent(70) { vec!["a", "b"] } else { vec!["b"] } {
            self.counter += 1;
            let (ingester, incarnation, counter) = (name(ingester), Incarnation(1), self.counter);
            let origin = match (own_id.clone(), after.clone()) {
                (Some(id), probe) => Origin::own(id, probe.map_or(self.now, |probe| probe.sent_at.get())),
                (None, Some(probe)) => Origin::AfterProbe(probe),
                (None, None) => Origin::Counted { after_probe: None, ingester: ingester.clone(), incarnation, counter },
            };
            // Now and then no probe comes for a while, or none has come on this connection.
            let quiet = match &after {
                Some(_) => press.as_ref().and(self.chance.percent(10).then(|| self.chance.between(6_000, 900_000))),
                None => Some(self.now - connected_at.get()),
            };
            let unproven = quiet.map(|quiet_millis| Counted { incarnation, counter, quiet_millis });
            let record = MessageRecord {
                event: EventId::of(device, &origin, lane.as_str(), bytes.as_bytes()),
                device: device.clone(),
                feed: feed.clone(),
                lane: *lane,
                ingester,
                received_at: IngestMillis::new(self.now),
                connected_at,
                after_probe: after.clone(),
                past_probe_millis,
                retained,
                decoder: Decoder::Native,
                content: content.clone(),
                press: press.clone().map(|press| Press { counted: unproven, ..press }),
            };
            self.push(Record::Message(Box::new(record)));
        }
    }
}
