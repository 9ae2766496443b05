//! What a check prints: a line for each finding as it comes, what it waits for meanwhile, and the sum in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::commands::{Failure, Output, terminal};
use crate::diagnosis::{Finding, Verdict};
use crate::runbook::Entry;

/// The findings so far, by how bad they are.
pub(super) struct Report {
    output: Output,
    counts: BTreeMap<Verdict, usize>,
    /// Shows on a terminal only.
    waiting: ProgressBar,
    see: Option<Entry>,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        let waiting = ProgressBar::new_spinner();
        waiting.enable_steady_tick(Duration::from_millis(200));
        Self { output, counts: BTreeMap::new(), waiting, see: None }
    }

    /// Says for what it waits.
    pub(super) fn waits(&self, what: impl Into<String>) {
        self.waiting.set_message(what.into());
    }

    /// Prints a finding.
    pub(super) fn say(&mut self, finding: &Finding) {
        *self.counts.entry(finding.verdict).or_default() += 1;
        let line = match self.output {
            Output::Json => serde_json::to_string(finding).expect("words only: nothing in it that JSON cannot hold"),
            Output::Text => text(finding),
        };
        self.line(&line);
    }

    /// Prints findings.
    pub(super) fn say_all(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.say(&finding);
        }
    }

    /// Prints a line between findings.
    pub(super) fn line(&self, line: &str) {
        self.waiting.suspend(|| terminal::say(line));
    }

    pub(super) const fn output(&self) -> Output {
        self.output
    }

    /// Notes where the runbook says more.
    pub(super) const fn see(&mut self, entry: Entry) {
        self.see = Some(entry);
    }

    /// The sum; a failure where something is wrong.
    pub(super) fn conclude(self) -> Result<(), Failure> {
        self.waiting.finish_and_clear();
        let count = |verdict: Verdict| self.counts.get(&verdict).copied().unwrap_or(0);
        let (ok, unchecked, notes, wrong) =
            (count(Verdict::Ok), count(Verdict::Unchecked), count(Verdict::Note), count(Verdict::Wrong));
        if self.output == Output::Text {
            terminal::say(&format!("{ok} ok, {notes} to note, {wrong} wrong, {unchecked} not checked"));
        }
        if wrong == 0 {
            return Ok(());
        }
        let failure = Failure::new(format!("{wrong} wrong: something stops, or somebody is in danger; each line names its mend"));
        Err(match self.see {
            Some(entry) => failure.see(entry),
            None => failure,
        })
    }
}

fn text(finding: &Finding) -> String {
    let verdict = match finding.verdict {
        Verdict::Ok => terminal::good("ok   "),
        Verdict::Unchecked => terminal::dim("open "),
        Verdict::Note => terminal::noted("note "),
        Verdict::Wrong => terminal::bad("WRONG"),
    };
    format!("{verdict}  {:<11}  {finding}", finding.part.as_str())
}
