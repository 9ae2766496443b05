//! Style as a test: what a reviewer would otherwise have to notice every time. Function length and banned calls are clippy's.
//!
//! Every check gives findings, each with file and line and the rule it breaks. An exception stands in `exceptions.rs` with its
//! reason; one that excuses nothing any more fails too.

mod areas;
mod dependencies;
mod documents;
mod exceptions;
mod runbook;
mod source;
mod tree;

use std::fmt;

/// One place that breaks a rule.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The check's name, as `exceptions.rs` uses it.
    check: &'static str,
    /// Relative to the project.
    path: String,
    /// From 1.
    line: usize,
    message: String,
}

impl Finding {
    pub(crate) fn new(check: &'static str, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { check, path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} [{}]", self.path, self.line, self.message, self.check)
    }
}

/// Fails with every finding that no exception excuses, and with every exception of the check that excuses none.
#[track_caller]
fn judge(check: &'static str, findings: &[Finding]) {
    assert!(findings.iter().all(|finding| finding.check == check), "a check gives findings of its own name");
    let mut messages = exceptions::unused(check, findings);
    messages.extend(findings.iter().filter(|finding| !exceptions::excused(finding)).map(Finding::to_string));
    assert!(messages.is_empty(), "\n{}\n", messages.join("\n"));
}

#[test]
fn files_are_short() {
    judge("file-length", &source::too_long(&tree::rust_files()));
}

#[test]
fn source_files_say_their_job_first() {
    judge("first-line", &source::first_lines(&tree::rust_files()));
}

#[test]
fn nothing_is_left_for_later_or_switched_off() {
    judge("leftover", &source::leftovers(&tree::text_files()));
}

#[test]
fn tests_do_not_sleep() {
    judge("sleep", &source::sleeps(&tree::rust_files()));
}

#[test]
fn no_event_is_ignored_unnamed() {
    judge("silent-arm", &source::silent_arms(&tree::rust_files()));
}

#[test]
fn pure_code_does_no_input_or_output() {
    judge("purity", &areas::impurities(&tree::rust_files()));
}

#[test]
fn areas_know_only_whom_they_may() {
    judge("who-knows-whom", &areas::acquaintances(&tree::rust_files()));
}

#[test]
fn the_pure_build_has_the_dependencies_that_we_chose() {
    judge("pure-dependencies", &dependencies::pure_build());
}

#[test]
fn every_dependency_has_its_reason() {
    judge("dependency-reasons", &dependencies::reasons());
}

#[test]
fn documents_name_commands_and_scripts_that_exist() {
    judge("document-commands", &documents::commands(&tree::text_files()));
}

#[test]
fn no_text_names_a_place_on_somebodys_machine() {
    judge("absolute-path", &documents::absolute_paths(&tree::text_files()));
}

#[test]
fn every_entry_of_the_runbook_is_named_by_the_program() {
    judge("runbook", &runbook::entries_that_nothing_names(&tree::rust_files()));
}

#[test]
fn exceptions_name_checks_that_exist() {
    let text = include_str!("main.rs");
    for exception in exceptions::EXCEPTIONS {
        assert!(text.contains(&format!("judge(\"{}\"", exception.check)), "no check is called {:?}", exception.check);
        assert!(!exception.reason.is_empty(), "{} in {} has no reason", exception.check, exception.path);
    }
}
