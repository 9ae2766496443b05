//! The configuration: one TOML file, every key also an environment variable, all mistakes at once.
//!
//! `raw` knows the file's shape, `settings` what it means, `keys` every key with its documentation, from which
//! `docs/CONFIGURATION.md` is generated. Pure: text and pairs in, [`Settings`] out; files and secrets are read by the shell.

mod keys;
mod log_filter;
mod options;
mod raw;
mod settings;

pub use keys::reference;
pub use log_filter::log_filter;
pub use settings::{
    AdminSettings, DetectSettings, FeedSettings, Identity, IngestSettings, KafkaSettings, LogFormat, LogSettings, Settings,
    Source,
};

use std::fmt;

/// What is wrong with the configuration, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key's path, such as `ingest.feeds[0].url`; the variable's name where the environment set it; the file where no key is at fault.
    pub key: String,
    /// What is wrong. Names no secret.
    pub problem: String,
    /// What to do.
    pub mend: String,
}

impl Mistake {
    fn new(key: impl Into<String>, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into(), mend: mend.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. Mend: {}", self.key, self.problem, self.mend)
    }
}

impl std::error::Error for Mistake {}
