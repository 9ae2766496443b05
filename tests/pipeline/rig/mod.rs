//! The rig of the pipeline tests: real brokers, our own program, and tools that are not ours to look at the outcome.
//!
//! A test asks for a [`World`]: the one Kafka of this test binary, a Mosquitto of its own, and a prefix that keeps its Kafka
//! topics apart from those of other tests. Everything ends with the test, also when it panics; and when this process is
//! killed, `watchdog` ends what it left. What is missing on the machine fails the test and names `.ci/test`; nothing is skipped.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "the rig offers more than the scenarios of today use")]

mod alerts;
mod centre;
mod diary;
mod fleet;
mod kafka;
mod mosquitto;
mod ports;
mod privacy;
mod process;
mod replay;
mod site;
mod stage;
mod tools;
mod verdict;
mod wait;
mod watchdog;
mod world;

pub use alerts::{SeenAlert, about_devices, alerts_among, committed, ends, ids, outline, revisions};
pub use centre::{CURRENT_WITHIN, Centre, SAID_WITHIN, Said, Seen};
pub use diary::{Diary, Pressed, Silence};
pub use fleet::{Fleet, FleetPlan};
pub use kafka::{Kafka, KafkaOptions};
pub use mosquitto::{Mosquitto, MosquittoOptions};
pub use privacy::{coordinate_in, line_with};
pub use process::{Guarded, Lonewatch, find_program, is_running, wait_gone};
pub use replay::{Replay, journal_records, replay, replay_alerts, rulebook_versions};
pub use site::{CENTRE, PARTITIONS, Role, Rules, STOP_DEADLINE, Site};
pub use stage::{Cast, Stage, is_real_length, length, say};
pub use tools::{
    Follower, KafkaRecord, MqttMessage, Probes, Publisher, Subscriber, consume, produce, publish, publish_refused, publish_with,
};
pub use verdict::{Verdict, assert_one_alarm, same_again};
pub use wait::{figure, keep_within_a_day, once_a_second, timed, wait_for, wait_until};
pub use watchdog::Watchdog;
pub use world::{Turn, World};
