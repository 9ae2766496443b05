//! lonewatch's own JSON (docs/DEVICES.md). Unknown fields are passed over, so that devices may be ahead of us.

use std::borrow::Cow;

use serde::Deserialize;

use super::json::{Object, centi, parse, parse_mended, percent_of, place, signed_centi};
use super::rejected::{Reject, RejectReason};
use super::report::{Fix, Motion, Report, Signal, Signals, VisitStep};
use super::{Content, Decoded, last_resort};
use crate::limits;
use crate::time::{DAY_MILLIS, DeviceMillis, MINUTE_MILLIS};

/// Error circle of a fix whose sender gave none: what GNSS does under trees and between houses.
const ACCURACY_CM_DEFAULT: u32 = 2_500;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    device: Option<Cow<'a, str>>,
    id: Option<OwnId<'a>>,
    boot: Option<u32>,
    seq: Option<u64>,
    time: Option<i64>,
    sent: Option<i64>,
    fix: Option<MessageFix>,
    battery: Option<f64>,
    charging: Option<bool>,
    motion: Option<MessageMotion>,
    interval: Option<u32>,
    receipt: Option<bool>,
    visit: Option<MessageVisit>,
    signals: Option<Words>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    List(Vec<String>),
    One(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OwnId<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Number(u64),
}

