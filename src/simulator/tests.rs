//! The fleet in virtual time, and the judge on alerts made by hand.

use std::collections::BTreeMap;

use super::terrain::Area;
use super::*;
use crate::alert::{Alert, Kind};
use crate::device::{Content, Decoder};
use crate::ids::{AlertId, DeviceId};

const START: i64 = 1_790_345_524_000;

fn plan(seconds: Option<u32>) -> Plan {
    Plan { devices: 50, seed: 1, seconds, limits: Limits::DEMO }
}

/// Runs the fleet to `until_millis` after its start in steps of 10 ms; with `receipts` every press is answered at once.
fn run(fleet: &mut Fleet, until_millis: i64, receipts: bool) -> Vec<(i64, Send)> {
    let mut all = Vec::new();
    for now in (START..=START + until_millis).step_by(10) {
        for send in fleet.advance(now) {
            if receipts && send.mqtt_topic.ends_with("/duress") {
                let press: serde_json::Value = serde_json::from_slice(&send.payload).unwrap();
                fleet.receipt(&send.device, format!("{{\"id\":{}}}", press["id"]).as_bytes());
            }
            all.push((now, send));
        }
    }
    all
}

fn bounded() -> Fleet {
    let mut fleet = Fleet::new(plan(Some(30)), START);
    run(&mut fleet, 30_000, true);
    fleet
}

/// An alert as a centre would get it; what the judge does not look at is whatever the schema allows.
fn alert(number: u8, kind: Kind, device: Option<&DeviceId>, subject: &str) -> Alert {
    let json = serde_json::json!({
        "format": 1, "id": AlertId([number; 16]), "revision": 1, "kind": kind, "severity": "major", "severity_now": "major",
        "state": "active", "device": device, "centre": "demo", "subject": subject, "cause": {}, "stage": "live", "test": false,
        "occurred_at": 0, "raised_at": 0, "changed_at": 0, "fences": [], "lanes": [], "tenants": [], "devices": [],
        "reason": {"rule": "r", "text": "t", "limits": {}, "records": []},
    });
    serde_json::from_value(json).unwrap()
}

fn subject(deed: &Deed) -> &'static str {
    if let Act::LeftFence { fence } = deed.act { fence } else { "" }
}

/// A judge who heard one alert for each deed that must have one, 20 ms after its time came; without the deed number `without`.
fn heard_all(deeds: &[Deed], without: Option<usize>) -> Judge {
    let mut judge = Judge::new();
    for (number, deed) in deeds.iter().enumerate() {
        if let Some(kind) = deed.act.alert().filter(|_| Some(number) != without) {
            let id = u8::try_from(number).unwrap();
            judge.hear(&alert(id, kind, Some(&deed.device), subject(deed)), deed.alert_from + 20);
        }
    }
    judge
}

#[test]
fn the_same_seed_sends_the_same_bytes() {
    let sends = |seed| run(&mut Fleet::new(Plan { seed, ..plan(Some(30)) }, START), 30_000, true);
    assert_eq!(sends(1), sends(1));
    assert_ne!(sends(1), sends(2));
}

#[test]
fn half_a_minute_shows_every_kind_of_deed_and_leaves_time_for_their_alerts() {
    for seed in 0..20 {
        let mut fleet = Fleet::new(Plan { seed, ..plan(Some(30)) }, START);
        run(&mut fleet, 30_000, true);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for deed in fleet.deeds() {
            *counts.entry(deed.act.as_str()).or_default() += 1;
            assert!(deed.began_at >= START + SETTLE_MILLIS, "{deed:?}");
            assert!(deed.due_at.unwrap() <= START + 30_000 - QUIET_MILLIS + ARRIVAL_MILLIS + 1_000, "{deed:?}");
        }
        for (act, least) in [("pressed", 20), ("left its fence", 5), ("fell silent", 5), ("reported late", 5), ("battery low", 5)]
        {
            assert!(counts.get(act).is_some_and(|count| *count >= least), "seed {seed}: {counts:?}");
        }
        assert!(counts["sent junk"] >= 1, "{counts:?}");
        let late_press = |deed: &Deed| matches!(deed.act, Act::Pressed { sent_at, .. } if sent_at > deed.began_at);
        assert!(fleet.deeds().iter().any(late_press), "a press out of reach is sent later");
    }
}

#[test]
fn silences_are_as_long_as_they_must_be_and_no_longer_elsewhere() {
    let mut fleet = Fleet::new(plan(Some(30)), START);
    let mut last: BTreeMap<DeviceId, i64> = BTreeMap::new();
    let mut longest: BTreeMap<DeviceId, i64> = BTreeMap::new();
    for (now, send) in run(&mut fleet, 30_000, true) {
        let before = last.insert(send.device.clone(), now).unwrap_or(START);
        let gap = longest.entry(send.device).or_default();
        *gap = (*gap).max(now - before);
    }
    for (device, gap) in longest {
        let silent = fleet.deeds().iter().any(|deed| deed.device == device && deed.act == Act::Silent);
        let wanted = if silent { 8_000..=13_000 } else { 0..=4_000 };
        assert!(wanted.contains(&gap), "{device}: {gap}");
    }
}

