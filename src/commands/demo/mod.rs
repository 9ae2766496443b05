//! The demonstration: embedded brokers and simulated devices.

pub mod brokers;

#[cfg(test)]
mod drive_tests;
