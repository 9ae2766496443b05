//! OwnTracks JSON (booklet, docs/tech/json.md). Here: `location`. Every other `_type` is contact only, except what nobody on the
//! phone sends: `lwt` is the broker's word, and an empty payload deletes a retained message.

use std::borrow::Cow;

use serde::Deserialize;

use super::native::{centi, parse, percent_of, signed_centi};
use super::rejected::{Reject, RejectReason};
use super::report::{Fix, Report};
use super::{Content, Decoded};
use crate::position::Position;
use crate::time::DeviceMillis;

/// Error circle where the app left `acc` out, as it does for zero: a phone that does not know.
const ACCURACY_CM_DEFAULT: u32 = 5_000;

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "_type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Location<'a> {
    lat: f64,
    lon: f64,
    /// Epoch seconds of the fix.
    tst: i64,
    acc: Option<f64>,
    alt: Option<f64>,
    /// Kilometres an hour.
    vel: Option<f64>,
    cog: Option<f64>,
    batt: Option<f64>,
    /// 0 unknown, 1 unplugged, 2 charging, 3 full.
    bs: Option<u8>,
    #[serde(rename = "_id", borrow)]
    id: Option<Cow<'a, str>>,
}

/// Reads an OwnTracks message.
pub(super) fn decode(payload: &[u8]) -> Result<Decoded, Reject> {
    if payload.is_empty() {
        return Ok(decoded(Content::Nothing));
    }
    let typed = parse::<Typed<'_>>(payload)?;
    match &*typed.kind {
        "location" => Ok(decoded(Content::Report(Box::new(read_location(&parse::<Location<'_>>(payload)?)?)))),
        "lwt" => Ok(decoded(Content::Will)),
        _ => Ok(decoded(Content::Other)),
    }
}

fn decoded(content: Content) -> Decoded {
    Decoded { content, claimed_device: None, wants_receipt: false, remark: None }
}

fn read_location(location: &Location<'_>) -> Result<Report, Reject> {
    let position = Position::from_degrees(location.lat, location.lon)
        .ok_or_else(|| Reject::new(RejectReason::OutOfRange, "lat is within ±90 and lon within ±180 degrees"))?;
    let accuracy_cm = location.acc.map(|metres| centi("acc", metres)).transpose()?;
    let fix = Fix {
        position,
        at: Some(DeviceMillis::new(location.tst.saturating_mul(1_000))),
        accuracy_cm: accuracy_cm.filter(|cm| *cm > 0).unwrap_or(ACCURACY_CM_DEFAULT),
        altitude_cm: location.alt.map(|metres| signed_centi("alt", metres)).transpose()?,
        speed_cm_s: location.vel.map(|kilometres| centi("vel", kilometres / 3.6)).transpose()?,
        course_cdeg: location.cog.map(|degrees| centi("cog", degrees)).transpose()?,
    };
    Ok(Report {
        own_id: location
            .id
            .as_ref()
            .filter(|id| !id.is_empty() && id.len() <= crate::limits::OWN_ID_BYTES_MAX)
            .map(ToString::to_string),
        fix: Some(fix),
        battery_percent: location.batt.map(|percent| percent_of("batt", percent)).transpose()?,
        charging: location.bs.and_then(|state| match state {
            1 => Some(false),
            2 | 3 => Some(true),
            _ => None,
        }),
        ..Report::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_booklets_location_is_read() {
        let payload = br#"{"_type":"location","tid":"JJ","lat":51.5074,"lon":-0.1278,"acc":12,"alt":20,"vac":5,"vel":36,"cog":271,"batt":41,"bs":1,
            "conn":"m","t":"p","m":2,"tst":1790345524,"created_at":1790345531,"inregions":["Home"],"_id":"9f2c"}"#;
        let Content::Report(report) = decode(payload).unwrap().content else { panic!("a location is a report") };
        let fix = report.fix.unwrap();
        assert_eq!(fix.at, Some(DeviceMillis::new(1_790_345_524_000)));
        assert_eq!((fix.accuracy_cm, fix.speed_cm_s), (1_200, Some(1_000)), "km/h become m/s");
        assert_eq!((report.battery_percent, report.charging), (Some(41), Some(false)));
        assert_eq!(report.sent, None, "created_at is when it was written down, not when it was sent");
    }

    #[test]
    fn what_is_left_out_is_not_zero() {
        let Content::Report(report) = decode(br#"{"_type":"location","lat":1,"lon":2,"tst":3}"#).unwrap().content else {
            panic!()
        };
        assert_eq!(report.fix.unwrap().accuracy_cm, ACCURACY_CM_DEFAULT);
    }

    #[test]
    fn the_broker_is_not_the_phone() {
        assert_eq!(decode(br#"{"_type":"lwt","tst":1790340000}"#).unwrap().content, Content::Will);
        assert_eq!(decode(b"").unwrap().content, Content::Nothing);
        assert_eq!(decode(br#"{"_type":"card","name":"x"}"#).unwrap().content, Content::Other);
        assert!(decode(br#"{"lat":1,"lon":2,"tst":3}"#).is_err(), "a message without _type is none of OwnTracks");
    }
}
