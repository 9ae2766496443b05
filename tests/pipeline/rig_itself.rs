//! The rig itself: brokers start, strangers' clients reach them, faults can be made, and everything is gone afterwards.

use std::path::Path;
use std::time::Duration;

use lonewatch::alert::{Alert, CentreMessage, Kind};
use lonewatch::ids::{CentreName, DeviceId};

use crate::rig::{
    Diary, Follower, Guarded, Lonewatch, Mosquitto, Seen, SeenAlert, Subscriber, Verdict, Watchdog, World, consume, is_running,
    produce, publish, publish_with, wait_gone,
};

const SOON: Duration = Duration::from_secs(20);

/// What no line-based tool may mangle: a line end, a zero byte, no UTF-8.
const AWKWARD: &[u8] = b"line 1\nline 2\0 \xff\xfe";

#[test]
fn brokers_carry_messages_and_are_gone_afterwards() {
    let world = World::new("rig-carries");
    let kafka_topic = world.kafka_topic("records");
    world.kafka.create_topic(&kafka_topic, 2, &["message.timestamp.type=LogAppendTime"]);
    produce(&world.kafka, &kafka_topic, "dev-1", AWKWARD);
    let records = consume(&world.kafka, &kafka_topic);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].key_text(), "dev-1");
    assert_eq!(records[0].value.as_deref(), Some(AWKWARD));

    let mut subscriber = Subscriber::start(&world.mosquitto, "lw/v1/+/duress");
    publish(&world.mosquitto, "lw/v1/dev-1/duress", AWKWARD);
    publish(&world.mosquitto, "lw/v1/dev-2/duress", b"");
    let heard = subscriber.wait_message(SOON, "the press", |message| message.mqtt_topic == "lw/v1/dev-1/duress");
    assert_eq!(heard.payload, AWKWARD);
    assert!(!heard.retained);
    let empty = subscriber.wait_message(SOON, "the empty press", |message| message.mqtt_topic == "lw/v1/dev-2/duress");
    assert_eq!(empty.payload, b"");

    gone_after_drop(&[world.mosquitto.pid(), subscriber.process().pid()], (subscriber, world));
}

#[test]
fn kafka_keeps_records_over_stop_kill_and_freeze() {
    let world = World::with_own_kafka("rig-kafka-faults");
    let kafka_topic = world.kafka_topic("records");
    world.kafka.create_topic(&kafka_topic, 1, &[]);
    let mut follower = Follower::start(&world.kafka, &kafka_topic);

    produce(&world.kafka, &kafka_topic, "dev-1", b"before");
    follower.wait_record(SOON, "the first record", |record| record.value.as_deref() == Some(b"before"));
    world.kafka.stop();
    world.kafka.restart();
    produce(&world.kafka, &kafka_topic, "dev-1", b"after a stop");
    world.kafka.kill();
    world.kafka.restart();
    produce(&world.kafka, &kafka_topic, "dev-1", b"after a kill");
    world.kafka.freeze();
    world.kafka.thaw();
    produce(&world.kafka, &kafka_topic, "dev-1", b"after a freeze");

    follower.wait_record(SOON, "the last record", |record| record.value.as_deref() == Some(b"after a freeze"));
    let values: Vec<_> = consume(&world.kafka, &kafka_topic).into_iter().filter_map(|record| record.value).collect();
    assert_eq!(values, [&b"before"[..], b"after a stop", b"after a kill", b"after a freeze"]);

    gone_after_drop(&[world.kafka.pid(), world.mosquitto.pid()], (follower, world));
}

/// The processes run, and no longer once what owns them is dropped.
#[track_caller]
fn gone_after_drop<T>(pids: &[u32], owner: T) {
    assert!(pids.iter().all(|pid| is_running(*pid)));
    drop(owner);
    for pid in pids {
        wait_gone(*pid, SOON);
    }
}

