//! A press while 50,000 reports wait in Mosquitto and nobody detects: the duress lane and the express lane owe them nothing.

use std::time::{Duration, Instant};

use lonewatch::kafka::{Cluster, StartAt, TailItem, TopicTail};

use crate::rig::{Publisher, Role, Rules, Site, Subscriber, World, figure, timed, wait_for};

const SOON: Duration = Duration::from_mins(2);
const WAITING: u32 = 50_000;
/// Each from a connection of its own, so that no publisher is the narrow place.
const DEVICES: u32 = 5;
/// Presses measured on each side; their medians are compared, so that one hiccup of a shared machine decides nothing.
const PRESSES: usize = 151;

#[test]
fn press_past_a_backlog() {
    let devices: Vec<String> = (0..DEVICES).map(|number| format!("dev-{number}")).chain(["presser".to_owned()]).collect();
    let names: Vec<&str> = devices.iter().map(String::as_str).collect();
    let site = Site::new(World::alone("backlog"), &Rules::of(&names));
    let mosquitto = &site.world.mosquitto;
    let mut ingest = site.start("ingest");
    let mut detect = site.start("detect");
    detect.wait_watching();
    let mut presser = Presser::start(&site);
    presser.measure("warm-up", PRESSES);
    let idle = presser.measure("idle", PRESSES);

    assert_eq!(ingest.stop().code(), Some(0));
    assert_eq!(detect.stop().code(), Some(0));
    // Before: Mosquitto tells the count only when it changes.
    let queued = Subscriber::start(mosquitto, "$SYS/broker/store/messages/count");
    fill(&site, &devices);
    wait_for(SOON, "the backlog to wait", || {
        let newest = queued.messages().last().and_then(|message| String::from_utf8_lossy(&message.payload).parse::<u32>().ok());
        if newest.is_some_and(|count| count >= WAITING) { Ok(()) } else { Err(format!("{newest:?}")) }
    });
    drop(queued);
    // Pressed while nobody is there: it waits in the duress lane's own session.
    presser.publisher.send(r#"{"id":"while-away"}"#);

    let ingest = site.launch("ingest");
    wait_for(SOON, "the duress lane", || {
        if ingest.metric("lonewatch_mqtt_connected", &["lane=\"duress\""]) > 0.5 { Ok(()) } else { Err(ingest.tail()) }
    });
    let before = taken(&ingest);
    presser.wait_past("the press that waited");
    let busy = presser.measure("with the backlog", PRESSES);
    let after = taken(&ingest);
    let within = |part: &str| ingest.metric(&format!("lonewatch_duress_seconds_{part}"), &[]);
    let mean_millis = 1_000.0 * within("sum") / within("count");
    figure(&format!(
        "with the backlog, from our receiving a press to Kafka's acknowledgement of both its records: mean {mean_millis:.1} ms"
    ));
    figure(&format!(
        "reports taken when the first press was sent: {before}; when the last was on the topic: {after}; of {WAITING}"
    ));
    assert!(after < f64::from(WAITING), "the backlog had gone before the presses were measured");
    let ((), drained) = timed(|| wait_drained(&ingest));
    figure(&format!("the whole backlog is taken and acknowledged {drained:?} later"));
    let reconnects = ingest.metric("lonewatch_mqtt_reconnects_total", &[]);
    assert!(reconnects < 0.5, "the backlog broke its MQTT session {reconnects} times; {}", ingest.tail());
    assert!(busy <= idle * 3, "median {busy:?} with the backlog, {idle:?} idle");
}

#[track_caller]
fn wait_drained(ingest: &Role) {
    wait_for(SOON, "the backlog to be taken", || {
        let (taken, waiting) = (taken(ingest), ingest.metric("lonewatch_mqtt_unacknowledged", &["lane=\"reports\""]));
        if taken >= f64::from(WAITING) && waiting < 0.5 {
            Ok(())
        } else {
            Err(format!("{taken} taken, {waiting} unacknowledged; {}", ingest.tail()))
        }
    });
}

/// Reports that the ingester has taken from Mosquitto.
fn taken(ingest: &Role) -> f64 {
    ingest.metric("lonewatch_mqtt_messages_total", &["lane=\"reports\""])
}

fn fill(site: &Site, devices: &[String]) {
    let publishers: Vec<Publisher> = devices
        .iter()
        .take(DEVICES as usize)
        .map(|device| {
            let mut publisher = Publisher::start(&site.world.mosquitto, &format!("lw/v1/{device}/report"));
            let line = |number: u32| {
                format!("{{\"id\":\"{number}\",\"battery\":77,\"fix\":{{\"lat\":51.5,\"lon\":-0.12,\"accuracy\":9}}}}")
            };
            publisher.send(&(0..WAITING / DEVICES).map(line).collect::<Vec<_>>().join("\n"));
            publisher
        })
        .collect();
    publishers.into_iter().for_each(Publisher::finish);
}

/// Presses one after the other on one MQTT connection, and watches the alerts topic on one Kafka connection.
struct Presser {
    publisher: Publisher,
    tail: TopicTail,
    pressed: usize,
}

impl Presser {
    fn start(site: &Site) -> Self {
        let cluster = Cluster::new(&site.world.kafka.bootstrap(), std::collections::BTreeMap::new());
        let tail = TopicTail::open(&cluster, &site.alerts_topic(), StartAt::End, SOON).expect("the alerts topic");
        let mut presser = Self { publisher: Publisher::start(&site.world.mosquitto, "lw/v1/presser/duress"), tail, pressed: 0 };
        while !presser.tail.has_caught_up() {
            presser.tail.poll(Duration::from_millis(50));
        }
        presser
    }

    /// The median from a press to its first revision on the alerts topic.
    #[allow(clippy::disallowed_methods, reason = "this test is about time")]
    fn measure(&mut self, what: &str, presses: usize) -> Duration {
        let mut took: Vec<Duration> = (0..presses)
            .map(|_| {
                self.pressed += 1;
                let began = Instant::now();
                self.publisher.send(&format!("{{\"id\":\"press-{}\"}}", self.pressed));
                self.wait_past(what);
                began.elapsed()
            })
            .collect();
        took.sort();
        let median = took[took.len() / 2];
        figure(&format!(
            "{what}: {presses} presses, median {median:?}, fastest {:?}, slowest {:?}",
            took[0],
            took[took.len() - 1]
        ));
        median
    }

    /// Waits for the next first revision of a press. Polls without pause: a pause would count as latency, and flatter the comparison.
    #[allow(clippy::disallowed_methods, reason = "this test is about time")]
    fn wait_past(&mut self, what: &str) {
        let began = Instant::now();
        while began.elapsed() < SOON {
            if let TailItem::Record { payload: Some(payload), .. } = self.tail.poll(Duration::from_millis(100)) {
                let json: serde_json::Value = serde_json::from_slice(&payload).expect("the centre reads JSON");
                if json["kind"] == "duress" && json["revision"] == 1 {
                    return;
                }
            }
        }
        panic!("waited {SOON:?} for {what}");
    }
}
