//! P1 at the door: whatever comes on a duress filter leaves with an alert; and what becomes of everything else.

use proptest::prelude::*;

use super::super::probe::Now;
use super::*;
use crate::config::Settings;
use crate::ids::FeedName;
use crate::rulebook;
use crate::time::ProbeMillis;

fn feed(identity: &str, sources: &str) -> FeedSettings {
    let text = format!(
        "[kafka]\nbrokers = \"k:1\"\n[ingest]\nname = \"a\"\n[[ingest.feeds]]\nname = \"main\"\nurl = \"mqtt://m:1\"\nidentity = \"{identity}\"\n{sources}"
    );
    Settings::load(&text, []).unwrap().ingest().unwrap().feeds[0].clone()
}

fn post(lane: Lane, identity: &str) -> Post {
    post_of(lane, feed(identity, ""))
}

fn post_of(lane: Lane, feed: FeedSettings) -> Post {
    Post {
        feed,
        lane,
        ingester: IngesterName::parse("a").unwrap(),
        incarnation: Incarnation(7),
        topics: Arc::new(TopicNames::new("lonewatch")),
        fallback_centre: CentreName::parse("last-resort").unwrap(),
    }
}

/// A rulebook with device `dev-1` of a tenant of centre `north`, and `south` as the feed's fallback.
fn rulebook_of_one() -> Arc<Rulebook> {
    let files = [
        (
            "installation.toml",
            "[centres.north]\n[centres.south]\n[feeds.main]\ntenants = [\"acme\"]\nfallback_centre = \"south\"\n",
        ),
        ("tenants/acme.toml", "centre = \"north\"\nzone = \"UTC\"\n[devices.dev-1]\n"),
    ];
    rulebook::check(&files.map(|(path, text)| (path.to_owned(), text.to_owned()))).unwrap().rulebook()
}

/// A moment at which both clocks agree.
fn at_both(millis: i64) -> Now {
    Now { wall_millis: millis, steady_millis: millis }
}

fn excerpt_of(payload: &[u8]) -> Excerpt {
    Excerpt::of(&bytes::Bytes::copy_from_slice(payload))
}

/// What becomes of a message that arrives at 10 s.
fn take(post: &Post, mqtt_topic: &str, payload: &[u8], newest_probe: &NewestProbe) -> Intake {
    take_at(10_000, &rulebook_of_one(), post, mqtt_topic, payload, newest_probe)
}

fn take_at(at: i64, rulebook: &Rulebook, post: &Post, mqtt_topic: &str, payload: &[u8], newest_probe: &NewestProbe) -> Intake {
    let Told::Message { source, id, .. } = post.tell(mqtt_topic, payload) else { return Intake::default() };
    let (received_at, connected_at) = (IngestMillis::new(at), IngestMillis::new(0));
    let arrival = Arrival {
        mqtt_topic,
        payload,
        excerpt: &excerpt_of(payload),
        retained: false,
        may_have_waited: true,
        received_at,
        steady_millis: at,
        connected_at,
        newest_probe,
        counter: 1,
    };
    post.take(rulebook, source, id, &arrival)
}

/// The Kafka topics that a message is written to, in order.
fn written(lane: Lane, mqtt_topic: &str, payload: &[u8]) -> Vec<String> {
    let intake = take(&post(lane, "topic"), mqtt_topic, payload, &NewestProbe::default());
    intake.writes.iter().map(|write| write.topic.trim_start_matches("lonewatch.").to_owned()).collect()
}

