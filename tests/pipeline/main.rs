//! The whole way of the data through real brokers: Kafka and Mosquitto, started here on free loopback ports.
//!
//! One binary for all scenarios, so that librdkafka is linked once and one Kafka serves all; `rig` holds the machinery.

mod constant_payload;
mod first_hour;
mod owntracks_leaves_a_fence;
mod rig;
mod rig_itself;
mod the_same_press_again;
mod two_fences_at_once;
