//! What the bench says: one table for people, one JSON object for machines.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::figures::{Latencies, Spread};
use crate::run::Run;
use crate::systems::Kind;

/// All runs of one system under one condition, in order.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) condition: &'static str,
    pub(crate) kind: Kind,
    pub(crate) runs: Vec<Run>,
}

/// One ratio, run by run, and what was aimed at.
#[derive(Debug)]
pub(crate) struct Ratio {
    pub(crate) what: String,
    pub(crate) spread: Spread,
    pub(crate) target: Option<f64>,
}

/// Everything that a workload found.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) title: String,
    pub(crate) series: Vec<Series>,
    pub(crate) ratios: Vec<Ratio>,
    pub(crate) notes: Vec<String>,
    /// Figures of other kinds, for machines.
    pub(crate) further: Value,
}

impl Answer {
    pub(crate) fn new(title: String) -> Self {
        Self { title, ..Self::default() }
    }

    /// The series of this condition and system; made where it is not there yet.
    pub(crate) fn series(&mut self, condition: &'static str, kind: Kind) -> &mut Series {
        let found = self.series.iter().position(|series| series.condition == condition && series.kind == kind);
        let at = found.unwrap_or_else(|| {
            self.series.push(Series { condition, kind, runs: Vec::new() });
            self.series.len() - 1
        });
        &mut self.series[at]
    }

    /// Compares two series run by run: each pair stood beside each other in time.
    pub(crate) fn compare(&mut self, one: (&str, Kind), other: (&str, Kind), per_mille: usize, target: Option<f64>) {
        let find = |(condition, kind): (&str, Kind)| {
            self.series.iter().find(|series| series.condition == condition && series.kind == kind).expect("a series that was run")
        };
        let (left, right) = (find(one), find(other));
        let pairs = left.runs.iter().zip(&right.runs);
        let ratio =
            |(left, right): (&Run, &Run)| left.marks.latencies.per_mille(per_mille) / right.marks.latencies.per_mille(per_mille);
        let spread = Spread::of(pairs.map(ratio));
        let name = |(condition, kind): (&str, Kind)| format!("{} {condition}", kind.name());
        let what = format!("{} of {} to {}", percentile(per_mille), name(one), name(other));
        self.ratios.push(Ratio { what, spread, target });
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("\n{}\n", self.title);
        if !self.series.is_empty() {
            let _ = writeln!(
                text,
                "  {:<24}{:>7}  {:<24}{:<26}{:>9}{:>10}  steal",
                "", "n", "p50 ms", "p99 ms", "p99.9 ms", "worst ms"
            );
        }
        for series in &self.series {
            text += &series.text();
        }
        for ratio in &self.ratios {
            let target = ratio.target.map_or_else(String::new, |target| {
                format!("  (target {target}: {})", if ratio.spread.median <= target { "met" } else { "missed" })
            });
            let _ = writeln!(text, "  {}: {}{target}", ratio.what, ratio.spread.text(2));
        }
        for note in &self.notes {
            let _ = writeln!(text, "  {note}");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let series = |series: &Series| {
            let runs: Vec<Value> = series.runs.iter().map(Run::json).collect();
            json!({ "condition": series.condition, "system": series.kind.name(), "runs": runs, "all_runs": series.all().json() })
        };
        let ratio = |ratio: &Ratio| json!({ "what": ratio.what, "ratio": ratio.spread.json(), "target": ratio.target });
        json!({
            "title": self.title,
            "series": self.series.iter().map(series).collect::<Vec<_>>(),
            "ratios": self.ratios.iter().map(ratio).collect::<Vec<_>>(),
            "notes": self.notes,
            "further": self.further,
        })
    }
}

impl Series {
    fn all(&self) -> Latencies {
        Latencies::together(self.runs.iter().map(|run| &run.marks.latencies))
    }

    fn spread(&self, of: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(of))
    }

    /// Percentiles as the median over runs; the rare ones over all runs together.
    fn text(&self) -> String {
        let all = self.all();
        let percentile = |per_mille: usize| self.spread(|run| run.marks.latencies.per_mille(per_mille)).text(2);
        let steal = self.spread(|run| 100.0 * run.usage.steal);
        let mut text = format!(
            "  {:<24}{:>7}  {:<24}{:<26}{:>9.2}{:>10.2}  {} %\n",
            format!("{} {}", self.kind.name(), self.condition),
            all.count(),
            percentile(500),
            percentile(990),
            all.per_mille(999),
            all.worst(),
            steal.text(1),
        );
        let Some(first) = self.runs.first() else { return text };
        let roles = first.usage.roles.keys().map(|role| {
            let cpu = self.spread(|run| run.usage.roles.get(role).map_or(0.0, |cost| cost.cpu_seconds));
            let waited = self.spread(|run| run.usage.roles.get(role).map_or(0.0, |cost| cost.waited_seconds));
            format!("{role} {:.2} ({:.2})", cpu.median, waited.median)
        });
        let roles: Vec<String> = roles.collect();
        let wall = self.spread(|run| run.usage.wall_seconds).median;
        let _ = writeln!(text, "      CPU seconds in {wall:.0} s (and in line for a core): {}", roles.join(", "));
        let produced = |per_mille: usize| self.spread(|run| run.marks.until_produced.per_mille(per_mille)).median;
        let _ = writeln!(
            text,
            "      until the alert was handed to its producer: p50 {:.1}, p99 {:.1} ms",
            produced(500),
            produced(990)
        );
        let late = self.spread(|run| run.marks.lateness.per_mille(500));
        let late_p99 = self.spread(|run| run.marks.lateness.per_mille(990));
        let journaled = self.spread(|run| run.journaled_rate);
        let reconnects = self.spread(|run| run.reconnects);
        let offered = self.spread(|run| run.offered.as_ref().map_or(0.0, crate::load::Offered::rate));
        let _ = writeln!(
            text,
            "      sender late p50 {:.2}, p99 {:.2} ms; reports offered {:.0}/s, journaled {:.0}/s; MQTT reconnects {:.0}",
            late.median, late_p99.median, offered.median, journaled.median, reconnects.median
        );
        text
    }
}

fn percentile(per_mille: usize) -> String {
    if per_mille.is_multiple_of(10) { format!("p{}", per_mille / 10) } else { format!("p{}.{}", per_mille / 10, per_mille % 10) }
}
