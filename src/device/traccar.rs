//! What Traccar forwards as JSON: `{"position":P,"device":D}`, and with its events `{"event":E,"position":P,"device":D}`.
//!
//! The device is `device.uniqueId`, for one gateway speaks for many. An alarm counts whatever is wrong with its position (P1). What
//! Traccar concludes by itself (a device is offline, a fence was left) is no word of the device, and is passed over.

use serde_json::{Map, Value};

use super::json::{Object, centi, parse, parse_mended, place};
use super::rejected::{Reject, RejectReason};
use super::report::{Fix, Motion, Report, Signal, Signals};
use super::{Content, Decoded, iso_time, last_resort};

/// Error circle where Traccar says 0, which is its word for unknown: what GNSS does under trees and between houses.
const ACCURACY_CM_DEFAULT: u32 = 2_500;
const METRES_A_SECOND_PER_KNOT: f64 = 1_852.0 / 3_600.0;

/// Traccar's alarms that are signals. Of all others only the count is kept. docs/DEVICES.md shows this table, and a test compares.
const ALARMS: [(&str, Signal); 6] = [
    ("sos", Signal::Sos),
    ("fallDown", Signal::Fall),
    ("removing", Signal::Removed),
    ("tampering", Signal::Opened),
    ("jamming", Signal::Jammed),
    ("fault", Signal::Fault),
];

/// How deep in a message an alarm stands: under `position` or `event`, in its attributes.
const ALARM_DEPTH: usize = 3;

/// Reads a forwarded position or event.
pub(super) fn decode(payload: &[u8]) -> Result<Decoded, Reject> {
    if payload.is_empty() {
        return Ok(Decoded::of(Content::Nothing));
    }
    match parse::<Map<String, Value>>(payload) {
        Ok(fields) => read(Object::new(&fields)),
        Err(reject) => hear_alarm(payload, reject),
    }
}

/// An alarm in bytes that cannot be read, or not as they are.
fn hear_alarm(payload: &[u8], reject: Reject) -> Result<Decoded, Reject> {
    let mended = parse_mended(payload).and_then(|fields| read(Object::new(&fields)).ok());
    let heard = |decoded: &Decoded| matches!(&decoded.content, Content::Report(report) if report.signals != Signals::default());
    if let Some(decoded) = mended.filter(heard) {
        return Ok(Decoded { remark: Some(reject), ..decoded });
    }
    let alarms = last_resort::values(payload, "alarm", ALARM_DEPTH);
    let (signals, unused) = read_alarms(alarms.iter().map(String::as_str));
    if signals == Signals::default() {
        return Err(reject);
    }
    let claimed_device = last_resort::value(payload, "uniqueId", ALARM_DEPTH);
    Ok(Decoded { claimed_device, remark: Some(reject), unused, ..Decoded::report(Report { signals, ..Report::default() }) })
}

fn read(message: Object<'_>) -> Result<Decoded, Reject> {
    let (event, position) = (message.object("event"), message.object("position"));
    let attributes = position.and_then(|position| position.object("attributes"));
    let said_by_event = event.and_then(|event| event.object("attributes"));
    let alarms = [said_by_event, attributes].into_iter().flatten().flat_map(|attributes| attributes.words("alarm"));
    let (signals, unused) = read_alarms(alarms);
    let claimed_device = message.object("device").and_then(|device| device.text("uniqueId")).map(str::to_owned);
    let by_the_device = event.is_none_or(|event| event.text("type") == Some("alarm")) || signals != Signals::default();
    if !by_the_device {
        return Ok(Decoded { claimed_device, unused: Some("event"), ..Decoded::of(Content::Nothing) });
    }
    let (mut report, mut remark) = position.map_or_else(Default::default, |position| read_position(position, attributes));
    report.signals = signals;
    if report.own_id.is_none() {
        report.own_id = event.and_then(|event| event.own_id("eventTime"));
    }
    let missing = match (&claimed_device, position.or(event)) {
        (None, _) => Some("no device.uniqueId: nobody can tell whose this is"),
        (_, None) => Some("neither position nor event: this is nothing that Traccar forwards"),
        (Some(_), Some(_)) => None,
    };
    if let Some(missing) = missing {
        let reject = Reject::new(RejectReason::WrongShape, missing);
        if signals == Signals::default() {
            return Err(reject);
        }
        remark = Some(reject);
    }
    Ok(Decoded { claimed_device, remark, unused, ..Decoded::report(report) })
}

