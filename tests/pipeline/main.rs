//! The whole way of the data through real brokers: Kafka and Mosquitto, started here on free loopback ports.
//!
//! One binary for all scenarios, so that librdkafka is linked once and one Kafka serves all; `rig` holds the machinery.

mod rig;
mod rig_itself;
