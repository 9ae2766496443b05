//! Tells a story to a machine: makes its records, and collects what the machine says.

use std::collections::BTreeMap;
use std::sync::Arc;

use lonewatch::alert::{Alert, Lane};
use lonewatch::device::{Decoder, Fix, RejectReason, Report, Signal, Signals};
use lonewatch::ids::{CentreName, DeviceId, EventId, FeedName, Incarnation, IngesterName, Origin, ProbeRef};
use lonewatch::journal::{
    Counted, Heard, IngestFault, MessageContent, MessageRecord, Observation, Partition, PartitionCount, Press, Record,
};
use lonewatch::machine::{Actions, Machine, Outcome, Start};
use lonewatch::rulebook::Rulebook;
use lonewatch::time::{AppendMillis, DeviceMillis, IngestMillis, ProbeMillis};

use crate::rules::Rules;
use crate::script::{Line, Script, Step, duration, number, place, time};
use crate::show::Shown;

/// A story under way.
pub(crate) struct World {
    machine: Machine,
    rules: Rules,
    rulebook: Arc<Rulebook>,
    offset: i64,
    counter: u64,
    alerts: Vec<Alert>,
    outcomes: BTreeMap<Outcome, usize>,
}

/// What a story's centre is told, line by line.
pub(crate) fn tell(text: &str) -> String {
    let script = Script::parse(text);
    let mut world = World::new(&script);
    for step in script.steps() {
        let line = &script.lines[step.line];
        world.step(Step { appended: step.appended + line.leap, ..step }, line);
    }
    let mut shown = Shown::default();
    let is_shown =
        |alert: &&Alert| script.only.is_none() || alert.device.as_ref().map(DeviceId::as_str) == script.only.as_deref();
    let mut lines: Vec<String> = world.alerts.iter().filter(is_shown).map(|alert| shown.line(alert)).collect();
    if script.outcomes {
        let outcomes = world.outcomes.iter().filter(|(outcome, _)| **outcome != Outcome::Metronome);
        let outcomes: Vec<String> = outcomes.map(|(outcome, count)| format!("{} {count}", outcome.as_str())).collect();
        lines.push(format!("outcomes: {}", outcomes.join(", ")));
    }
    lines.join("\n")
}

impl World {
    fn new(script: &Script) -> Self {
        let mut rules = Rules::new();
        for line in &script.rules {
            rules.set(line);
        }
        let rulebook = rules.apply();
        let (here, count) = script.partition;
        let start = if script.truncated { Start::Truncated } else { Start::Whole };
        let machine = Machine::new(Partition(here), PartitionCount::new(count).expect("at least one"), start);
        let (alerts, outcomes) = (Vec::new(), BTreeMap::new());
        Self { machine, rules, rulebook, offset: 0, counter: 0, alerts, outcomes }
    }

    fn apply(&mut self, appended: i64, record: &Record) {
        if let Some(version) = self.machine.awaits(record) {
            assert_eq!(version, self.rulebook.version(), "a story names no version but its newest");
            self.machine.install(Arc::clone(&self.rulebook));
        }
        let mut actions = Actions::default();
        self.machine.apply(self.offset, AppendMillis::new(appended), record, &mut actions);
        self.offset += 1;
        self.alerts.append(&mut actions.alerts);
        for outcome in actions.outcomes {
            *self.outcomes.entry(outcome).or_default() += 1;
        }
    }