/// The signals in lists of alarms, and a label where there are alarms that are none.
fn read_alarms<'a>(lists: impl Iterator<Item = &'a str>) -> (Signals, Option<&'static str>) {
    let mut signals = Signals::default();
    let mut unused = None;
    for alarm in lists.flat_map(|list| list.split(',')).map(str::trim).filter(|alarm| !alarm.is_empty()) {
        match ALARMS.iter().find(|(name, _)| name.eq_ignore_ascii_case(alarm)) {
            Some((_, signal)) => signals = signals.with(*signal),
            None => unused = Some("alarm"),
        }
    }
    (signals, unused)
}

/// A position's report without its signals, and a remark where it claims a fix that cannot be one.
fn read_position(position: Object<'_>, attributes: Option<Object<'_>>) -> (Report, Option<Reject>) {
    // Outdated is how Traccar repeats the last place under a device's word that has none.
    let fresh = position.flag("valid") == Some(true) && position.flag("outdated") != Some(true);
    let fix = if fresh { read_fix(position) } else { Ok(None) };
    let report = Report {
        // Its `id` is 0 when it is forwarded. The instant at which Traccar received it makes a second delivery a repeat: two presses
        // never have the same bytes.
        own_id: position.own_id("serverTime"),
        happened: position.text("deviceTime").and_then(iso_time::parse),
        fix: fix.as_ref().ok().copied().flatten(),
        battery_percent: attributes.and_then(|attributes| attributes.percent("batteryLevel")),
        charging: attributes.and_then(|attributes| attributes.flag("charge")),
        motion: attributes
            .and_then(|attributes| attributes.flag("motion"))
            .map(|moving| if moving { Motion::Moving } else { Motion::Still }),
        ..Report::default()
    };
    (report, fix.err())
}

