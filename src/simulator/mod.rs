//! A seeded fleet of devices, its own record of what it did, and a judge who compares that record with the alerts.
//!
//! [`Fleet::advance`] is told the time and says what the devices send; [`Fleet::receipt`] tells a device that its press is stored.
//! The same plan, start and calls give the same bytes. The fleet writes a [`Deed`] for everything that must alert; the [`Judge`]
//! knows deeds and alerts only, shares no code with the machine, and so can find it wrong. [`rules`] writes the rulebook
//! folder that fits. Pure: time comes in as milliseconds, chance from the plan's seed.

mod chance;
mod deed;
mod device;
mod fleet;
mod judge;
mod message;
pub mod rules;
mod terrain;

pub use deed::{Act, Deed};
pub use fleet::{Fleet, Plan, Send};
pub use judge::{Judge, Verdict};

use crate::time::SECOND_MILLIS;

/// Nothing that must alert becomes due within this time of a bounded run's end: alerts need it to arrive.
pub const QUIET_MILLIS: i64 = 6 * SECOND_MILLIS;
/// What an alert may take beyond its rule's own times: the grains of probes and metronome, and the way.
pub const ARRIVAL_MILLIS: i64 = 4 * SECOND_MILLIS;
/// Nothing that must alert begins sooner: every device is to be heard first, inside its fence.
pub const SETTLE_MILLIS: i64 = 4 * SECOND_MILLIS;
const _: () = assert!(ARRIVAL_MILLIS < QUIET_MILLIS, "what a bounded run begins must be due before its end");

/// The limits that the fleet's scripts and its rulebook have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Silence after which contact is lost, in milliseconds.
    pub silence_millis: i64,
    /// How long a device must be outside before its fence alerts, in milliseconds.
    pub dwell_millis: i64,
    /// Between two reports of a device, in milliseconds.
    pub report_every_millis: i64,
}

impl Limits {
    /// Short enough that a run of 30 s shows everything.
    pub const DEMO: Self =
        Self { silence_millis: 6 * SECOND_MILLIS, dwell_millis: 2 * SECOND_MILLIS, report_every_millis: SECOND_MILLIS };
}

#[cfg(test)]
mod tests;