#[derive(Deserialize)]
struct MessageFix {
    lat: f64,
    lon: f64,
    time: Option<i64>,
    accuracy: Option<f64>,
    altitude: Option<f64>,
    speed: Option<f64>,
    course: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MessageMotion {
    Still,
    Moving,
}

#[derive(Deserialize)]
struct MessageVisit {
    step: MessageStep,
    until: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MessageStep {
    Start,
    CheckIn,
    Extend,
    End,
}

/// Reads a native report. Signals count whatever else is wrong with it: a bad battery level must not cost an SOS.
pub(super) fn decode(payload: &[u8]) -> Result<Decoded, Reject> {
    read(payload).or_else(|reject| {
        let (report, claimed_device) = salvage(payload);
        if report.signals == Signals::default() {
            return Err(reject);
        }
        Ok(Decoded { claimed_device, remark: Some(reject), ..Decoded::report(report) })
    })
}

fn read(payload: &[u8]) -> Result<Decoded, Reject> {
    let message = parse::<Message<'_>>(payload)?;
    let words = match &message.signals {
        Some(Words::List(words)) => words.as_slice(),
        Some(Words::One(word)) => std::slice::from_ref(word),
        None => &[],
    };
    let (signals, remark) = read_signals(words.iter().map(String::as_str));
    let report = Report {
        own_id: read_own_id(message.id.as_ref(), message.boot, message.seq)?,
        boot: message.boot,
        sequence: message.seq,
        happened: message.time.map(DeviceMillis::new),
        sent: message.sent.map(DeviceMillis::new),
        fix: message.fix.as_ref().map(read_fix).transpose()?.flatten(),
        battery_percent: message.battery.map(|percent| percent_of("battery", percent)).transpose()?,
        charging: message.charging,
        motion: message.motion.map(|motion| match motion {
            MessageMotion::Still => Motion::Still,
            MessageMotion::Moving => Motion::Moving,
        }),
        interval_seconds: message.interval,
        visit: message.visit.as_ref().map(|visit| match visit.step {
            MessageStep::Start => VisitStep::Start,
            MessageStep::CheckIn => VisitStep::CheckIn,
            MessageStep::Extend => VisitStep::Extend,
            MessageStep::End => VisitStep::End,
        }),
        visit_until: message.visit.and_then(|visit| visit.until).map(DeviceMillis::new),
        signals,
    };
    let report = with_gnss_weeks(report);
    Ok(Decoded {
        claimed_device: message.device.map(Cow::into_owned),
        wants_receipt: message.receipt == Some(true),
        remark,
        ..Decoded::report(report)
    })
}

/// What can be read of a press, whatever the rest of its bytes: its parts are read one by one, so that a bad fix does not cost the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativePress {
    /// What could be read; empty for junk.
    pub report: Report,
    /// The device that the payload claims to come from, if it names one.
    pub claimed_device: Option<String>,
    /// Why the bytes go to quarantine too, if they do.
    pub remark: Option<Reject>,
}

impl NativePress {
    /// Reads what can be read of a press. Never fails: every message on a duress MQTT topic is one.
    pub fn read(payload: &[u8]) -> Self {
        match super::Decoder::Native.decode(payload) {
            Ok(Decoded { content: Content::Report(report), claimed_device, remark, .. }) => {
                Self { report: *report, claimed_device, remark }
            }
            Ok(Decoded { claimed_device, remark, .. }) => Self { report: Report::default(), claimed_device, remark },
            Err(reject) => {
                let (report, claimed_device) = salvage(payload);
                Self { report, claimed_device, remark: Some(reject) }
            }
        }
    }
}

/// What can be told of a message that cannot be read as it is, field by field: its signals count, and repeats of it stay one message.
/// Of what is no JSON at all, however mended, the quoted words under `signals`, `id` and `device`.
fn salvage(payload: &[u8]) -> (Report, Option<String>) {
    let fields = parse_mended(payload);
    let message = fields.as_ref().map(Object::new);
    let listed = message.into_iter().flat_map(|message| message.words("signals"));
    // Also where it could be mended, for a field that stands there twice.
    let found = last_resort::values(payload, "signals", 1);
    let signals = read_signals(listed.chain(found.iter().map(String::as_str))).0;
    let text = |name: &str| message.map_or_else(|| last_resort::value(payload, name, 1), |it| it.text(name).map(str::to_owned));
    let boot = message.and_then(|message| u32::try_from(message.whole("boot")?).ok());
    let sequence = message.and_then(|message| message.whole("seq"));
    let id = text("id").or_else(|| message?.whole("id").map(|number| number.to_string()));
    let counted = || Some(format!("{}.{}", boot?, sequence?));
    let report = Report {
        own_id: id.filter(|id| (1..=limits::OWN_ID_BYTES_MAX).contains(&id.len())).or_else(counted),
        boot,
        sequence,
        happened: message.and_then(|message| message.time("time")),
        sent: message.and_then(|message| message.time("sent")),
        fix: message.and_then(|message| salvage_fix(message.object("fix")?)),
        battery_percent: message.and_then(|message| message.percent("battery")),
        charging: message.and_then(|message| message.flag("charging")),
        signals,
        ..Report::default()
    };
    (with_gnss_weeks(report), text("device"))
}

/// A GNSS receiver counts weeks up to 1,023, and an old one falls back by 1,024 of them, while the device's own clock stays right: fixes
/// 19.6 years before their own report, and so history for ever. What then fits the report is taken for what it is.
fn with_gnss_weeks(mut report: Report) -> Report {
    const ROUND_MILLIS: i64 = 1_024 * 7 * DAY_MILLIS;
    let told = report.happened.max(report.sent);
    if let (Some(fix), Some(told)) = (&mut report.fix, told)
        && let Some(at) = fix.at
    {
        let mended = at.get().saturating_add(ROUND_MILLIS);
        let (oldest, newest) = (told.get().saturating_sub(30 * DAY_MILLIS), told.get().saturating_add(2 * MINUTE_MILLIS));
        if (oldest..=newest).contains(&mended) {
            fix.at = Some(DeviceMillis::new(mended));
        }
    }
    report
}

/// A fix whose place can be read, without what is odd beside it.
fn salvage_fix(fix: Object<'_>) -> Option<Fix> {
    Some(Fix {
        position: place("fix", fix.number("lat")?, fix.number("lon")?).ok()??,
        at: fix.time("time"),
        accuracy_cm: fix.accuracy_cm("accuracy", ACCURACY_CM_DEFAULT),
        altitude_cm: fix.signed_centi("altitude"),
        speed_cm_s: fix.centi("speed"),
        course_cdeg: fix.centi("course"),
    })
}

fn read_own_id(id: Option<&OwnId<'_>>, boot: Option<u32>, seq: Option<u64>) -> Result<Option<String>, Reject> {
    let text = match (id, boot, seq) {
        (Some(OwnId::Text(text)), ..) => text.to_string(),
        (Some(OwnId::Number(number)), ..) => number.to_string(),
        (None, Some(boot), Some(seq)) => format!("{boot}.{seq}"),
        (None, ..) => return Ok(None),
    };
    if text.is_empty() || text.len() > limits::OWN_ID_BYTES_MAX {
        let detail = format!("id has {} bytes; 1 to {} are allowed", text.len(), limits::OWN_ID_BYTES_MAX);
        return Err(Reject::new(RejectReason::OutOfRange, detail));
    }
    Ok(Some(text))
}

fn read_fix(fix: &MessageFix) -> Result<Option<Fix>, Reject> {
    let accuracy_cm = fix.accuracy.map(|metres| centi("fix.accuracy", metres)).transpose()?;
    let Some(position) = place("fix", fix.lat, fix.lon)? else { return Ok(None) };
    Ok(Some(Fix {
        position,
        at: fix.time.map(DeviceMillis::new),
        accuracy_cm: accuracy_cm.filter(|cm| *cm > 0).unwrap_or(ACCURACY_CM_DEFAULT),
        altitude_cm: fix.altitude.map(|metres| signed_centi("fix.altitude", metres)).transpose()?,
        speed_cm_s: fix.speed.map(|speed| centi("fix.speed", speed)).transpose()?,
        course_cdeg: fix.course.map(|degrees| centi("fix.course", degrees)).transpose()?,
    }))
}

/// The known signals, and a remark for those that are not; letter case, hyphens and blanks do not matter.
fn read_signals<'a>(words: impl Iterator<Item = &'a str>) -> (Signals, Option<Reject>) {
    let mut signals = Signals::default();
    let mut remark = None;
    for word in words {
        let plain = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        if let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.as_str() == plain) {
            signals = signals.with(signal);
        } else {
            let known = Signal::ALL.map(Signal::as_str).join(", ");
            let shown: String = word.chars().take(40).collect();
            remark = Some(Reject::new(RejectReason::UnknownSignal, format!("signal {shown:?} is none of {known}")));
        }
    }
    (signals, remark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(json: &str) -> Report {
        match decode(json.as_bytes()).unwrap().content {
            Content::Report(report) => *report,
            other => panic!("{other:?}"),
        }
    }

    fn reason(payload: &[u8]) -> RejectReason {
        super::super::Decoder::Native.decode(payload).unwrap_err().reason
    }

    #[test]
    fn a_full_report_is_read_whole() {
        let full = report(
            r#"{"id":"m-1","boot":3,"seq":17,"time":5,"sent":1790345531000,"battery":41.4,"charging":false,"motion":"moving","interval":60,
                "fix":{"lat":51.5074,"lon":-0.1278,"time":1790345524000,"accuracy":12,"altitude":-2.5,"speed":1.2,"course":271},
                "visit":{"step":"start","until":1790349131000},"signals":["man_down","SOS"],"later":{"x":[1]}}"#,
        );
        assert_eq!(full.own_id.as_deref(), Some("m-1"));
        assert_eq!((full.battery_percent, full.interval_seconds), (Some(41), Some(60)));
        let fix = full.fix.unwrap();
        assert_eq!(
            (fix.accuracy_cm, fix.altitude_cm, fix.speed_cm_s, fix.course_cdeg),
            (1_200, Some(-250), Some(120), Some(27_100))
        );
        assert!(full.signals.press() && full.signals.has(Signal::ManDown));
        assert_eq!(full.visit, Some(VisitStep::Start));
    }

    #[test]
    fn boot_and_sequence_make_an_own_id_and_either_alone_does_not() {
        assert_eq!(report(r#"{"boot":2,"seq":9}"#).own_id.as_deref(), Some("2.9"));
        assert_eq!(report(r#"{"seq":9}"#).own_id, None);
        assert_eq!(report(r#"{"id":77}"#).own_id.as_deref(), Some("77"));
    }

    #[test]
    fn a_fix_without_accuracy_never_counts_as_exact() {
        assert_eq!(report(r#"{"fix":{"lat":1,"lon":2}}"#).fix.unwrap().accuracy_cm, ACCURACY_CM_DEFAULT);
        assert_eq!(report(r#"{"fix":{"lat":1,"lon":2,"accuracy":0}}"#).fix.unwrap().accuracy_cm, ACCURACY_CM_DEFAULT);
    }

    #[test]
    fn poison_is_told_apart() {
        assert_eq!(reason(b""), RejectReason::Empty);
        assert_eq!(reason(b"\xff\xfe"), RejectReason::NotUtf8);
        assert_eq!(reason(b"hello"), RejectReason::NotJson);
        assert_eq!(reason(&[b'['; 4_000]), RejectReason::NotJson);
        assert_eq!(reason(b"[1]"), RejectReason::WrongShape);
        let deep = format!("{{\"later\":{}{}}}", "[".repeat(4_000), "]".repeat(4_000));
        assert_eq!(reason(deep.as_bytes()), RejectReason::NotJson);
        assert_eq!(reason(br#"{"fix":{"lat":NaN,"lon":1}}"#), RejectReason::NotJson);
        assert_eq!(reason(br#"{"fix":{"lat":"51","lon":1}}"#), RejectReason::WrongShape);
        assert_eq!(reason(br#"{"fix":{"lat":91,"lon":1}}"#), RejectReason::OutOfRange);
        assert_eq!(reason(br#"{"battery":-1}"#), RejectReason::OutOfRange);
        assert_eq!(reason(&vec![b' '; 9 * 1024]), RejectReason::TooLarge);
    }

    #[test]
    fn an_unknown_signal_is_remarked_and_the_rest_counts() {
        let decoded = decode(br#"{"signals":["sos","S.O.S."]}"#).unwrap();
        assert_eq!(decoded.remark.unwrap().reason, RejectReason::UnknownSignal);
        assert!(matches!(decoded.content, Content::Report(report) if report.signals.press()));
    }

    #[test]
    fn an_sos_is_heard_whatever_else_is_wrong_with_its_report() {
        for wrong in
            [r#""battery":101"#, r#""fix":{"lat":"x"}"#, r#""motion":"flying""#, r#""id":"""#, r#""fix":{"lat":91,"lon":0}"#]
        {
            let payload = format!(r#"{{"device":"d","time":5,{wrong},"signals":["sos",7]}}"#);
            let decoded = super::super::Decoder::Native.decode(payload.as_bytes()).unwrap();
            assert!(decoded.remark.is_some(), "its bytes go to quarantine too: {wrong}");
            assert_eq!(decoded.claimed_device.as_deref(), Some("d"));
            let Content::Report(report) = decoded.content else { panic!("{wrong}") };
            assert!(report.signals.press() && report.happened == Some(DeviceMillis::new(5)), "{wrong}");
        }
        assert!(decode(br#"{"battery":101,"signals":[]}"#).is_err());
    }

    #[test]
    fn an_sos_is_heard_in_bytes_that_are_no_message() {
        let long = format!(r#"{{"device":"d","id":"p-1","log":"{}","signals":["sos"]}}"#, "x".repeat(9_000));
        for (wrong, reason) in [
            (r#"{"device":"d","id":"p-1","signals":["sos"],"fix":{"lat":nan,"lon":nan}}"#, RejectReason::NotJson),
            (r#"{"device":"d","id":"p-1","fix":{"lat":-NAN(ind),"lon":1},"signals":["sos"]}"#, RejectReason::NotJson),
            (r#"{"device":"d","id":"p-1","signals":["sos"],"fix":{"lat":1e999,"lon":1}}"#, RejectReason::NotJson),
            (r#"{"device":"d","id":"p-1","signals":["sos"],"fix":{"lat":51.5,"lo"#, RejectReason::NotJson),
            (r#"{"device":"d","id":"p-1","signals":["fall"],"signals":["sos"]}"#, RejectReason::WrongShape),
            (r#"{"device":"d","id":"p-1","signals":["sos"],"signals":["fall"]}"#, RejectReason::WrongShape),
            (r#"[{"device":"d","id":"p-1","signals":["sos"]},{"battery":5}]"#, RejectReason::WrongShape),
            (&long, RejectReason::TooLarge),
        ] {
            let decoded = super::super::Decoder::Native.decode(wrong.as_bytes()).expect(wrong);
            assert_eq!(decoded.remark.map(|remark| remark.reason), Some(reason), "its bytes go to quarantine too: {wrong}");
            let Content::Report(report) = decoded.content else { panic!("{wrong}") };
            let named = (decoded.claimed_device.as_deref(), report.own_id.as_deref());
            assert!(report.signals.press() && named == (Some("d"), Some("p-1")), "{wrong}: {named:?}");
        }
        let latin_1 = super::super::Decoder::Native.decode(b"{\"signals\":[\"sos\"],\"name\":\"J\xfcrgen\"}").unwrap();
        assert!(matches!(latin_1.content, Content::Report(report) if report.signals.press()));
    }

    #[test]
    fn a_word_elsewhere_in_unreadable_bytes_is_no_sos() {
        let long = format!(r#"{{"note":"\"signals\":[\"sos\"]","log":"{}","signals":[]}}"#, "x".repeat(9_000));
        for quiet in [
            r#"{"note":"sos","fix":{"lat":nan}}"#,
            r#"{"note":"\"signals\":[\"sos\"]","fix":{"lat":nan}}"#,
            r#"{"no_signals":["sos"],"fix":{"lat":nan}}"#,
            r#"{"signals":["sosumi","no sos"],"fix":{"lat":nan}}"#,
            r#"{"signals":[],"words":["sos"],"fix":{"lat":nan}}"#,
            r#"{"history":[{"signals":["sos"]}],"fix":{"lat":nan}}"#,
            r#"{"signals":["so"#,
            &long,
        ] {
            assert!(super::super::Decoder::Native.decode(quiet.as_bytes()).is_err(), "{quiet}");
        }
    }

    #[test]
    fn a_signal_is_known_by_its_word_however_it_is_written() {
        for written in [r#""sos""#, r#"[" SOS "]"#, r#"["end under duress"]"#, r#""End-Under-Duress""#, r#"["fall","panic"]"#] {
            assert!(report(&format!(r#"{{"signals":{written}}}"#)).signals.press(), "{written}");
        }
        let absent = r#"{"signals":null,"receipt":null,"id":null,"boot":null,"fix":null,"visit":null,"motion":null,"battery":7}"#;
        assert_eq!(report(absent), Report { battery_percent: Some(7), ..Report::default() });
    }

    #[test]
    fn a_fix_of_1024_weeks_ago_is_of_now() {
        let fixed_at = |time: i64, rest: &str| {
            let fix = format!(r#"{{"fix":{{"lat":1,"lon":2,"time":{time}}}{rest}}}"#);
            report(&fix).fix.unwrap().at.unwrap().get()
        };
        let (sent, round) = (1_790_345_531_000, 1_024 * 7 * DAY_MILLIS);
        let with_sent = format!(r#","sent":{sent}"#);
        for age in [0, 7_000, 3 * DAY_MILLIS] {
            assert_eq!(fixed_at(sent - age - round, &with_sent), sent - age, "{age}");
            assert_eq!(fixed_at(sent - age, &with_sent), sent - age, "{age}");
        }
        assert_eq!(fixed_at(sent - round, &format!(r#","time":{sent}"#)), sent);
        for time in [sent - round, sent - round - 40 * DAY_MILLIS, sent - round + DAY_MILLIS, 0] {
            assert_eq!(fixed_at(time, ""), time, "nothing to hold it against");
        }
        for time in [sent - round - 40 * DAY_MILLIS, sent - round + DAY_MILLIS, sent - 365 * DAY_MILLIS, i64::MAX, i64::MIN] {
            assert_eq!(fixed_at(time, &with_sent), time, "another fault than that, or none");
        }
    }

    #[test]
    fn exactly_nought_nought_is_no_fix() {
        let nowhere = report(r#"{"battery":7,"fix":{"lat":0,"lon":-0.0,"accuracy":5}}"#);
        assert_eq!((nowhere.fix, nowhere.battery_percent), (None, Some(7)));
        assert!(report(r#"{"fix":{"lat":0,"lon":0.0000001}}"#).fix.is_some(), "a ship may be there");
    }

    #[test]
    fn a_press_is_read_as_far_as_it_can_be() {
        let press = NativePress::read(br#"{"id":"p-1","time":12,"fix":"nowhere"}"#);
        assert_eq!(press.report.own_id.as_deref(), Some("p-1"));
        assert_eq!(press.remark.unwrap().reason, RejectReason::WrongShape);
        for wrong in [r#""battery":-1"#, r#""battery":nan"#, r#""id":"""#, r#""motion":"flying""#] {
            let payload = format!(
                r#"{{"boot":3,"seq":17,"time":12,{wrong},"charging":true,"fix":{{"lat":51.5,"lon":-0.1,"time":11,"accuracy":8,"speed":-1}}}}"#
            );
            let NativePress { report, remark, .. } = NativePress::read(payload.as_bytes());
            assert!(remark.is_some(), "{wrong}");
            assert_eq!((report.own_id.as_deref(), report.boot, report.sequence), (Some("3.17"), Some(3), Some(17)), "{wrong}");
            let fix = report.fix.expect(wrong);
            assert_eq!((fix.position.lat_e7(), fix.at, fix.accuracy_cm), (515_000_000, Some(DeviceMillis::new(11)), 800));
            assert_eq!((fix.speed_cm_s, report.charging, report.happened), (None, Some(true), Some(DeviceMillis::new(12))));
        }
        let indoors = NativePress::read(br#"{"boot":3,"seq":17,"time":12,"fix":{"lat":nan,"lon":nan}}"#).report;
        assert_eq!((indoors.own_id.as_deref(), indoors.fix), (Some("3.17"), None));
        let lost = NativePress::read(br#"{"battery":-1,"fix":{"lat":51.5,"lon":-0.1,"accuracy":5e7}}"#).report;
        assert!(lost.fix.unwrap().accuracy_cm >= 4_000_000_000, "what is absurd is not the default");
        for junk in [&b""[..], b"\xff", b"[[[", &[0; 9_000]] {
            let press = NativePress::read(junk);
            assert_eq!(press.report, Report::default());
            assert!(press.remark.is_some());
        }
    }
}
