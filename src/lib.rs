//! lonewatch: a real-time location and duress alert processor.
//!
//! Devices publish over MQTT; [`device`] reads them; the journal (Kafka) keeps them in order; [`machine`] watches fences and
//! silence; alerts go to the monitoring centre. A press takes the express lane past all of that. `docs/ARCHITECTURE.md` is the map.

pub mod alert;
#[cfg(feature = "io")]
pub mod clock;
pub mod config;
pub mod device;
pub mod ids;
pub mod journal;
#[cfg(feature = "io")]
pub mod kafka;
pub mod limits;
pub mod machine;
pub mod position;
pub mod rulebook;
pub mod time;