#[test]
fn mosquitto_keeps_a_session_over_a_stop() {
    let mosquitto = Mosquitto::start();
    let session = ["-c", "-i", "watcher", "-x", "3600", "-q", "1", "-V", "mqttv5", "-h", "127.0.0.1", "-t", "lw/v1/+/report"];
    let listen = |further: &[&str]| {
        let port = mosquitto.port().to_string();
        Guarded::start("mosquitto_sub", &crate::rig::find_program("mosquitto_sub"), |command| {
            command.args(session).args(["-p", &port]).args(further);
        })
    };
    // Subscribes, and leaves its session behind.
    assert!(listen(&["-E"]).wait_ended(SOON).success());
    publish_with(&mosquitto, "lw/v1/dev-1/report", b"one\ntwo\nthree\n", &["-l"]);
    mosquitto.stop();
    mosquitto.restart();
    let mut again = listen(&["-C", "3"]);
    assert!(again.wait_ended(SOON).success(), "{}", again.tail());
    assert_eq!(String::from_utf8_lossy(&again.stdout()), "one\ntwo\nthree\n");
}

#[test]
fn what_a_killed_test_run_leaves_is_ended() {
    let watchdog = Watchdog::new("left");
    let folder = watchdog.folder().to_owned();
    // A frozen process hears no polite signal.
    let mut left = Guarded::start_under(&watchdog, "sleeper", Path::new("/bin/sleep"), |command| {
        command.arg("600");
    });
    crate::rig::wait_until(SOON, "the process to register", || {
        std::fs::read_dir(&folder).is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| is_pid_file(&file.path()))))
    });
    left.freeze();
    let pid = left.pid();
    assert!(is_running(pid));
    watchdog.end();
    left.wait_ended(SOON);
    assert!(!is_running(pid));
    assert!(!folder.exists());
}

/// One with a number in it: it is made before it is written.
fn is_pid_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pid") && path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

#[test]
fn our_own_program_is_started_and_its_end_seen() {
    let (status, _, log) = Lonewatch::run(SOON, &["--version"], [("LONEWATCH_RIG", "1")]);
    assert!(status.success(), "{status}: {log}");
}

/// A judge who finds nothing is worth nothing unless he would have found it.
#[test]
fn the_judge_finds_what_is_wrong() {
    let mut diary = Diary::default();
    for id in ["p-1", "p-2"] {
        let place = diary.pressed("dev-1", id.to_owned(), format!("{{\"id\":\"{id}\"}}").into_bytes());
        diary.copied(place);
        diary.receipted(place);
    }
    diary.reported("dev-2", true);
    diary.fell_silent("dev-2");
    let told = |place: usize| Alert { id: diary.presses[place].alert_ids()[0], ..about("dev-1", Kind::Duress, 0) };
    let good = [seen(&told(0), 0), seen(&told(1), 0), seen(&told(1), 0)];
    let judge = |further: &[Seen]| Verdict::of(&diary, &[&good[..], further].concat(), 6_000);
    judge(&[]).assert_clean();
    assert_eq!((judge(&[]).presses, judge(&[]).repeats, judge(&[]).open), (2, 1, 0));

    assert_eq!(Verdict::of(&diary, &good[..1], 6_000).lost.len(), 1, "I1: a receipt without an alert");
    assert_eq!(judge(&[seen(&about("dev-1", Kind::Duress, 0), 0)]).doubled.len(), 1, "I2: an alert that no press explains");
    let other = Alert { subject: "another".to_owned(), ..told(1) };
    assert_eq!(judge(&[seen(&other, 0)]).unequal.len(), 1, "I2: two contents under one id and revision");
    let from = diary.silences[0].from;
    let lost = |device: &str, after: i64| seen(&about(device, Kind::LostContact, from + after), from + after);
    assert_eq!(judge(&[lost("dev-1", 9_000)]).false_lost.len(), 1, "I3: it spoke");
    assert_eq!(judge(&[lost("dev-2", 3_000)]).false_lost.len(), 1, "I3: not silent for so long yet");
    judge(&[lost("dev-2", 6_000)]).assert_clean();
}

fn about(device: &str, kind: Kind, at: i64) -> Alert {
    let centre = CentreName::parse("north").expect("a legal name");
    Alert { device: DeviceId::parse(device).ok(), ..Alert::blank(centre, kind, at) }
}

fn seen(alert: &Alert, at: i64) -> Seen {
    Seen { at, alert: SeenAlert::of(&CentreMessage::Alert(Box::new(alert.clone())).to_json()) }
}
