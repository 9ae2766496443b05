//! lonewatch: a real-time location and duress alert processor.
//!
//! Devices publish over MQTT; [`device`] reads them; the journal (Kafka) keeps them in order; [`machine`] watches fences and
//! silence; alerts go to the monitoring centre. A press takes the express lane past all of that. `docs/ARCHITECTURE.md` is the map.

#[cfg(feature = "io")]
pub mod admin;
pub mod alert;
#[cfg(feature = "io")]
pub mod clock;
#[cfg(feature = "io")]
pub mod commands;
pub mod config;
pub mod device;
pub mod diagnosis;
#[cfg(feature = "io")]
pub mod health;
pub mod ids;
#[cfg(feature = "io")]
pub mod ingest;
pub mod journal;
#[cfg(feature = "io")]
pub mod kafka;
pub mod limits;
#[cfg(feature = "io")]
pub mod logging;
pub mod machine;
#[cfg(feature = "io")]
pub mod metrics;
#[cfg(feature = "io")]
pub mod outbox;
pub mod position;
#[cfg(feature = "io")]
pub mod priority;
pub mod redact;
pub mod rulebook;
#[cfg(feature = "io")]
pub mod rulebooks;
pub mod runbook;
#[cfg(feature = "io")]
pub mod shutdown;
pub mod simulator;
pub mod time;
pub mod watch;
