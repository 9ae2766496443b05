//! What is timed: messages of marked devices at random moments, each with the moment that was meant for it.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock;
use crate::figures::Latencies;
use crate::payload;
use crate::wire::Connection;

/// How the names of marked devices begin: how the null pipeline knows them without reading what they say.
pub(crate) const MARKED: &str = "m-";
/// Marked devices: enough that each has one message under way at a time.
pub(crate) const DEVICES: u64 = 100;
const FINISH: Duration = Duration::from_secs(30);

/// What the marked devices say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// In turns a report from inside the fence and one from outside; what is timed is the exit.
    Crossings,
    /// Presses.
    Presses,
}

/// One timed message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) device: u64,
    pub(crate) intended: Instant,
    pub(crate) sent: Instant,
}

/// When the alert for a device's next mark was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) device: u64,
    pub(crate) at: Instant,
    /// When the alert was handed to its Kafka producer, by that process's wall clock, in whole milliseconds.
    pub(crate) produced_at: i64,
}

/// What became of the marks of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paired {
    /// From the intended moment to the alert.
    pub(crate) latencies: Latencies,
    /// Of it, until the alert was handed to its producer: to within a millisecond.
    pub(crate) until_produced: Latencies,
    /// Of it, by how much the sender was late.
    pub(crate) lateness: Latencies,
}

/// Sends marks on a thread of its own; the joined thread gives those that want an alert.
pub(crate) struct Marks(JoinHandle<std::io::Result<Vec<Mark>>>);

impl Marks {
    /// Sends so many a second for that long.
    pub(crate) fn start(port: u16, what: Say, rate: u64, lasting: Duration, seed: u64) -> Self {
        let work = move || send(port, what, rate, lasting, seed);
        Self(std::thread::Builder::new().name("marks".into()).spawn(work).expect("a thread"))
    }

    pub(crate) fn finish(self) -> Vec<Mark> {
        self.0.join().expect("the thread of the marks").expect("the MQTT broker took every mark")
    }
}

fn send(port: u16, what: Say, rate: u64, lasting: Duration, seed: u64) -> std::io::Result<Vec<Mark>> {
    let mut connection = Connection::open(port, "marks")?;
    let mut chance = Chance(seed);
    let mut marks = Vec::new();
    let mut intended = clock::now();
    let end = intended + lasting;
    let word = match what {
        Say::Crossings => "report",
        Say::Presses => "duress",
    };
    for number in 0_u64.. {
        intended += chance.gap(rate);
        if intended > end {
            break;
        }
        let device = number % DEVICES;
        let outside = (number / DEVICES) % 2 == 1;
        let payload = match what {
            Say::Crossings => payload::report(number, outside),
            Say::Presses => payload::press(number),
        };
        clock::wait_till(intended);
        let sent = clock::now();
        connection.publish(&format!("lw/v1/{MARKED}{device}/{word}"), &payload)?;
        if what == Say::Presses || outside {
            marks.push(Mark { device, intended, sent });
        }
    }
    connection.finish(FINISH)?;
    assert_eq!(connection.unheard, 0, "nobody subscribed to the marks");
    Ok(marks)
}

/// `SplitMix64`, so that a seed gives the same moments again.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An even share of twice the mean gap: it falls in step with no timer of anybody's.
    fn gap(&mut self, rate: u64) -> Duration {
        Duration::from_nanos(self.next() % (2_000_000_000 / rate))
    }
}

/// Pairs marks and alerts, device by device in their order; counts those from `from` on.
///
/// # Panics
/// When they do not pair: no time counts before the outcome is right.
pub(crate) fn pair(marks: &[Mark], arrivals: &[Arrival], from: Instant) -> Paired {
    let mut arrived: BTreeMap<u64, Vec<Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        arrived.entry(arrival.device).or_default().push(*arrival);
    }
    let mut sent: BTreeMap<u64, Vec<Mark>> = BTreeMap::new();
    for mark in marks {
        sent.entry(mark.device).or_default().push(*mark);
    }
    let wall = clock::Wall::now();
    let (mut latencies, mut until_produced, mut lateness) = (Vec::new(), Vec::new(), Vec::new());
    for (device, marks) in &sent {
        let arrived = arrived.get(device).map_or(&[][..], Vec::as_slice);
        assert_eq!(marks.len(), arrived.len(), "device {MARKED}{device}: marks and alerts");
        for (mark, arrival) in marks.iter().zip(arrived).filter(|(mark, _)| mark.intended >= from) {
            assert!(arrival.at >= mark.sent, "device {MARKED}{device}: an alert before its cause");
            latencies.push(arrival.at.saturating_duration_since(mark.intended));
            until_produced.push(wall.until(mark.intended, arrival.produced_at));
            lateness.push(mark.sent.saturating_duration_since(mark.intended));
        }
    }
    Paired {
        latencies: Latencies::new(latencies),
        until_produced: Latencies::new(until_produced),
        lateness: Latencies::new(lateness),
    }
}