    fn step(&mut self, step: Step, line: &Line) {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["tick"] => self.apply(step.appended, &Record::Metronome { detector: "d".to_owned() }),
            ["rules", changes @ ..] => {
                for change in changes.split(|word| *word == ";") {
                    match change {
                        ["+", line @ ..] => self.rules.set(&line.join(" ")),
                        ["-", kind, name] => self.rules.remove(kind, name),
                        _ => panic!("rules + LINE, or - KIND NAME; several with ; between"),
                    }
                }
                self.rulebook = self.rules.apply();
                let feed = self.rulebook.feeds().next().expect("a story has a feed").name.clone();
                self.observe(step.appended, ("a", 1), feed, Vec::new(), Vec::new());
            }
            ["hear", ingester, feed, rest @ ..] => self.hear(step, line, ingester, feed, rest),
            ["fault", ingester, feed, faults @ ..] => self.fault(step, ingester, feed, faults),
            ["crowd", count, rest @ ..] => {
                for n in 0..number::<u32>(count) {
                    self.message(step, line, &format!("x-{n}"), rest);
                }
            }
            [device, rest @ ..] => self.message(step, line, device, rest),
            [] => panic!("a time without a deed"),
        }
    }

    fn observe(
        &mut self,
        appended: i64,
        (ingester, run): (&str, u64),
        feed: FeedName,
        heard: Vec<Heard>,
        faults: Vec<IngestFault>,
    ) {
        let (rulebook_version, incarnation) = (self.rulebook.version(), Incarnation(run));
        let ingester = IngesterName::parse(ingester).expect("a name");
        let observation = Observation { feed, ingester, incarnation, rulebook_version, heard, faults };
        self.apply(appended, &Record::Observation(observation));
    }

    fn hear(&mut self, step: Step, line: &Line, ingester: &str, feed: &str, rest: &[&str]) {
        let word = |name: &str| value(rest, name);
        let from = word("from").map_or(line.from, |text| time(text, step.happens));
        let to = word("to").map_or(step.happens, |text| time(text, step.happens));
        let lanes: Vec<Lane> = Lane::ALL.into_iter().filter(|lane| rest.contains(&lane.as_str())).collect();
        let lanes = if lanes.is_empty() { Lane::ALL.to_vec() } else { lanes };
        let heard =
            lanes.into_iter().map(|lane| Heard { lane, from: ProbeMillis::new(from), to: ProbeMillis::new(to) }).collect();
        let run = word("run").map_or(1, number);
        self.observe(step.appended, (ingester, run), FeedName::parse(feed).expect("a name"), heard, Vec::new());
    }

    fn fault(&mut self, step: Step, ingester: &str, feed: &str, faults: &[&str]) {
        let fault = |word: &&str| match *word {
            "clock" => IngestFault::Clock,
            "taken-over" => IngestFault::TakenOver,
            other => panic!("{other:?} is no fault of an ingester"),
        };
        let faults = faults.iter().map(fault).collect();
        self.observe(step.appended, (ingester, 1), FeedName::parse(feed).expect("a name"), Vec::new(), faults);
    }

    fn message(&mut self, step: Step, line: &Line, device: &str, words: &[&str]) {
        for ingester in value(words, "via").unwrap_or("a").split(',') {
            let record = self.record(step, line, device, ingester, words);
            self.apply(step.appended, &Record::Message(Box::new(record)));
        }
    }

    fn record(&mut self, step: Step, told_by: &Line, device: &str, ingester: &str, words: &[&str]) -> MessageRecord {
        self.counter += 1;
        let device = DeviceId::parse(device).expect("a device id");
        let ingester = IngesterName::parse(ingester).expect("a name");
        let feed = value(words, "feed").map_or_else(
            || self.rulebook.feeds().next().expect("a story has a feed").name.clone(),
            |feed| FeedName::parse(feed).expect("a name"),
        );
        let second = step.happens.div_euclid(1_000) * 1_000;
        let after = value(words, "after").map_or(Some(second), |text| (text != "none").then(|| time(text, step.happens)));
        let after_probe = after.map(probe);
        let content = content(step, told_by, words);
        let connected_at = value(words, "connected").map_or(told_by.from, |text| time(text, step.happens));
        let quiet = (after.is_none() || words.contains(&"unproven")).then(|| step.happens - after.unwrap_or(connected_at));
        let (incarnation, counter) = (Incarnation(1), self.counter);
        let unproven = quiet.map(|quiet_millis| Counted { incarnation, counter, quiet_millis });
        let press = words.contains(&"press").then(|| Press { centre: self.centre(&device, &feed, words), counted: unproven });
        let own_id = match &content {
            MessageContent::Report(report) => report.own_id.clone(),
            MessageContent::Will | MessageContent::Other | MessageContent::Unreadable(_) => None,
        };
        let origin = match (own_id, &after_probe) {
            (Some(id), probe) => Origin::own(id, probe.as_ref().map_or(step.happens, |probe| probe.sent_at.get())),
            (None, Some(probe)) => Origin::AfterProbe(probe.clone()),
            (None, None) => Origin::Counted { after_probe: None, ingester: ingester.clone(), incarnation, counter },
        };
        let lane = if press.is_some() { Lane::Duress } else { Lane::Reports };
        let payload = format!("{content:?} {:?}", value(words, "at"));
        let event = EventId::of(&device, &origin, lane.as_str(), payload.as_bytes());
        let carried = self.rulebook.carries(&feed, &device);
        MessageRecord {
            event: if carried { event } else { event.through(&feed) },
            device,
            feed,
            lane,
            ingester,
            received_at: IngestMillis::new(step.happens),
            connected_at: IngestMillis::new(connected_at),
            past_probe_millis: after.filter(|_| words.contains(&"qos0")).map_or(0, |after| step.happens - after),
            after_probe,
            retained: words.contains(&"retained"),
            decoder: Decoder::Native,
            content,
            press,
        }
    }

    fn centre(&self, device: &DeviceId, feed: &FeedName, words: &[&str]) -> CentreName {
        if let Some(centre) = value(words, "to") {
            return CentreName::parse(centre).expect("a name");
        }
        let carried = self.rulebook.device(device).filter(|_| self.rulebook.carries(feed, device));
        let of_device = carried.map(|entry| entry.centre.clone());
        of_device.unwrap_or_else(|| self.rulebook.feed(feed).expect("a feed of the story").fallback_centre.clone())
    }
}