fn journalled(intake: &Intake) -> MessageRecord {
    let record = intake.writes.iter().find(|write| &*write.topic == "lonewatch.journal").unwrap();
    match journal::decode(&record.payload).unwrap() {
        Record::Message(message) => *message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn presses_go_to_the_centre_of_their_tenant_and_unknown_ones_to_the_fallback() {
    assert_eq!(written(Lane::Duress, "lw/v1/dev-1/duress", b"{}"), ["alerts.north", "journal"]);
    assert_eq!(written(Lane::Duress, "lw/v1/dev-2/duress", b"{}"), ["alerts.south", "journal"]);
    assert_eq!(written(Lane::Duress, "lw/v1/no such id/duress", b"{}"), ["alerts.south", "journal", "quarantine"]);
    assert_eq!(written(Lane::Duress, "lw/v1/dev-1/duress", b"\xff"), ["alerts.north", "journal", "quarantine"]);
    assert_eq!(written(Lane::Duress, "lw/v1/_probe-a/duress", b"no probe"), ["alerts.south", "journal", "quarantine"]);
    assert_eq!(written(Lane::Reports, "lw/v1/dev-1/report", br#"{"signals":["sos"]}"#), ["alerts.north", "journal"]);
}

/// A session that an earlier configuration subscribed, or a mirror that still has it, hands us probes of filters that we do not have.
#[test]
fn a_probe_of_another_configuration_is_no_press() {
    let probe = Probe { incarnation: Incarnation(3), number: 4, sent_at: ProbeMillis::new(5) }.to_string();
    let post = post(Lane::Duress, "topic");
    for mqtt_topic in ["old/_probe-b/duress", "lw/v1/_probe-b/report", "site/7/_probe-b"] {
        assert!(matches!(post.tell(mqtt_topic, probe.as_bytes()), Told::StrayProbe), "{mqtt_topic}");
        assert!(
            matches!(post.tell(mqtt_topic, b"help"), Told::Message { .. }),
            "{mqtt_topic}: whatever else comes there is a press"
        );
    }
    for mqtt_topic in ["lw/v1/dev-1/duress", "old/_probe-/duress", "old/_probe-b c/duress", "old/dev-1/duress"] {
        assert!(matches!(post.tell(mqtt_topic, probe.as_bytes()), Told::Message { .. }), "{mqtt_topic}: no ingester's");
    }
}

#[test]
fn a_probe_on_its_way_through_a_narrower_filter_is_no_press_of_the_wider_one() {
    let probe = Probe { incarnation: Incarnation(3), number: 4, sent_at: ProbeMillis::new(5) }.to_string();
    let source = |lane: &str, filter: &str| format!("[[ingest.feeds.sources]]\nlane = \"{lane}\"\nfilter = \"{filter}\"\n");
    let reports = source("reports", "lw/v1/+/report");
    let wide = post_of(Lane::Duress, feed("topic", &[source("duress", "lw/+/+/duress"), reports.clone()].concat()));
    assert!(matches!(wide.tell("lw/v1/_probe-b/duress", probe.as_bytes()), Told::StrayProbe));
    let both = [source("duress", "lw/+/+/duress"), source("duress", "lw/v1/+/duress"), reports].concat();
    let both = post_of(Lane::Duress, feed("topic", &both));
    assert!(matches!(both.tell("lw/v1/_probe-b/duress", probe.as_bytes()), Told::Probe { source: 1, .. }));
    assert!(matches!(both.tell("lw/_probe-b/_probe-b/duress", probe.as_bytes()), Told::Probe { source: 0, .. }));
}

#[test]
fn what_no_filter_takes_alerts_and_shows_that_the_session_is_of_another_configuration() {
    let post = post(Lane::Duress, "topic");
    let of_a_filter = |mqtt_topic: &str| match post.tell(mqtt_topic, b"help") {
        Told::Message { is_of_a_filter, .. } => is_of_a_filter,
        Told::Probe { .. } | Told::StrayProbe => panic!("no probe"),
    };
    assert!(of_a_filter("lw/v1/dev-1/duress") && of_a_filter("lw/v1/_probe-a/duress"));
    assert!(!of_a_filter("old/dev-1/duress"));
    assert!(of_a_filter(&format!("lw/v1/{}/duress", "x".repeat(300))), "too long for any filter to tell");
    assert_eq!(written(Lane::Duress, "old/dev-1/duress", b"help"), ["alerts.south", "journal", "quarantine"]);
}

#[test]
fn a_rulebook_that_has_lost_the_feed_still_leaves_somebody_to_hear() {
    let post = post(Lane::Duress, "topic");
    let intake = take_at(1, &Rulebook::empty(), &post, "lw/v1/dev-1/duress", b"x", &NewestProbe::default());
    assert_eq!(&*intake.writes[0].topic, "lonewatch.alerts.last-resort");
}

#[test]
fn reports_that_cannot_be_read_are_contact_and_quarantine() {
    assert_eq!(written(Lane::Reports, "lw/v1/dev-1/report", b"{}"), ["journal"]);
    for poison in [&b""[..], b"\xff", b"[", br#"{"battery":"full"}"#, br#"{"device":"dev-2"}"#, &[b' '; 9_000]] {
        assert_eq!(written(Lane::Reports, "lw/v1/dev-1/report", poison), ["journal", "quarantine"]);
        let intake = take(&post(Lane::Reports, "topic"), "lw/v1/dev-1/report", poison, &NewestProbe::default());
        assert!(matches!(journalled(&intake).content, MessageContent::Unreadable(_)));
    }
    assert_eq!(written(Lane::Reports, "lw/v1/no such id/report", b"{}"), ["quarantine"], "nobody's contact");
}

#[test]
fn another_devices_claim_is_believed_of_a_trusted_gateway_only() {
    let claim = br#"{"device":"dev-1","id":"p"}"#;
    let of = |identity| {
        let intake = take(&post(Lane::Duress, identity), "lw/v1/gateway/duress", claim, &NewestProbe::default());
        (journalled(&intake).device.to_string(), intake.quarantined)
    };
    assert_eq!(of("topic"), ("gateway".to_owned(), Some(RejectReason::AnotherDevice)));
    assert_eq!(of("payload"), ("dev-1".to_owned(), None));
}

#[test]
fn mirrored_copies_of_a_press_differ_in_their_lane_alone() {
    let mut probe = NewestProbe::default();
    let sent_at = ProbeMillis::new(9_000);
    let ingester = IngesterName::parse("b").unwrap();
    probe.saw(ProbeRef { ingester, incarnation: Incarnation(3), number: 4, sent_at }, at_both(9_500));
    let alert = |name: &str| {
        let post = Post { ingester: IngesterName::parse(name).unwrap(), ..post(Lane::Duress, "topic") };
        let intake = take(&post, "lw/v1/dev-1/duress", b"junk", &probe);
        let CentreMessage::Alert(alert) = serde_json::from_slice(&intake.writes[0].payload).unwrap() else { panic!("an alert") };
        *alert
    };
    let (mut one, two) = (alert("a"), alert("b"));
    assert_ne!(one.lane, two.lane);
    one.lane.clone_from(&two.lane);
    assert_eq!(one, two);
}

#[test]
fn a_press_through_a_feed_of_others_goes_to_its_fallback_and_hides_nothing() {
    let files = [
        (
            "installation.toml",
            "[centres.north]\n[centres.south]\n[feeds.main]\ntenants = [\"beta\"]\nfallback_centre = \"south\"\n\
             [feeds.other]\ntenants = [\"acme\"]\nfallback_centre = \"south\"\n",
        ),
        ("tenants/acme.toml", "centre = \"north\"\n[devices.dev-1]\n"),
        ("tenants/beta.toml", "centre = \"south\"\n[devices.dev-2]\n"),
    ];
    let rulebook = rulebook::check(&files.map(|(path, text)| (path.to_owned(), text.to_owned()))).unwrap().rulebook();
    let post = post(Lane::Duress, "topic");
    let taken = |rulebook: &Rulebook, device: &str| {
        let topic = format!("lw/v1/{device}/duress");
        take_at(10_000, rulebook, &post, &topic, br#"{"id":"p-1"}"#, &NewestProbe::default())
    };
    let (of_others, true_one) = (taken(&rulebook, "dev-1"), taken(&rulebook_of_one(), "dev-1"));
    assert_eq!(&*of_others.writes[0].topic, "lonewatch.alerts.south");
    assert_ne!(journalled(&of_others).event, journalled(&true_one).event);
    let (unknown, same) = (taken(&rulebook, "nobody"), taken(&rulebook_of_one(), "nobody"));
    assert_eq!(journalled(&unknown).event, journalled(&same).event, "what nobody entered is anybody's");
}

/// A press of one id every time, at so many minutes after the last probe of its connection; the ids of its revision 1 and of its event.
fn pressed_after(minutes: i64, ingester: &str) -> (ids::AlertId, MessageRecord) {
    let mut probe = NewestProbe::default();
    let (b, incarnation) = (IngesterName::parse("b").unwrap(), Incarnation(3));
    probe.saw(ProbeRef { ingester: b, incarnation, number: 4, sent_at: ProbeMillis::new(0) }, at_both(0));
    let post = Post { ingester: IngesterName::parse(ingester).unwrap(), ..post(Lane::Duress, "topic") };
    let intake = take_at(minutes * 60_000 + 500, &rulebook_of_one(), &post, "lw/v1/dev-1/duress", br#"{"id":"p-1"}"#, &probe);
    let CentreMessage::Alert(alert) = serde_json::from_slice(&intake.writes[0].payload).unwrap() else { panic!("an alert") };
    (alert.id, journalled(&intake))
}

#[test]
fn while_no_probe_comes_a_press_is_counted_and_after_ten_minutes_alerts_for_itself() {
    let (usual, first) = pressed_after(0, "a");
    assert_eq!(first.press.unwrap().counted, None);
    let (soon, counted) = pressed_after(9, "a");
    let expected = Counted { incarnation: Incarnation(7), counter: 1, quiet_millis: 540_500 };
    assert_eq!(counted.press.unwrap().counted, Some(expected));
    assert_eq!((soon, counted.event), (usual, first.event), "the machine tells a copy from a new press");
    let ((late, counted), (mirrored, _)) = (pressed_after(60, "a"), pressed_after(60, "b"));
    assert_eq!(counted.event, first.event);
    assert!(late != usual && mirrored != usual && late != mirrored, "doubled, never under an id of long ago");
}

#[test]
fn an_own_id_is_good_for_a_day_and_both_copies_agree_on_the_day() {
    let event = |ingester: &str, sent_at: i64, received_at: i64| {
        let mut probe = NewestProbe::default();
        let (b, incarnation) = (IngesterName::parse("b").unwrap(), Incarnation(3));
        probe.saw(ProbeRef { ingester: b, incarnation, number: 4, sent_at: ProbeMillis::new(sent_at) }, at_both(received_at));
        let post = Post { ingester: IngesterName::parse(ingester).unwrap(), ..post(Lane::Duress, "topic") };
        journalled(&take_at(received_at, &rulebook_of_one(), &post, "lw/v1/dev-1/duress", br#"{"id":"1"}"#, &probe)).event
    };
    let day = crate::time::DAY_MILLIS;
    assert_eq!(event("a", day - 1, day - 1), event("b", day - 1, day + 900), "a copy goes by the probe, not by its receiver");
    assert_eq!(event("a", day, day), event("a", 2 * day - 1, 2 * day));
    assert_ne!(event("a", day, day), event("a", 2 * day, 2 * day), "the next day it is a new press");
}

#[test]
fn receipts_name_the_own_id_or_the_payload() {
    let receipt = |payload: &[u8]| {
        let intake = take(&post(Lane::Duress, "topic"), "lw/v1/dev-1/duress", payload, &NewestProbe::default());
        String::from_utf8(intake.receipt.unwrap().payload).unwrap()
    };
    assert_eq!(receipt(br#"{"id":"p-1"}"#), r#"{"id":"p-1"}"#);
    assert_eq!(receipt(br#"{"boot":2,"seq":9}"#), r#"{"id":"2.9"}"#);
    assert_eq!(receipt(b"junk"), format!(r#"{{"sha256":"{}"}}"#, ids::sha256_hex(b"junk")));
    let report = |payload: &[u8]| {
        take(&post(Lane::Reports, "topic"), "lw/v1/dev-1/report", payload, &NewestProbe::default()).receipt.is_some()
    };
    assert!(!report(b"{}") && report(br#"{"receipt":true}"#));
}

#[test]
fn an_owntracks_phone_is_user_and_device() {
    let payload = br#"{"_type":"location","lat":1,"lon":2,"tst":3}"#;
    let intake = take(&post(Lane::Reports, "topic"), "owntracks/jane/phone", payload, &NewestProbe::default());
    assert_eq!(journalled(&intake).device.as_str(), "jane.phone");
    let deleted = take(&post(Lane::Reports, "topic"), "owntracks/jane/phone", b"", &NewestProbe::default());
    assert!(deleted.passed_over && deleted.writes.is_empty());
    assert_eq!(FeedName::parse("main").unwrap(), journalled(&intake).feed);
}

#[test]
fn what_a_phone_tells_beside_its_locations_names_the_same_device() {
    let post = post(Lane::Reports, "topic");
    let told = |mqtt_topic: &str, payload: &[u8]| take(&post, mqtt_topic, payload, &NewestProbe::default());
    let transition =
        told("owntracks/jane/phone/event", br#"{"_type":"transition","event":"leave","lat":1,"lon":2,"acc":9,"tst":3,"wtst":1}"#);
    let record = journalled(&transition);
    assert_eq!((record.device.as_str(), record.decoder), ("jane.phone", Decoder::Owntracks));
    assert!(record.report().is_some_and(|report| report.fix.is_some()) && transition.unused.is_none());
    let card = told("owntracks/jane/phone", br#"{"_type":"card","name":"Jane"}"#);
    assert_eq!((journalled(&card).content, card.quarantined), (MessageContent::Other, None));
    assert_eq!(card.unused, Some((Decoder::Owntracks, "card")));
}

#[test]
fn wills_reach_the_journal_and_a_deletion_does_not() {
    let post = post(Lane::Reports, "topic");
    for (mqtt_topic, payload, device) in [
        ("lw/v1/dev-1/status", &b"offline"[..], "dev-1"),
        ("lw/v1/dev-1/status", &[0xff; 9_000], "dev-1"),
        ("owntracks/jane/phone", br#"{"_type":"lwt","tst":1790340000}"#, "jane.phone"),
    ] {
        let intake = take(&post, mqtt_topic, payload, &NewestProbe::default());
        let record = journalled(&intake);
        assert_eq!((record.device.as_str(), record.content, intake.writes.len()), (device, MessageContent::Will, 1));
    }
    let there = take(&post, "lw/v1/dev-1/status", br#"{"online":true}"#, &NewestProbe::default());
    assert_eq!(journalled(&there).content, MessageContent::Other, "the device's own word is contact");
    assert!(take(&post, "lw/v1/dev-1/status", b"", &NewestProbe::default()).writes.is_empty());
    assert!(matches!(
        take(&post, "lw/v1/no id!/status", b"x", &NewestProbe::default()).quarantined,
        Some(RejectReason::IllegalDeviceId)
    ));
}

#[test]
fn a_retained_copy_is_said_to_be_one() {
    let post = post(Lane::Reports, "topic");
    let (mqtt_topic, payload) = ("owntracks/jane/phone", br#"{"_type":"location","lat":1,"lon":2,"tst":3}"#);
    let Told::Message { source, id, .. } = post.tell(mqtt_topic, payload) else { panic!("no probe") };
    let newest_probe = NewestProbe::default();
    let (received_at, connected_at) = (IngestMillis::new(1), IngestMillis::new(0));
    let arrival = Arrival {
        mqtt_topic,
        payload,
        excerpt: &excerpt_of(payload),
        retained: true,
        may_have_waited: true,
        received_at,
        steady_millis: 1,
        connected_at,
        newest_probe: &newest_probe,
        counter: 1,
    };
    assert!(journalled(&post.take(&rulebook_of_one(), source, id, &arrival)).retained);
}

#[test]
fn a_report_at_qos_0_is_dated_past_the_probes_that_wait_for_kafka() {
    let post = post(Lane::Reports, "topic");
    let (mqtt_topic, payload) = ("lw/v1/dev-1/report", b"{}");
    let mut newest_probe = NewestProbe::default();
    let (ingester, incarnation) = (IngesterName::parse("b").unwrap(), Incarnation(3));
    newest_probe.saw(ProbeRef { ingester, incarnation, number: 4, sent_at: ProbeMillis::new(1_000) }, at_both(1_000));
    let arrived_at = |may_have_waited: bool| {
        let Told::Message { source, id, .. } = post.tell(mqtt_topic, payload) else { panic!("no probe") };
        let (received_at, connected_at) = (IngestMillis::new(41_000), IngestMillis::new(0));
        let (steady_millis, newest_probe) = (41_000, &newest_probe);
        let arrival = Arrival {
            mqtt_topic,
            payload,
            excerpt: &excerpt_of(payload),
            retained: false,
            may_have_waited,
            received_at,
            steady_millis,
            connected_at,
            newest_probe,
            counter: 1,
        };
        journalled(&post.take(&rulebook_of_one(), source, id, &arrival)).arrived_at()
    };
    assert_eq!((arrived_at(false), arrived_at(true)), (41_000, 1_000));
}

/// The reports lane of a Traccar that is trusted to say which device speaks, as docs/DEVICES.md configures it.
fn gateway(identity: &str) -> Post {
    let source = |lane: &str, last: &str, decoder: &str| {
        format!("[[ingest.feeds.sources]]\nlane = \"{lane}\"\nfilter = \"traccar/+/{last}\"\ndecoder = \"{decoder}\"\n")
    };
    let sources =
        [source("duress", "duress", "native"), source("reports", "positions", "traccar"), source("reports", "events", "traccar")];
    post_of(Lane::Reports, feed(identity, &sources.concat()))
}

/// A position as Traccar forwards it.
fn forwarded(device: &str, alarm: &str) -> String {
    format!(
        r#"{{"position":{{"valid":true,"latitude":1,"longitude":2,"serverTime":"2026-09-25T14:12:06.257+00:00","attributes":{{"alarm":"{alarm}"}}}},"device":{{"uniqueId":{device}}}}}"#
    )
}

#[test]
fn an_sos_behind_a_gateway_takes_the_express_lane() {
    let of = |identity: &str, mqtt_topic: &str, payload: String| {
        let intake = take(&gateway(identity), mqtt_topic, payload.as_bytes(), &NewestProbe::default());
        let topics: Vec<String> =
            intake.writes.iter().map(|write| write.topic.trim_start_matches("lonewatch.").to_owned()).collect();
        let receipt = intake.receipt.as_ref().map(|receipt| receipt.device.to_string());
        (topics.join(" "), receipt.unwrap_or_default(), intake.quarantined)
    };
    let positions = "traccar/gw-1/positions";
    let own = |topics: &str, device: &str, reason| (topics.to_owned(), device.to_owned(), reason);
    assert_eq!(of("payload", positions, forwarded("\"dev-1\"", "sos")), own("alerts.north journal", "dev-1", None));
    assert_eq!(of("payload", positions, forwarded("\"dev-1\"", "lowBattery")), own("journal", "", None));
    assert_eq!(
        of("payload", "traccar/any thing/positions", forwarded("\"dev-1\"", "sos")),
        own("alerts.north journal", "dev-1", None)
    );

    let everywhere = "alerts.south journal quarantine";
    let illegal = DeviceId::for_illegal("no legal id".as_bytes());
    let reason = Some(RejectReason::IllegalDeviceId);
    assert_eq!(of("payload", positions, forwarded("\"no legal id\"", "sos")), own(everywhere, illegal.as_str(), reason));
    assert_eq!(of("payload", positions, forwarded("\"no legal id\"", "x")), own("quarantine", "", reason), "nobody's contact");
    let nameless = Some(RejectReason::WrongShape);
    assert_eq!(of("payload", positions, forwarded("null", "sos")), own(everywhere, "gw-1", nameless));
    let another = Some(RejectReason::AnotherDevice);
    assert_eq!(of("topic", positions, forwarded("\"dev-1\"", "sos")), own(everywhere, "gw-1", another), "not trusted");
    assert_eq!(of("topic", positions, forwarded("\"dev-1\"", "x")), own("journal quarantine", "", another));
}

#[test]
fn a_gateway_that_delivers_twice_tells_once() {
    let event = |sent_at: i64, payload: &str| {
        let mut probe = NewestProbe::default();
        let (ingester, incarnation) = (IngesterName::parse("b").unwrap(), Incarnation(3));
        probe.saw(ProbeRef { ingester, incarnation, number: 4, sent_at: ProbeMillis::new(sent_at) }, at_both(sent_at));
        journalled(&take(&gateway("payload"), "traccar/gw-1/positions", payload.as_bytes(), &probe)).event
    };
    let once = forwarded("\"dev-1\"", "sos");
    assert_eq!(event(9_000, &once), event(12_000, &once));
    assert_ne!(event(9_000, &once), event(9_000, &once.replace("06.257", "06.258")), "a second press");
}

#[test]
fn what_a_gateway_concludes_is_nobodys_word() {
    let concluded = br#"{"event":{"type":"deviceOffline","attributes":{}},"position":null,"device":{"uniqueId":"dev-1"}}"#;
    let intake = take(&gateway("payload"), "traccar/gw-1/events", concluded, &NewestProbe::default());
    assert!(intake.passed_over && intake.writes.is_empty() && intake.receipt.is_none());
    assert_eq!(intake.unused, Some((Decoder::Traccar, "event")));
}

fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let json = r#"\{"(id|boot|seq|time|sent|fix|device|signals|visit)":("[a-z]{0,8}"|-?[0-9]{1,20}|null|\[\]|\{"lat":[0-9]{1,3},"lon":1\})\}"#;
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        json.prop_map(String::into_bytes),
        (0_usize..10_000).prop_map(|length| vec![b'7'; length]),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_on_a_duress_filter_leaves_with_an_alert_and_a_receipt(
        payload in any_payload(),
        mqtt_topic in prop_oneof![Just("lw/v1/dev-1/duress".to_owned()), ".{0,40}", "lw/v1/.{0,80}/duress"],
    ) {
        let post = post(Lane::Duress, "topic");
        prop_assume!(matches!(post.tell(&mqtt_topic, &payload), Told::Message { .. }));
        let intake = take(&post, &mqtt_topic, &payload, &NewestProbe::default());
        prop_assert!(intake.writes[0].topic.starts_with("lonewatch.alerts."));
        prop_assert_eq!(&*intake.writes[1].topic, "lonewatch.journal");
        prop_assert!(intake.receipt.is_some() && intake.press);
        prop_assert_eq!(intake.writes.len() == 3, intake.quarantined.is_some());
        prop_assert!(journalled(&intake).press.is_some());
    }

    #[test]
    fn no_report_breaks_the_door(payload in any_payload(), mqtt_topic in prop_oneof![Just("lw/v1/dev-1/report".to_owned()), ".{0,40}"]) {
        let intake = take(&post(Lane::Reports, "topic"), &mqtt_topic, &payload, &NewestProbe::default());
        prop_assert!(intake.writes.len() <= 3);
    }
}
