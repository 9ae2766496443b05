//! What an operator can run: one file per command.

#[cfg(feature = "demo")]
pub mod demo;
pub mod simulate;
