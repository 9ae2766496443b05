//! The fault matrix: what breaks in an installation under load, and what must hold all the same. docs/FAULTS.md has the table.
//!
//! Each scenario runs at two lengths, see `rig/stage.rs`.

mod access;
mod chaos;
mod detectors;
mod ingesters;
mod kafka;
mod late;
mod mosquitto;
mod names;
