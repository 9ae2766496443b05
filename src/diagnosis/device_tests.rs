//! Devices as they come in the field, and what the watch says of them.

use super::super::finding::Verdict;
use super::*;
use crate::config::Settings;

const T0: i64 = 1_790_000_000_000;

fn feed(extra: &str) -> FeedSettings {
    let text = format!(
        "[kafka]\nbrokers = \"k:9092\"\n[ingest]\nname = \"a\"\n[[ingest.feeds]]\nname = \"main\"\nurl = \"mqtt://m:1883\"\n{extra}"
    );
    Settings::load(&text, []).unwrap().ingest().unwrap().feeds[0].clone()
}

struct Trial(DeviceWatch);

impl Trial {
    fn of(device: &str) -> Self {
        Self(DeviceWatch::new(Target::new(&feed(""), device), T0))
    }

    fn on(&mut self, after_millis: i64, qos: u8, retained: bool, mqtt_topic: &str, payload: &str) -> Option<String> {
        self.0.saw(&Seen { at_millis: T0 + after_millis, mqtt_topic, qos, retained, payload: payload.as_bytes() })
    }

    fn report(&mut self, after_millis: i64, payload: &str) -> String {
        self.on(after_millis, 1, false, "lw/v1/dev-1/report", payload).unwrap()
    }

    fn press(&mut self, after_millis: i64, payload: &str) -> String {
        self.on(after_millis, 1, false, "lw/v1/dev-1/duress", payload).unwrap()
    }

    fn receipt(&mut self, after_millis: i64, payload: &str) -> String {
        self.on(after_millis, 1, false, "lw/v1/dev-1/rx", payload).unwrap()
    }

    fn findings(&self) -> Vec<Finding> {
        self.0.findings(T0 + 60_000, Some(&known(Some(120_000))))
    }

    /// Subjects of what is wrong, and of what is noted, without the device.
    fn faults(&self) -> (Vec<String>, Vec<String>) {
        let of = |verdict: Verdict| {
            let found = self.findings().into_iter().filter(|finding| finding.verdict == verdict);
            found.map(|finding| finding.subject.split_once(' ').map_or(String::new(), |(_, what)| what.to_owned())).collect()
        };
        (of(Verdict::Wrong), of(Verdict::Note))
    }
}

fn known(silence_millis: Option<i64>) -> Known {
    Known { tenant: TenantName::parse("acme").ok(), feed_carries_tenant: true, silence_millis }
}

