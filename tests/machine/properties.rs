//! What holds for every sequence of records that can be written at all, sensible or not.

use lonewatch::alert::{Kind, Lane};
use lonewatch::device::{Decoder, Fix, RejectReason, Report};
use lonewatch::ids::{CentreName, DeviceId, EventId, FeedName, Incarnation, IngesterName, ProbeRef};
use lonewatch::journal::{Counted, Heard, IngestFault, MessageContent, MessageRecord, Observation, Press, Record};
use lonewatch::position::Position;
use lonewatch::time::{AppendMillis, DeviceMillis, IngestMillis, ProbeMillis};
use proptest::prelude::*;

use crate::generate::journal;
use crate::replay::{apply, machine};
use crate::script::DAY;

/// A time: of the story's day, or anything that fits the field.
fn millis() -> impl Strategy<Value = i64> {
    prop_oneof![8 => (0_i64..900_000).prop_map(|at| DAY + at), 1 => any::<i64>(), 1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0)]]
}

fn report() -> impl Strategy<Value = Report> {
    let times = (proptest::option::of(millis()), proptest::option::of(millis()), proptest::option::of(millis()));
    let place = (-900_000_000_i32..=900_000_000, -1_800_000_000_i32..=1_800_000_000);
    let near = (514_900_000_i32..515_100_000, -1_300_000_i32..-1_100_000);
    let fix = proptest::option::of((prop_oneof![place, near], any::<u32>()));
    (times, fix, proptest::option::of(0_u8..=100), proptest::option::of((any::<u32>(), any::<u64>()))).prop_map(
        |((happened, sent, at), fix, battery_percent, counted)| Report {
            happened: happened.map(DeviceMillis::new),
            sent: sent.map(DeviceMillis::new),
            fix: fix.map(|((lat, lon), accuracy_cm)| Fix {
                position: Position::from_e7(lat, lon).expect("within range"),
                at: at.map(DeviceMillis::new),
                accuracy_cm,
                altitude_cm: None,
                speed_cm_s: None,
                course_cdeg: None,
            }),
            battery_percent,
            boot: counted.map(|(boot, _)| boot),
            sequence: counted.map(|(_, sequence)| sequence),
            ..Report::default()
        },
    )
}

fn content() -> impl Strategy<Value = MessageContent> {
    prop_oneof![
        6 => report().prop_map(|report| MessageContent::Report(Box::new(report))),
        1 => Just(MessageContent::Will),
        1 => Just(MessageContent::Other),
        1 => Just(MessageContent::Unreadable(RejectReason::NotUtf8)),
    ]
}

fn message() -> impl Strategy<Value = Record> {
    let after = proptest::option::of((any::<u64>(), millis()));
    let counted = proptest::option::of((any::<u64>(), prop_oneof![0_i64..1_200_000, any::<i64>()]));
    (0_u8..12, 0_u8..6, content(), (after, counted), any::<bool>(), any::<bool>(), millis()).prop_map(
        |(device, event, content, (after, counted), retained, press, received)| {
            let incarnation = Incarnation(1);
            let counted = counted.map(|(counter, quiet_millis)| Counted { incarnation, counter, quiet_millis });
            let probe = |(number, at)| ProbeRef {
                ingester: IngesterName::parse("a").expect("a name"),
                incarnation: Incarnation(1),
                number,
                sent_at: ProbeMillis::new(at),
            };
            Record::Message(Box::new(MessageRecord {
                device: DeviceId::parse(&format!("dev-{device}")).expect("an id"),
                feed: FeedName::parse("main").expect("a name"),
                lane: if press { Lane::Duress } else { Lane::Reports },
                ingester: IngesterName::parse("a").expect("a name"),
                event: EventId([16 * device + event; 16]),
                received_at: IngestMillis::new(received),
                connected_at: IngestMillis::new(received),
                after_probe: after.map(probe),
                past_probe_millis: received,
                retained,
                decoder: Decoder::Native,
                content,
                press: press.then(|| Press { centre: CentreName::parse("north").expect("a name"), counted }),
            }))
        },
    )
}

fn record() -> impl Strategy<Value = (i64, Record)> {
    let heard = (any::<bool>(), millis(), millis()).prop_map(|(duress, from, to)| Heard {
        lane: if duress { Lane::Duress } else { Lane::Reports },
        from: ProbeMillis::new(from),
        to: ProbeMillis::new(to),
    });
    let fault = prop_oneof![Just(IngestFault::Clock), Just(IngestFault::TakenOver)];
    let faults = proptest::collection::vec(fault, 0..3);
    let observation = (proptest::collection::vec(heard, 0..4), faults).prop_map(|(heard, faults)| {
        let ingester = IngesterName::parse("b").expect("a name");
        let feed = FeedName::parse("main").expect("a name");
        Record::Observation(Observation { feed, ingester, incarnation: Incarnation(1), rulebook_version: 0, heard, faults })
    });
    let metronome = Just(Record::Metronome { detector: "d".to_owned() });
    (millis(), prop_oneof![4 => message(), 2 => observation, 1 => metronome])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// P1: every press is answered within its record, unless the same event was told within the last 10 min of probe time. And
    /// nothing panics, whatever the times.
    #[test]
    fn no_press_goes_unanswered_and_nothing_panics(records in proptest::collection::vec(record(), 0..60)) {
        let book = journal(0, 1).books.swap_remove(0);
        let mut journal = journal(0, 0);
        let named = Record::Observation(Observation {
            feed: FeedName::parse("main").expect("a name"),
            ingester: IngesterName::parse("a").expect("a name"),
            incarnation: Incarnation(1),
            rulebook_version: book.version(),
            heard: Vec::new(),
            faults: Vec::new(),
        });
        journal.records = vec![(DAY, named)];
        journal.records.extend(records);
        let mut machine = machine();
        let mut last_told: std::collections::BTreeMap<EventId, i64> = std::collections::BTreeMap::new();
        let mut now = i64::MIN;
        for at in 0..journal.records.len() {
            let (appended, record) = journal.records[at].clone();
            now = now.max(appended);
            let alerts = apply(&mut machine, &journal, at);
            let Record::Message(message) = record else { continue };
            if message.press.is_none() {
                continue;
            }
            let came = message.came_at().map(|at| at.get().min(now));
            let answered = alerts.iter().any(|alert| alert.kind == Kind::Duress && alert.revision == 2);
            let told = last_told.get(&message.event).copied();
            // A copy that may have waited for hours is never news where its press was told, and dates nothing.
            let copy = told.is_some_and(|last| came.is_none_or(|came| came.saturating_sub(last) <= 600_000));
            prop_assert!(answered || copy, "record {at}: {message:?}");
            // An answer begins the count anew: also of a press that the machine had forgotten after its 26 hours.
            let came = came.unwrap_or(if answered { message.arrived_at().min(now) } else { i64::MIN });
            let last = told.filter(|_| !answered).map_or(came, |last| last.max(came));
            last_told.insert(message.event, last);
        }
        prop_assert_eq!(machine.now(), Some(AppendMillis::new(now)));
    }
}
