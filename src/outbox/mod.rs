//! What leaves a machine: the detector's loop, its alert writer, metronome and heartbeat.
//!
//! One thread reads the journal, applies each record to its partition's machine, and writes what comes of it. The group's offset
//! moves only past records whose alerts Kafka has acknowledged: after a crash at most those of the last second are repeated,
//! under the same ids.

mod alerts;
mod detector;
mod heartbeat;
mod owned;

pub use detector::{DetectorParts, announce, detect};
