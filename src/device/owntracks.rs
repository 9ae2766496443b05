//! OwnTracks JSON (its booklet, chapter JSON). `location` and `transition` are where the phone is; every other `_type` is contact
//! only, except what nobody on the phone sends: `lwt` is the broker's word, and an empty payload deletes a retained message.
//!
//! A `waypoint` bears the coordinates of a region, and never becomes a fix. The phone's own verdict on its regions, in a
//! `transition`, is not ours: only its fix counts.

use serde_json::{Map, Value};

use super::json::{Object, centi, parse, place};
use super::rejected::{Reject, RejectReason};
use super::report::{Fix, Report};
use super::{Content, Decoded};
use crate::time::DeviceMillis;

/// Error circle where the app left `acc` out, as it does for zero: a phone that does not know.
const ACCURACY_CM_DEFAULT: u32 = 5_000;
/// The types of the booklet that no rule reads, and `other` for all that it does not know: labels of a metric.
const UNUSED: [&str; 11] =
    ["beacon", "card", "cmd", "configuration", "dump", "encrypted", "request", "status", "steps", "waypoint", "waypoints"];

/// Reads an OwnTracks message.
pub(super) fn decode(payload: &[u8]) -> Result<Decoded, Reject> {
    if payload.is_empty() {
        return Ok(Decoded::of(Content::Nothing));
    }
    let fields = parse::<Map<String, Value>>(payload)?;
    let message = Object::new(&fields);
    let kind = message
        .text("_type")
        .ok_or_else(|| Reject::new(RejectReason::WrongShape, "no _type: this is none of OwnTracks' messages"))?;
    match kind {
        // Of a beacon's region a phone may not know where it was.
        "transition" if !(message.has("lat") && message.has("lon")) => Ok(unused("transition")),
        "location" | "transition" => Ok(Decoded::report(read_place(message)?)),
        "lwt" => Ok(Decoded::of(Content::Will)),
        other => Ok(unused(UNUSED.into_iter().find(|known| *known == other).unwrap_or("other"))),
    }
}

fn unused(what: &'static str) -> Decoded {
    Decoded { unused: Some(what), ..Decoded::of(Content::Other) }
}

/// What `location` and `transition` share. The place and its time must be right; of the rest, what is odd is left out.
fn read_place(message: Object<'_>) -> Result<Report, Reject> {
    let (Some(lat), Some(lon), Some(at)) = (message.number("lat"), message.number("lon"), message.number("tst")) else {
        return Err(Reject::new(RejectReason::WrongShape, "lat, lon and tst must be there, as numbers"));
    };
    let fix = place("lat and lon", lat, lon)?.map(|position| Fix {
        position,
        at: Some(seconds(at)),
        accuracy_cm: message.accuracy_cm("acc", ACCURACY_CM_DEFAULT),
        altitude_cm: message.signed_centi("alt"),
        speed_cm_s: message.number("vel").and_then(|kilometres_an_hour| centi("vel", kilometres_an_hour / 3.6).ok()),
        course_cdeg: message.centi("cog"),
    });
    Ok(Report {
        own_id: message.own_id("_id"),
        // When the phone wrote the message, which is not when it sent it: what it could not send waits in its queue. Taken for `sent`,
        // it would make a buffered fix look as if it had been taken on arrival, by a slow clock.
        happened: message.number("created_at").map(seconds),
        // By a negative radius a phone says that the place itself is void.
        fix: fix.filter(|_| message.number("acc").is_none_or(|metres| metres >= 0.0)),
        battery_percent: message.percent("batt"),
        // 0 unknown, 1 unplugged, 2 charging, 3 full.
        charging: message.number("bs").filter(|state| [1.0, 2.0, 3.0].contains(state)).map(|state| state > 1.5),
        ..Report::default()
    })
}

