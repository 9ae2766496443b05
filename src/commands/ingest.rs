//! `lonewatch ingest`: the ingest role alone.

use super::run::{Roles, start_and_wait};
use super::{ConfigOpts, Failure};

/// Options of `ingest`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lonewatch ingest --config /etc/lonewatch/lonewatch.toml")]
pub(super) struct Opts {
    #[command(flatten)]
    config: ConfigOpts,
}

/// Runs until a signal ends it.
pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    Ok(start_and_wait(&opts.config, Roles { ingest: true, detect: false })?)
}
