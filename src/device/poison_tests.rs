//! No bytes break a decoder: arbitrary ones, and samples of every dialect with some of them damaged.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

pub(super) const OWNTRACKS_LOCATION: &str = r#"{"_type":"location","tid":"JJ","lat":51.5074,"lon":-0.1278,"acc":12,"alt":20,"vac":5,"vel":4,"cog":271,"batt":41,"bs":1,"conn":"m","t":"p","m":2,"tst":1790345524,"created_at":1790345531,"inregions":["Home"],"inrids":["6da9cf"],"_id":"9f2c"}"#;
pub(super) const OWNTRACKS_TRANSITION: &str = r#"{"_type":"transition","event":"leave","desc":"Home","rid":"6da9cf","wtst":1790000000,"lat":51.508,"lon":-0.129,"acc":15,"tid":"JJ","t":"c","tst":1790345600}"#;
pub(super) const OWNTRACKS_WAYPOINT: &str =
    r#"{"_type":"waypoint","desc":"Home","lat":51.5074,"lon":-0.1278,"rad":100,"tst":1790000000,"rid":"6da9cf"}"#;
pub(super) const TRACCAR_POSITION: &str = r#"{"position":{"id":0,"attributes":{"batteryLevel":64,"charge":false,"alarm":"lowBattery","distance":12.5,"totalDistance":4711.0,"motion":true},"deviceId":7,"type":null,"protocol":"gt06","serverTime":"2026-09-25T14:12:06.257+00:00","deviceTime":"2026-09-25T14:12:05.000+00:00","fixTime":"2026-09-25T14:12:04.000+00:00","outdated":false,"valid":true,"latitude":51.5074,"longitude":-0.1278,"altitude":20.0,"speed":5.0,"course":271.0,"address":null,"accuracy":0.0,"network":null,"geofenceIds":null},"device":{"id":7,"attributes":{},"groupId":0,"calendarId":0,"name":"Jane's tracker","uniqueId":"356307042441013","status":"online","lastUpdate":"2026-09-25T14:12:06.257+00:00","positionId":18336,"phone":null,"model":null,"contact":null,"category":"person","disabled":false,"expirationTime":null}}"#;
pub(super) const TRACCAR_ALARM_EVENT: &str = r#"{"event":{"id":1216,"attributes":{"alarm":"sos"},"deviceId":7,"type":"alarm","eventTime":"2026-09-25T14:12:05.000+00:00","positionId":18337,"geofenceId":0,"maintenanceId":0},"position":{"id":18337,"attributes":{"alarm":"sos"},"deviceId":7,"protocol":"gt06","serverTime":"2026-09-25T14:12:06.257+00:00","deviceTime":"2026-09-25T14:12:05.000+00:00","fixTime":"2026-09-25T14:12:04.000+00:00","outdated":false,"valid":true,"latitude":51.5074,"longitude":-0.1278,"altitude":0.0,"speed":0.0,"course":0.0,"accuracy":0.0},"device":{"id":7,"name":"Jane's tracker","uniqueId":"356307042441013"}}"#;
const NATIVE: &str = r#"{"id":"m-1","boot":3,"seq":17,"time":5,"sent":1790345531000,"battery":41.4,"charging":false,"motion":"moving","interval":60,"fix":{"lat":51.5074,"lon":-0.1278,"time":1790345524000,"accuracy":12,"speed":1.2},"visit":{"step":"start","until":1790349131000},"signals":["man_down","SOS"]}"#;

const SAMPLES: [&str; 10] = [
    NATIVE,
    OWNTRACKS_LOCATION,
    OWNTRACKS_TRANSITION,
    OWNTRACKS_WAYPOINT,
    r#"{"_type":"lwt","tst":1790340000}"#,
    r#"{"_type":"encrypted","data":"AAAA"}"#,
    TRACCAR_POSITION,
    TRACCAR_ALARM_EVENT,
    r#"{"online":true}"#,
    "$GPRMC,141204,A,5130.444,N,00007.668,W,5.0,271.0,250926,,*1F",
];

/// Reads bytes in every dialect. What comes out bears only what the machine may rely on.
fn read_by_all(payload: &[u8]) -> Result<(), TestCaseError> {
    for decoder in Decoder::ALL {
        let Ok(decoded) = decoder.decode(payload) else { continue };
        let Content::Report(report) = decoded.content else { continue };
        prop_assert!(report.fix.is_none_or(|fix| fix.accuracy_cm > 0), "no fix is exact");
        prop_assert!(report.own_id.is_none_or(|id| (1..=limits::OWN_ID_BYTES_MAX).contains(&id.len())));
        prop_assert!(report.battery_percent.is_none_or(|percent| percent <= 100));
    }
    let _press = NativePress::read(payload);
    Ok(())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(Value::from("2026-09-25T14:12:04.000+00:00")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from);
        let object = proptest::collection::btree_map("[a-z_]{1,8}", inner, 0..3)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()));
        prop_oneof![list, object]
    })
}