/// A time from seconds since 1970. One that no clock shows becomes the end of our range: of the future, and so just arrived.
fn seconds(seconds: f64) -> DeviceMillis {
    #[allow(clippy::cast_possible_truncation, reason = "the cast stops at the ends of the range")]
    DeviceMillis::new((seconds * 1_000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(payload: &str) -> Report {
        match decode(payload.as_bytes()).unwrap().content {
            Content::Report(report) => *report,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_booklets_location_is_read() {
        let report = report(super::super::poison_tests::OWNTRACKS_LOCATION);
        let fix = report.fix.unwrap();
        assert_eq!(fix.at, Some(DeviceMillis::new(1_790_345_524_000)));
        assert_eq!((fix.accuracy_cm, fix.altitude_cm, fix.course_cdeg), (1_200, Some(2_000), Some(27_100)));
        assert_eq!(fix.speed_cm_s, Some(111), "4 km/h become m/s");
        assert_eq!((report.battery_percent, report.charging), (Some(41), Some(false)));
        assert_eq!(report.own_id.as_deref(), Some("9f2c"));
        assert_eq!(report.sent, None, "created_at is when it was written down, not when it was sent");
        assert_eq!(report.happened, Some(DeviceMillis::new(1_790_345_531_000)));
    }

    #[test]
    fn what_is_left_out_is_not_zero() {
        let fix = report(r#"{"_type":"location","lat":1,"lon":2,"tst":3}"#).fix.unwrap();
        assert_eq!((fix.accuracy_cm, fix.speed_cm_s, fix.altitude_cm), (ACCURACY_CM_DEFAULT, None, None));
    }

    #[test]
    fn what_a_phone_does_not_know_costs_no_location() {
        let odd = report(
            r#"{"_type":"location","lat":1,"lon":2,"tst":3.5,"vel":-1,"cog":-1,"batt":-100,"bs":"x","alt":null,"_id":7,"created_at":"now"}"#,
        );
        let fix = odd.fix.unwrap();
        assert_eq!((fix.speed_cm_s, fix.course_cdeg, fix.at), (None, None, Some(DeviceMillis::new(3_500))));
        assert_eq!((odd.battery_percent, odd.charging, odd.own_id, odd.happened), (None, None, None, None));
        let future = report(r#"{"_type":"location","lat":1,"lon":2,"tst":1e300}"#);
        assert_eq!(future.fix.unwrap().at, Some(DeviceMillis::new(i64::MAX)), "a wrong clock disables nothing");
        let void = report(r#"{"_type":"location","lat":1,"lon":2,"tst":3,"acc":-1,"batt":50}"#);
        assert_eq!((void.fix, void.battery_percent), (None, Some(50)), "a negative radius makes the place void");
        let nowhere = report(r#"{"_type":"location","lat":0.0,"lon":-0.0,"tst":3,"acc":5,"batt":50}"#);
        assert_eq!((nowhere.fix, nowhere.battery_percent), (None, Some(50)), "at exactly 0, 0 it has no place");
        let lost = report(r#"{"_type":"location","lat":1,"lon":2,"tst":3,"acc":5e7}"#);
        assert!(lost.fix.unwrap().accuracy_cm >= 4_000_000_000, "it knows nothing, and so is no more exact than the worst");
    }

    #[test]
    fn a_transition_is_a_fix_of_the_phone_and_no_verdict() {
        let transition = report(super::super::poison_tests::OWNTRACKS_TRANSITION);
        let fix = transition.fix.unwrap();
        assert_eq!((fix.position.lat_e7(), fix.accuracy_cm), (515_080_000, 1_500));
        assert_eq!(fix.at, Some(DeviceMillis::new(1_790_345_600_000)), "not when the region was drawn");
        assert_eq!(transition.signals, crate::device::Signals::default());
        let beacon = decode(br#"{"_type":"transition","event":"enter","tst":3,"wtst":1,"acc":0,"t":"b"}"#).unwrap();
        assert_eq!((beacon.content, beacon.unused), (Content::Other, Some("transition")));
    }

    #[test]
    fn a_region_is_no_place_of_the_phone() {
        let waypoint = decode(super::super::poison_tests::OWNTRACKS_WAYPOINT.as_bytes()).unwrap();
        assert_eq!((waypoint.content, waypoint.unused), (Content::Other, Some("waypoint")));
    }

    #[test]
    fn other_types_are_contact_under_a_bounded_label() {
        for (payload, what) in [
            (r#"{"_type":"card","name":"x"}"#, "card"),
            (r#"{"_type":"status","iOS":{}}"#, "status"),
            (r#"{"_type":"encrypted","data":"AAAA"}"#, "encrypted"),
            (r#"{"_type":"waypoints","waypoints":[]}"#, "waypoints"),
            (r#"{"_type":"something of tomorrow"}"#, "other"),
            (r#"{"_type":""}"#, "other"),
        ] {
            let decoded = decode(payload.as_bytes()).unwrap();
            assert_eq!((decoded.content, decoded.unused, decoded.remark), (Content::Other, Some(what), None), "{payload}");
        }
    }

    #[test]
    fn the_broker_is_not_the_phone() {
        assert_eq!(decode(br#"{"_type":"lwt","tst":1790340000}"#).unwrap().content, Content::Will);
        assert_eq!(decode(b"").unwrap().content, Content::Nothing);
    }

    #[test]
    fn what_is_none_of_owntracks_is_rejected() {
        for payload in [
            r#"{"lat":1,"lon":2,"tst":3}"#,
            r#"{"_type":7}"#,
            r#"{"_type":"location","lat":1,"lon":2}"#,
            r#"{"_type":"location","lat":"1","lon":2,"tst":3}"#,
            r#"[{"_type":"location","lat":1,"lon":2,"tst":3}]"#,
        ] {
            assert_eq!(decode(payload.as_bytes()).unwrap_err().reason, RejectReason::WrongShape, "{payload}");
        }
        let off = decode(br#"{"_type":"location","lat":91,"lon":2,"tst":3}"#).unwrap_err();
        assert_eq!(off.reason, RejectReason::OutOfRange);
    }
}