#[test]
fn a_press_repeats_the_same_bytes_until_its_receipt() {
    let mut fleet = Fleet::new(plan(None), START);
    let sends = run(&mut fleet, 100_000, false);
    let (pressed_at, first) = sends.iter().find(|(_, send)| send.mqtt_topic.ends_with("/duress")).cloned().unwrap();
    let copies = |sends: &[(i64, Send)]| {
        let same = sends.iter().filter(|(_, send)| *send == first);
        same.map(|(at, _)| at - pressed_at).collect::<Vec<_>>()
    };
    let times = copies(&sends);
    assert!(times.starts_with(&[0, 1_000, 3_000, 7_000, 15_000, 31_000, 61_000]), "{times:?}");
    let press: serde_json::Value = serde_json::from_slice(&first.payload).unwrap();
    fleet.receipt(&first.device, format!("{{\"id\":{}}}", press["id"]).as_bytes());
    let later: Vec<_> = (1..=10_000).map(|n| START + 100_000 + n * 10).flat_map(|now| fleet.advance(now)).collect();
    assert!(!later.contains(&first), "the receipt ends it");
    assert_eq!(fleet.presses_receipted(), 1);
}

#[test]
fn everything_but_junk_can_be_read() {
    let mut fleet = Fleet::new(plan(Some(30)), START);
    let mut unread = 0;
    for (_, send) in run(&mut fleet, 30_000, true) {
        assert_eq!(send.mqtt_topic.split('/').nth(2), Some(send.device.as_str()));
        match Decoder::Native.decode(&send.payload) {
            Ok(decoded) => {
                let Content::Report(report) = decoded.content else { panic!("no report") };
                assert!(report.fix.is_some() && report.sent.is_some() && decoded.remark.is_none());
            }
            Err(_) => unread += 1,
        }
    }
    assert_eq!(unread, fleet.deeds().iter().filter(|deed| deed.act == Act::Junk).count());
}

#[test]
fn a_run_without_end_goes_on() {
    let mut fleet = Fleet::new(plan(None), START);
    let acts = |fleet: &Fleet| fleet.deeds().iter().filter(|deed| deed.act.alert().is_some()).count();
    let mut before = 0;
    for minute in 1..=10 {
        for now in (START + (minute - 1) * 60_000..START + minute * 60_000).step_by(100) {
            let _ = fleet.advance(now);
        }
        assert!(acts(&fleet) > before, "minute {minute} saw nothing");
        before = acts(&fleet);
    }
}

#[test]
fn a_run_answered_in_full_is_clean() {
    let fleet = bounded();
    let verdict = heard_all(fleet.deeds(), None).verdict(fleet.deeds(), START + 30_000);
    assert!(verdict.is_clean() && verdict.pending == 0, "{verdict:?}");
    assert_eq!((verdict.duress_p50_ms, verdict.duress_p99_ms), (Some(20), Some(20)));
    assert_eq!(verdict.presses_sent, verdict.alerts["duress"]);
    let json = serde_json::to_value(&verdict).unwrap();
    for field in ["presses_sent", "presses_alerted", "duress_p50_ms", "duress_p99_ms", "alerts", "false_alerts", "missed_alerts"]
    {
        assert!(json.get(field).is_some(), "{field}");
    }
}

#[test]
fn every_missing_alert_is_found_and_named() {
    let fleet = bounded();
    for (number, deed) in fleet.deeds().iter().enumerate().filter(|(_, deed)| deed.act.alert().is_some()) {
        let judge = heard_all(fleet.deeds(), Some(number));
        let verdict = judge.verdict(fleet.deeds(), START + 30_000);
        assert_eq!((verdict.missed_alerts, verdict.false_alerts), (1, 0), "{:?}", verdict.offenders);
        assert!(verdict.offenders[0].contains(deed.device.as_str()) && !verdict.is_clean());
        assert_eq!(judge.verdict(fleet.deeds(), deed.alert_from - 1).missed_alerts, 0, "not yet due");
    }
}

#[test]
fn a_second_copy_or_revision_is_not_a_second_alert_but_a_second_id_is() {
    let fleet = bounded();
    let (number, deed) = fleet.deeds().iter().enumerate().find(|(_, deed)| deed.act == Act::Silent).unwrap();
    let mut judge = heard_all(fleet.deeds(), None);
    let same = alert(u8::try_from(number).unwrap(), Kind::LostContact, Some(&deed.device), "");
    judge.hear(&same, deed.alert_from + 30);
    judge.hear(&same.next_revision(1), deed.alert_from + 40);
    assert!(judge.verdict(fleet.deeds(), START + 30_000).is_clean());
    assert_eq!(judge.revision(&same.id), Some(2));
    judge.hear(&alert(250, Kind::LostContact, Some(&deed.device), ""), deed.alert_from + 50);
    let verdict = judge.verdict(fleet.deeds(), START + 30_000);
    assert_eq!((verdict.false_alerts, verdict.missed_alerts), (1, 0), "{:?}", verdict.offenders);
}

