//! The demonstration: embedded brokers and simulated devices.

pub mod brokers;
