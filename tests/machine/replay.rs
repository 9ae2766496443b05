//! The same journal twice: the same alerts byte for byte, the same hash chain, from any point of a copy (P6).

use std::sync::Arc;

use lonewatch::alert::{Alert, CentreMessage, Kind};
use lonewatch::journal::{Partition, PartitionCount, Record};
use lonewatch::machine::{Actions, Machine, Start, chain};
use lonewatch::rulebook::Rulebook;
use lonewatch::time::AppendMillis;

use crate::generate::{Journal, journal};

pub(crate) fn machine() -> Machine {
    Machine::new(Partition(0), PartitionCount::new(1).expect("at least one"), Start::Whole)
}

/// Applies one record, handing over the version that it names; the alerts.
pub(crate) fn apply(machine: &mut Machine, journal: &Journal, at: usize) -> Vec<Alert> {
    let (appended, record) = &journal.records[at];
    if let Some(version) = machine.awaits(record) {
        let book = journal.books.iter().find(|book| book.version() == version).expect("a version of the journal");
        machine.install(Arc::clone(book));
    }
    let mut actions = Actions::default();
    machine.apply(i64::try_from(at).expect("few"), AppendMillis::new(*appended), record, &mut actions);
    actions.alerts
}

/// What a run says: every alert's bytes, and the chain after every record.
#[derive(Default, PartialEq)]
struct Run {
    bytes: Vec<Vec<u8>>,
    chain: Vec<[u8; 32]>,
}

impl Run {
    fn on(&mut self, machine: &mut Machine, journal: &Journal, from: usize) {
        for at in from..journal.records.len() {
            let alerts = apply(machine, journal, at);
            let previous = self.chain.last().copied().unwrap_or_default();
            self.chain.push(chain(previous, machine.state_hash(), &alerts));
            self.bytes.extend(alerts.into_iter().map(|alert| CentreMessage::Alert(Box::new(alert)).to_json()));
        }
    }
}

#[test]
fn a_journal_read_twice_says_the_same_byte_for_byte() {
    let mut said = 0;
    for seed in 0..4 {
        let journal = journal(seed, 300);
        let (mut once, mut twice) = (Run::default(), Run::default());
        once.on(&mut machine(), &journal, 0);
        twice.on(&mut machine(), &journal, 0);
        assert!(once == twice, "seed {seed}");
        said += once.bytes.len();
    }
    assert!(said > 100, "only {said} alerts: the journals are too quiet to prove anything");
}

#[test]
fn a_copy_of_the_machine_goes_on_as_the_machine_does() {
    for seed in 20..22 {
        let journal = journal(seed, 150);
        let mut whole = machine();
        let mut run = Run::default();
        for at in 0..journal.records.len() {
            if at % 60 == 17 {
                let mut copy = whole.clone();
                let (mut rest, mut expected) = (Run::default(), Run::default());
                rest.on(&mut copy, &journal, at);
                expected.on(&mut whole.clone(), &journal, at);
                assert!(rest == expected, "seed {seed} from record {at}");
            }
            let alerts = apply(&mut whole, &journal, at);
            run.bytes.extend(alerts.into_iter().map(|alert| CentreMessage::Alert(Box::new(alert)).to_json()));
        }
        assert!(!run.bytes.is_empty(), "seed {seed}");
    }
}

#[test]
fn every_record_leaves_its_mark_in_the_hash() {
    // Two machines that differ by one record, and are then brought to the same offset and time, must differ in their hash wherever
    // that record can matter to what is said later.
    for seed in 40..43 {
        let journal = journal(seed, 120);
        let mut base = machine();
        for at in 0..100 {
            apply(&mut base, &journal, at);
        }
        let version = base.rulebook_version();
        let unknown = Rulebook::empty();
        let base_book = journal.books.iter().find(|book| book.version() == version).map_or(&unknown, |book| book);
        let last = journal.records[..100].iter().map(|(at, _)| *at).max().expect("a hundred");
        for at in 100..journal.records.len() {
            let record = &journal.records[at].1;
            let matters = match record {
                Record::Message(message) => {
                    let copy = |record: &Record| matches!(record, Record::Message(known) if known.event == message.event);
                    base_book.carries(&message.feed, &message.device)
                        && !message.retained
                        && message.after_probe.is_some()
                        && !journal.records[..100].iter().any(|(_, known)| copy(known))
                }
                Record::Observation(_) | Record::Metronome { .. } | Record::Action => false,
            };
            if !matters {
                continue;
            }
            let after = |record: &Record| {
                let mut machine = base.clone();
                machine.apply(100, AppendMillis::new(last), record, &mut Actions::default());
                machine.state_hash()
            };
            let idle = after(&Record::Metronome { detector: "d".to_owned() });
            assert_ne!(after(record), idle, "seed {seed}, record {at}: {record:?}");
        }
    }
}

#[test]
fn every_alert_names_its_reasons() {
    let mut read = std::collections::BTreeSet::new();
    for seed in 100..110 {
        let journal = journal(seed, 300);
        let mut machine = machine();
        for at in 0..journal.records.len() {
            if let Record::Message(message) = &journal.records[at].1 {
                read.insert(message.event);
            }
            for alert in apply(&mut machine, &journal, at) {
                let reason = &alert.reason;
                assert!(reason.rule == alert.kind.as_str() && !reason.text.is_empty(), "seed {seed}: {alert:?}");
                assert!(
                    reason.rulebook_version.is_some_and(|version| version <= machine.rulebook_version()),
                    "seed {seed}: {alert:?}"
                );
                let of_records = reason.records.iter().any(|record| read.contains(&record.event));
                // Silence of a device never heard rests on its rulebook entry; what is wrong with ourselves on nothing that a device sent.
                let of_none = matches!(alert.kind, Kind::LostContact | Kind::Blind | Kind::ClockFault | Kind::IngestFault);
                assert!(of_records || of_none, "seed {seed}: {alert:?}");
                assert_eq!(reason.limits.is_empty(), alert.kind == Kind::Duress, "seed {seed}: {alert:?}");
            }
        }
    }
}