#[test]
fn what_nothing_explains_is_false() {
    let fleet = bounded();
    let find = |want: fn(&Act) -> bool| fleet.deeds().iter().find(|deed| want(&deed.act)).unwrap();
    let left = find(|act| matches!(act, Act::LeftFence { .. }));
    let silent = find(|act| *act == Act::Silent);
    let stranger = DeviceId::parse("stranger").unwrap();
    let cases = [
        (alert(251, Kind::Blind, None, "main"), START + 10_000),
        (alert(251, Kind::Duress, Some(&stranger), ""), START + 10_000),
        (alert(251, Kind::BatteryLow, Some(&silent.device), ""), START + 10_000),
        (alert(251, Kind::FenceExited, Some(&left.device), "another-fence"), left.alert_from + 10),
        (alert(251, Kind::FenceEntered, Some(&left.device), subject(left)), left.alert_from + 10),
    ];
    for (made_up, at) in cases {
        let mut judge = heard_all(fleet.deeds(), None);
        judge.hear(&made_up, at);
        let verdict = judge.verdict(fleet.deeds(), START + 30_000);
        assert_eq!((verdict.false_alerts, verdict.missed_alerts), (1, 0), "{:?}", verdict.offenders);
    }
    let mut judge = heard_all(fleet.deeds(), fleet.deeds().iter().position(|deed| deed == silent));
    judge.hear(&alert(251, Kind::LostContact, Some(&silent.device), ""), silent.alert_from - 1);
    let verdict = judge.verdict(fleet.deeds(), START + 30_000);
    assert_eq!((verdict.false_alerts, verdict.missed_alerts), (1, 1), "an alert before its time explains nothing");
}

/// Where fixes lie, by hand: metres beyond the device's boundary, with the time of the fix.
fn fixes(sends: &[(i64, Send)], devices: &[DeviceId]) -> Vec<(DeviceId, i64, f64)> {
    let mut fixes = Vec::new();
    for (_, send) in sends {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(&send.payload) else { continue };
        let (Some(lat), Some(lon), Some(time)) =
            (message["fix"]["lat"].as_f64(), message["fix"]["lon"].as_f64(), message["fix"]["time"].as_i64())
        else {
            continue;
        };
        let area = Area::of_device(devices.iter().position(|device| *device == send.device).unwrap());
        fixes.push((send.device.clone(), time, area.beyond_boundary(lat, lon)));
    }
    fixes
}

#[test]
fn only_leavers_come_near_a_boundary_and_they_are_clear_of_it_for_the_dwell() {
    let (buffer, accuracy) = (15.0, 8.0);
    let mut fleet = Fleet::new(plan(Some(30)), START);
    let sends = run(&mut fleet, 30_000, true);
    let devices: Vec<_> = fleet.devices().cloned().collect();
    let outings: BTreeMap<_, _> =
        fleet.deeds().iter().filter(|deed| matches!(deed.act, Act::LeftFence { .. })).map(|deed| (&deed.device, deed)).collect();
    let mut clear: BTreeMap<DeviceId, Vec<i64>> = BTreeMap::new();
    for (device, time, beyond) in fixes(&sends, &devices) {
        match outings.get(&device) {
            Some(outing) if beyond > 0.0 => {
                assert!(time >= outing.began_at && outing.ended_at.is_none_or(|at| time <= at + 1_000), "{device} {beyond}");
                if beyond > buffer + accuracy {
                    clear.entry(device).or_default().push(time);
                }
            }
            Some(_) => {}
            None => assert!(beyond < -(buffer + accuracy), "{device} wandered to {beyond}"),
        }
    }
    assert_eq!(clear.len(), outings.len());
    for (device, times) in clear {
        let (first, last) = (times[0], times[times.len() - 1]);
        assert!(last - first >= Limits::DEMO.dwell_millis + ARRIVAL_MILLIS, "{device} was clear for {} ms", last - first);
        assert!(
            first + Limits::DEMO.dwell_millis + 2_000 <= outings[&device].due_at.unwrap(),
            "{device}: due before it can come"
        );
    }
}

#[test]
fn a_stall_of_the_driver_is_a_silence_that_may_alert_and_need_not() {
    let mut fleet = Fleet::new(plan(None), START);
    run(&mut fleet, 3_000, true);
    let resumed_at = START + 20_000;
    let _ = fleet.advance(resumed_at);
    assert_eq!(fleet.longest_stall_millis(), 17_000);
    let stalled = fleet.deeds().iter().find(|deed| deed.act == Act::Stalled).unwrap();
    let mut judge = Judge::new();
    let unanswered = judge.verdict(fleet.deeds(), resumed_at);
    assert_eq!((unanswered.missed_alerts, unanswered.false_alerts), (0, 0), "{:?}", unanswered.offenders);
    judge.hear(&alert(1, Kind::LostContact, Some(&stalled.device), ""), START + 12_000);
    let answered = judge.verdict(fleet.deeds(), resumed_at);
    assert_eq!((answered.missed_alerts, answered.false_alerts), (0, 0), "{:?}", answered.offenders);
}