/// The word after a word.
fn value<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == name)?;
    Some(words.get(at + 1).unwrap_or_else(|| panic!("{name} wants a value")))
}

/// The probe that was sent then.
pub(crate) fn probe(sent_at: i64) -> ProbeRef {
    let ingester = IngesterName::parse("a").expect("a name");
    ProbeRef { ingester, incarnation: Incarnation(1), number: sent_at.unsigned_abs() / 1_000, sent_at: ProbeMillis::new(sent_at) }
}

fn content(step: Step, line: &Line, words: &[&str]) -> MessageContent {
    if words.contains(&"will") {
        return MessageContent::Will;
    }
    if words.contains(&"junk") || words.contains(&"unreadable") {
        return MessageContent::Unreadable(RejectReason::NotUtf8);
    }
    let at = |name: &str| value(words, name).map(|text| DeviceMillis::new(time(text, step.happens)));
    let fix = value(words, "at").map(|text| Fix {
        position: place(text),
        at: at("time"),
        accuracy_cm: value(words, "acc").map_or(1_000, |text| number::<u32>(text) * 100),
        altitude_cm: None,
        speed_cm_s: None,
        course_cdeg: None,
    });
    let signals = if words.contains(&"sos") { Signals::default().with(Signal::Sos) } else { Signals::default() };
    let each = (step.happens - line.from) / line.every.max(1);
    MessageContent::Report(Box::new(Report {
        own_id: value(words, "id").map(|text| if text == "each" { format!("id-{each}") } else { text.to_owned() }),
        boot: value(words, "boot").map(number),
        sequence: value(words, "seq").map(|text| if text == "each" { each.unsigned_abs() } else { number(text) }),
        happened: if fix.is_some() { None } else { at("time") },
        sent: at("sent"),
        fix,
        battery_percent: value(words, "battery").map(number),
        signals,
        ..Report::default()
    }))
}

#[test]
fn a_story_is_told_in_order() {
    assert_eq!(duration("2m"), 120_000);
    let told =
        tell("centre north\nfeed main tenants acme fallback north\ntenant acme centre north grace 0s\n09:00:00 dev-1 press");
    assert_eq!(told, "09:00:00 duress dev-1 rev 2 active -> north #1 press 1 of #1");
}