/// Every place in a document, as a JSON pointer, without those of the alarms and without what holds one.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    if let Value::Object(fields) = value {
        for (name, inner) in fields {
            let at = format!("{at}/{name}");
            places(inner, &at, found);
            if !inner.to_string().contains("sos") {
                found.push(at);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_break_a_decoder(payload in proptest::collection::vec(any::<u8>(), 0..600)) {
        read_by_all(&payload)?;
    }

    #[test]
    fn no_damage_to_a_sample_breaks_a_decoder(
        sample in proptest::sample::select(&SAMPLES[..]),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        end in any::<proptest::sample::Index>(),
    ) {
        let mut payload = sample.as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        read_by_all(&payload)?;
        payload.truncate(end.index(payload.len()));
        read_by_all(&payload)?;
    }

    #[test]
    fn no_value_in_place_of_another_breaks_a_decoder(
        sample in proptest::sample::select(&SAMPLES[..]),
        place in any::<proptest::sample::Index>(),
        other in any_json(),
    ) {
        // A sample of a dialect that is no JSON has no values to put in place of others.
        let Ok(mut document) = serde_json::from_str::<Value>(sample) else { return Ok(()) };
        let mut found = Vec::new();
        places(&document, "", &mut found);
        prop_assume!(!found.is_empty());
        *document.pointer_mut(&found[place.index(found.len())]).unwrap() = other;
        read_by_all(document.to_string().as_bytes())?;
    }

    #[test]
    fn no_damage_beside_a_traccar_alarm_costs_the_press(
        sample in prop_oneof![Just(TRACCAR_ALARM_EVENT.to_owned()), Just(TRACCAR_POSITION.replace("lowBattery", "sos"))],
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any_json()), 1..5),
    ) {
        let mut document: Value = serde_json::from_str(&sample).unwrap();
        for (place, other) in damage {
            let mut found = Vec::new();
            places(&document, "", &mut found);
            prop_assume!(!found.is_empty());
            *document.pointer_mut(&found[place.index(found.len())]).unwrap() = other;
        }
        let payload = document.to_string();
        prop_assume!(payload.len() <= limits::DECODED_BYTES_MAX);
        let decoded = Decoder::Traccar.decode(payload.as_bytes()).unwrap();
        prop_assert!(matches!(decoded.content, Content::Report(report) if report.signals.press()));
    }
}

proptest! {
    #[test]
    fn no_damage_behind_a_native_signal_costs_the_press(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        end in any::<proptest::sample::Index>(),
        padding in prop_oneof![Just(0), 9_000..20_000_usize],
    ) {
        let signal = r#"{"signals":["sos"],"#;
        let mut rest = NATIVE[1..].replace("signals", "later").into_bytes();
        rest.extend(vec![b' '; padding]);
        for (at, byte) in damage {
            let at = at.index(rest.len());
            rest[at] = byte;
        }
        rest.truncate(end.index(rest.len() + 1));
        let payload = [signal.as_bytes(), &rest].concat();
        let decoded = Decoder::Native.decode(&payload).unwrap();
        prop_assert!(matches!(decoded.content, Content::Report(report) if report.signals.press()));
    }
}

#[test]
fn each_dialect_has_a_name_and_a_number_of_its_own() {
    for (decoder, name) in Decoder::ALL.iter().zip(Decoder::NAMES) {
        assert_eq!((Decoder::parse(name), Decoder::from_number(decoder.number())), (Some(*decoder), Some(*decoder)));
        assert_eq!(decoder.as_str(), *name);
    }
    assert_eq!((Decoder::parse("morse"), Decoder::from_number(0)), (None, None));
}

#[test]
fn too_many_bytes_are_not_read_but_a_will_is_one_however_long() {
    let long = vec![b' '; limits::DECODED_BYTES_MAX + 1];
    for decoder in Decoder::ALL {
        match decoder.decode(&long) {
            Err(reject) => assert_eq!(reject.reason, RejectReason::TooLarge),
            Ok(decoded) => assert_eq!((*decoder, decoded.content), (Decoder::Status, Content::Will)),
        }
    }
}
