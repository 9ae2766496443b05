//! lonewatch: a real-time location and duress alert processor.
//!
//! Devices publish over MQTT; [`device`] reads them; the journal (Kafka) keeps them in order; [`machine`] watches fences and
//! silence; alerts go to the monitoring centre. A press takes the express lane past all of that. `docs/ARCHITECTURE.md` is the map.

pub mod alert;
#[cfg(feature = "io")]
pub mod clock;
#[cfg(feature = "io")]
pub mod commands;
pub mod device;
pub mod ids;
pub mod journal;
pub mod limits;
pub mod position;
pub mod simulator;
pub mod time;