fn read_fix(position: Object<'_>) -> Result<Option<Fix>, Reject> {
    let (lat, lon) = (position.number("latitude"), position.number("longitude"));
    let place = place("position", lat.unwrap_or(f64::NAN), lon.unwrap_or(f64::NAN))?;
    Ok(place.map(|position_on_earth| Fix {
        position: position_on_earth,
        at: position.text("fixTime").and_then(iso_time::parse),
        accuracy_cm: position.accuracy_cm("accuracy", ACCURACY_CM_DEFAULT),
        altitude_cm: position.signed_centi("altitude"),
        speed_cm_s: position.number("speed").and_then(|knots| centi("speed", knots * METRES_A_SECOND_PER_KNOT).ok()),
        course_cdeg: position.centi("course"),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::poison_tests::{TRACCAR_ALARM_EVENT, TRACCAR_POSITION};
    use super::*;
    use crate::time::DeviceMillis;

    fn decoded(payload: &str) -> Decoded {
        decode(payload.as_bytes()).unwrap()
    }

    fn report(payload: &str) -> Report {
        match decoded(payload).content {
            Content::Report(report) => *report,
            other => panic!("{other:?}"),
        }
    }

    fn signals(alarm: &str) -> (Signals, Option<&'static str>) {
        let decoded = decoded(&TRACCAR_POSITION.replace("\"lowBattery\"", &format!("\"{alarm}\"")));
        let Content::Report(report) = decoded.content else { panic!("a position is a report") };
        (report.signals, decoded.unused)
    }

    #[test]
    fn a_forwarded_position_is_read_in_our_units() {
        let decoded = decoded(TRACCAR_POSITION);
        assert_eq!((decoded.claimed_device.as_deref(), decoded.unused), (Some("356307042441013"), Some("alarm")));
        assert_eq!(decoded.remark, None);
        let report = report(TRACCAR_POSITION);
        let fix = report.fix.unwrap();
        assert_eq!((fix.position.lat_e7(), fix.position.lon_e7()), (515_074_000, -1_278_000));
        assert_eq!(fix.at, Some(DeviceMillis::new(1_790_345_524_000)));
        assert_eq!(report.happened, Some(DeviceMillis::new(1_790_345_525_000)));
        assert_eq!(report.sent, None, "serverTime is Traccar's clock, and not when the device spoke");
        assert_eq!(fix.speed_cm_s, Some(257), "5 knots");
        assert_eq!((fix.accuracy_cm, fix.altitude_cm, fix.course_cdeg), (ACCURACY_CM_DEFAULT, Some(2_000), Some(27_100)));
        assert_eq!((report.battery_percent, report.charging, report.motion), (Some(64), Some(false), Some(Motion::Moving)));
        assert_eq!(report.own_id.as_deref(), Some("2026-09-25T14:12:06.257+00:00"));
    }

    #[test]
    fn a_position_that_is_not_valid_or_not_new_is_no_fix_and_yet_a_report() {
        for (was, becomes) in
            [(r#""valid":true"#, r#""valid":false"#), (r#""outdated":false"#, r#""outdated":true"#), (r#""valid":true,"#, "")]
        {
            let report = report(&TRACCAR_POSITION.replace(was, becomes));
            assert_eq!((report.fix, report.battery_percent), (None, Some(64)), "{becomes}");
        }
        let nowhere = TRACCAR_POSITION.replace("51.5074", "0.0").replace("-0.1278", "0");
        assert_eq!((report(&nowhere).fix, decoded(&nowhere).remark), (None, None));
        let off = decoded(&TRACCAR_POSITION.replace("51.5074", "151.5"));
        assert_eq!(off.remark.unwrap().reason, RejectReason::OutOfRange, "its bytes go to quarantine, and the rest counts");
        assert!(matches!(off.content, Content::Report(report) if report.fix.is_none() && report.battery_percent == Some(64)));
    }

    #[test]
    fn alarms_come_singly_and_in_lists() {
        assert_eq!(signals("sos"), (Signals::default().with(Signal::Sos), None));
        assert!(signals("SOS").0.press() && signals("lowBattery, sos ,x").0.press());
        assert_eq!(signals("overspeed,lowPower"), (Signals::default(), Some("alarm")));
        assert_eq!(signals(""), (Signals::default(), None));
        let two = signals("fallDown,tampering,geofenceExit");
        assert_eq!(two, (Signals::default().with(Signal::Fall).with(Signal::Opened), Some("alarm")));
        for (alarm, signal) in ALARMS {
            assert!(signals(alarm).0.has(signal), "{alarm}");
        }
    }

    #[test]
    fn the_published_table_of_alarms_is_this_one() {
        let published = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/DEVICES.md")).unwrap();
        let rows: Vec<&str> = published.lines().skip_while(|line| !line.starts_with("| Traccar's alarm |")).skip(2).collect();
        let expected = ALARMS.map(|(alarm, signal)| format!("| `{alarm}` | `{}` |", signal.as_str()));
        assert!(rows.len() > ALARMS.len() && rows.iter().zip(&expected).all(|(row, expected)| row.starts_with(expected)));
        assert!(rows[ALARMS.len()].starts_with("| any other |"), "{}", rows[ALARMS.len()]);
    }

    #[test]
    fn an_alarm_event_speaks_for_the_device_and_traccars_conclusions_do_not() {
        assert!(report(TRACCAR_ALARM_EVENT).signals.press());
        assert!(report(TRACCAR_ALARM_EVENT).fix.is_some());
        for kind in ["deviceOffline", "deviceOnline", "deviceUnknown", "deviceInactive", "geofenceExit", "commandResult"] {
            let concluded = TRACCAR_ALARM_EVENT
                .replace("\"alarm\":\"sos\"", "")
                .replace("\"type\":\"alarm\"", &format!("\"type\":\"{kind}\""));
            let decoded = decoded(&concluded);
            assert_eq!((decoded.content, decoded.unused), (Content::Nothing, Some("event")), "{kind}");
        }
        let offline = r#"{"event":{"id":9,"type":"deviceOffline","eventTime":"2026-09-25T14:12:06.257+00:00","attributes":{}},"position":null,"device":{"uniqueId":"1"}}"#;
        assert_eq!(decoded(offline).content, Content::Nothing);
        let geofence = TRACCAR_ALARM_EVENT.replace("\"type\":\"alarm\"", "\"type\":\"geofenceExit\"");
        assert!(report(&geofence).signals.press(), "the only carrier of an SOS may be another event");
    }

    #[test]
    fn an_sos_is_heard_whatever_else_is_wrong() {
        for wrong in [
            r#"{"position":{"valid":true,"latitude":"x","attributes":{"alarm":"sos"}},"device":{"uniqueId":"1"}}"#,
            r#"{"position":{"valid":true,"latitude":91,"longitude":0,"attributes":{"alarm":"sos"}},"device":{"uniqueId":"1"}}"#,
            r#"{"position":{"fixTime":7,"serverTime":[],"attributes":{"alarm":"sos","batteryLevel":-5}},"device":{"uniqueId":1}}"#,
            r#"{"position":{"attributes":{"alarm":"sos"}},"device":null}"#,
            r#"{"event":{"type":7,"attributes":{"alarm":"sos"}}}"#,
            r#"{"position":{"valid":true,"latitude":NaN,"longitude":NaN,"attributes":{"alarm":"sos"}},"device":{"uniqueId":"1"}}"#,
            r#"{"position":{"valid":true,"latitude":1e999,"attributes":{"alarm":["sos"]}},"device":{"uniqueId":"1"}}"#,
            r#"{"device":{"uniqueId":"1"},"position":{"attributes":{"alarm":"lowBattery,SOS","batteryLe"#,
            r#"{"device":{"name":"Joe "the tracker","uniqueId":"1"},"position":{"attributes":{"alarm":"sos"}}}"#,
            &format!(
                r#"{{"position":{{"attributes":{{"alarm":"sos","original":"{}"}}}},"device":{{"uniqueId":"1"}}}}"#,
                "0".repeat(9_000)
            ),
        ] {
            let decoded = decoded(wrong);
            assert!(decoded.remark.is_some(), "its bytes go to quarantine too: {wrong}");
            assert!(matches!(decoded.content, Content::Report(report) if report.signals.press()), "{wrong}");
            assert!(!wrong.contains(r#""uniqueId":"1""#) || decoded.claimed_device.as_deref() == Some("1"), "{wrong}");
        }
        for (quiet, reason) in [
            (
                r#"{"position":{"latitude":NaN,"attributes":{"alarm":"overspeed"}},"device":{"uniqueId":"1"}}"#,
                RejectReason::NotJson,
            ),
            (r#"{"position":{"address":"\"alarm\":\"sos\"","latitude":NaN}}"#, RejectReason::NotJson),
            (r#"{"position":{"attributes":{"lastAlarm":"sos","alarm":"so"#, RejectReason::NotJson),
        ] {
            assert_eq!(decode(quiet.as_bytes()).unwrap_err().reason, reason, "{quiet}");
        }
    }

    #[test]
    fn what_is_none_of_traccars_is_rejected() {
        for payload in [r#"{"position":{"valid":true},"device":{"uniqueId":null}}"#, r#"{"device":{"uniqueId":"1"}}"#, "{}", "[]"]
        {
            assert_eq!(decode(payload.as_bytes()).unwrap_err().reason, RejectReason::WrongShape, "{payload}");
        }
        assert_eq!(decode(b"").unwrap().content, Content::Nothing);
    }
}
