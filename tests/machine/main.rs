//! The machine held against stories in plain text, against itself (same journal, same alerts), and against a naive oracle.
//!
//! `scenarios/*.txt` are the stories: the file's name is the situation. `REGENERATE=1` writes what the machine says into them; the
//! difference is then for a person to judge.

mod chance;
mod compare;
mod generate;
mod oracle;
mod properties;
mod replay;
mod rules;
mod scenarios;
mod script;
mod show;
mod world;