#[test]
fn a_device_that_does_all_right_has_no_fault() {
    let mut trial = Trial::of("dev-1");
    for n in 0..4 {
        let sent = T0 + n * 10_000 - 200;
        let says = trial.report(
            n * 10_000,
            &format!(
                r#"{{"boot":1,"seq":{n},"sent":{sent},"interval":10,"fix":{{"lat":51.50741,"lon":-0.12781,"accuracy":8}}}}"#
            ),
        );
        assert!(says.contains("fix within 8 m") && says.contains("sent 0.2 s ago"), "{says}");
    }
    trial.press(41_000, r#"{"id":"p-1"}"#);
    assert_eq!(trial.press(42_000, r#"{"id":"p-1"}"#), "PRESS, id p-1; copy 2, 1.0 s after the first");
    assert_eq!(trial.receipt(42_040, r#"{"id":"p-1"}"#), "receipt of the press, 1.0 s after its first copy, 2 copies");
    assert_eq!(trial.faults(), (vec![], vec![]), "{:#?}", trial.findings());
}

#[test]
fn no_line_and_no_finding_holds_a_position() {
    let mut trial = Trial::of("dev-1");
    let mut said = Vec::new();
    for payload in [
        r#"{"fix":{"lat":51.50741,"lon":-0.12781,"accuracy":8}}"#,
        r#"{"fix":{"lat":951.50741,"lon":-0.12781}}"#,
        r#"{"fix":{"lat":"51.50741","lon":"-0.12781"}}"#,
        "51.50741,-0.12781",
    ] {
        said.push(trial.report(0, payload));
        said.push(trial.press(0, payload));
    }
    said.extend(trial.findings().iter().map(ToString::to_string));
    for digits in ["51.5", "50741", "12781"] {
        assert!(said.iter().all(|said| !said.contains(digits)), "{digits}: {said:#?}");
    }
}

#[test]
fn quality_of_service_and_the_retained_flag_are_seen() {
    let mut trial = Trial::of("dev-1");
    trial.on(0, 0, false, "lw/v1/dev-1/report", "{}");
    trial.on(10, 1, true, "lw/v1/dev-1/report", "{}");
    assert_eq!(trial.faults(), (vec!["retained".to_owned()], vec!["QoS".to_owned()]));
    trial.on(20, 0, false, "lw/v1/dev-1/duress", r#"{"id":"p"}"#);
    assert!(trial.faults().0.contains(&"QoS".to_owned()), "a press at QoS 0 is worse");
}

#[test]
fn gaps_restarts_and_steps_back_are_told_apart() {
    let mut trial = Trial::of("dev-1");
    trial.report(0, r#"{"boot":1,"seq":1}"#);
    assert!(trial.report(1, r#"{"boot":1,"seq":4}"#).contains("2 MISSING"));
    assert!(!trial.report(2, r#"{"boot":1,"seq":4}"#).contains("MISSING"), "a repeat");
    assert!(trial.report(3, r#"{"boot":1,"seq":2}"#).contains("older than sequence 4"));
    assert!(trial.report(4, r#"{"boot":2,"seq":0}"#).contains("restarted"));
    assert!(!trial.report(5, r#"{"boot":2,"seq":1}"#).contains("MISSING"));
    let (wrong, noted) = trial.faults();
    assert_eq!(wrong, ["sequence"]);
    assert_eq!(noted, ["sequence", "sequence"]);
}

#[test]
fn presses_that_are_not_repeated_rightly_are_named() {
    let mut trial = Trial::of("dev-1");
    trial.press(0, r#"{"id":"alone"}"#);
    trial.press(100, r#"{"id":"changes","battery":50}"#);
    assert!(trial.press(1_100, r#"{"id":"changes","battery":49}"#).contains("WITH OTHER BYTES"));
    trial.press(2_000, r#"{"signals":["sos"]}"#);
    trial.press(3_000, r#"{"id":"deaf"}"#);
    trial.receipt(3_100, r#"{"id":"deaf"}"#);
    assert!(trial.press(9_000, r#"{"id":"deaf"}"#).contains("after its receipt"));
    let (wrong, noted) = trial.faults();
    assert_eq!(wrong, ["receipt", "repeat", "repeat", "press id"]);
    assert_eq!(noted, ["repeat"]);
}

#[test]
fn a_receipt_by_hash_ends_a_press_without_an_id() {
    let mut trial = Trial::of("dev-1");
    trial.press(0, "help");
    let says = trial.receipt(40, &format!(r#"{{"sha256":"{}"}}"#, sha256_hex(b"help")));
    assert!(says.starts_with("receipt of the press"), "{says}");
    assert_eq!(trial.receipt(50, r#"{"id":"r-1"}"#), "receipt of a report");
}

#[test]
fn a_press_that_is_just_under_way_is_not_blamed_yet() {
    let mut trial = Trial::of("dev-1");
    trial.press(59_000, r#"{"id":"p"}"#);
    assert_eq!(trial.faults().0, Vec::<String>::new());
}

#[test]
fn a_clock_that_is_minutes_off_is_noted() {
    for (offset, fault) in [(200, false), (299_000, false), (301_000, true), (-301_000, true)] {
        let mut trial = Trial::of("dev-1");
        trial.report(0, &format!(r#"{{"sent":{}}}"#, T0 - offset));
        assert_eq!(trial.faults().1.contains(&"clock".to_owned()), fault, "{offset}");
    }
    let mut stale = Trial::of("dev-1");
    let fix = |at: i64| format!(r#"{{"fix":{{"lat":1,"lon":2,"accuracy":5,"time":{at}}}}}"#);
    stale.report(0, &fix(T0 - 900_000));
    assert!(stale.faults().1.contains(&"clock".to_owned()));
    stale.report(1_000, &fix(T0));
    assert!(!stale.faults().1.contains(&"clock".to_owned()), "one fresh fix proves the clock");
}

#[test]
fn a_fix_without_accuracy_is_noted_whatever_the_dialect() {
    let mut native = Trial::of("dev-1");
    assert!(native.report(0, r#"{"fix":{"lat":1,"lon":2}}"#).contains("unsaid accuracy, taken as 25 m"));
    assert_eq!(native.faults().1, ["accuracy"]);
    let mut phone = Trial::of("joe.phone");
    let says = phone.on(0, 1, false, "owntracks/joe/phone", r#"{"_type":"location","lat":1,"lon":2,"acc":12,"tst":1}"#).unwrap();
    assert!(says.contains("fix within 12 m"), "{says}");
}

#[test]
fn the_interval_is_held_against_the_silence_limit() {
    let subjects = |gap: i64, silence: Option<i64>| {
        let mut trial = Trial::of("dev-1");
        trial.report(60_000 - 2 * gap, "{}");
        trial.report(60_000 - gap, "{}");
        trial.report(60_000, "{}");
        let findings = trial.0.findings(T0 + 60_000, Some(&known(silence)));
        findings.into_iter().find(|finding| finding.subject == "dev-1 interval").map(|finding| finding.verdict)
    };
    assert_eq!(subjects(10_000, Some(30_000)), Some(Verdict::Ok));
    assert_eq!(subjects(20_000, Some(30_000)), Some(Verdict::Note));
    assert_eq!(subjects(30_000, Some(30_000)), Some(Verdict::Wrong));
    assert_eq!(subjects(30_000, None), None);
}

#[test]
fn what_the_rulebook_knows_is_said() {
    let wrong = |known: Option<&Known>| {
        let mut trial = Trial::of("dev-1");
        trial.report(0, "{}");
        let findings = trial.0.findings(T0 + 1, known);
        findings.into_iter().filter(|finding| finding.verdict == Verdict::Wrong).map(|finding| finding.says).collect::<Vec<_>>()
    };
    assert!(wrong(Some(&Known::default()))[0].contains("does not know the device"));
    assert!(wrong(Some(&Known { feed_carries_tenant: false, ..known(None) }))[0].contains("feed main does not carry"));
    assert_eq!(wrong(None), Vec::<String>::new());
}

#[test]
fn an_illegal_id_and_silence_are_wrong() {
    let trial = Trial::of("_dev");
    let (wrong, _) = trial.faults();
    assert_eq!(wrong, ["id", "heard"]);
    assert!(trial.findings().last().unwrap().mend.as_ref().unwrap().contains("lw/v1/_dev/report"));
}

#[test]
fn filters_are_filled_with_every_way_to_read_the_id() {
    let of = |device: &str| Target::new(&feed(""), device).subscriptions();
    assert_eq!(of("dev-1"), ["lw/v1/dev-1/duress", "lw/v1/dev-1/report", "lw/v1/dev-1/status", "lw/v1/dev-1/rx"]);
    let dotted = of("a.b.c");
    assert!(dotted.contains(&"owntracks/a/b.c".to_owned()) && dotted.contains(&"owntracks/a.b/c".to_owned()), "{dotted:?}");
}

#[test]
fn a_gateways_devices_are_told_apart_by_what_they_claim() {
    let mut watch = DeviceWatch::new(Target::new(&feed("identity = \"payload\"\n"), "dev-1"), T0);
    assert!(watch.target.subscriptions().contains(&"lw/v1/+/report".to_owned()));
    let mut saw = |payload: &str| {
        watch.saw(&Seen { at_millis: T0, mqtt_topic: "lw/v1/gate/report", qos: 1, retained: false, payload: payload.as_bytes() })
    };
    assert!(saw(r#"{"device":"dev-1"}"#).is_some());
    assert!(saw(r#"{"device":"dev-2"}"#).is_none());
}

#[test]
fn other_devices_and_probes_are_passed_over() {
    let mut trial = Trial::of("dev-1");
    assert_eq!(trial.on(0, 1, false, "lw/v1/dev-2/report", "{}"), None);
    assert_eq!(trial.on(0, 1, false, "lw/v1/_probe-a/report", "lonewatch-probe 0 0 0"), None);
    let says = trial.report(0, r#"{"device":"dev-9"}"#);
    assert!(says.contains("CLAIMS ANOTHER DEVICE"), "{says}");
}

#[test]
fn what_could_not_be_read_is_named_and_no_value_is_shown() {
    let mut trial = Trial::of("dev-1");
    let said = trial.report(0, r#"{"id":"r-1","signals":["man_down","foo"]}"#);
    assert!(said.contains("docs/DEVICES.md does not have: \"foo\"") && said.contains("man_down"), "{said}");
    let said = trial.report(1_000, r#"{"fix":{"lat":51.5074}}"#);
    assert!(said.contains("missing field `lon` at line 1"), "{said}");
    let said = trial.report(2_000, r#"{"fix":{"lat":"51.5074, expected","lon":1}}"#);
    assert!(said.contains("expected f64 at line 1 column") && !said.contains("51.5074"), "{said}");
    let mends: Vec<_> = trial.findings().into_iter().filter_map(|finding| finding.mend).collect();
    assert!(mends.iter().any(|mend| mend.contains("`lon`")) && mends.iter().any(|mend| mend.contains("\"foo\"")), "{mends:?}");
}
