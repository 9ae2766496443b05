//! From single measurements to figures: percentiles of one run, medians and spread over runs.

use std::time::Duration;

use serde_json::{Value, json};

/// Latencies of one run, or of several put together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    pub(crate) fn together<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        Self::new(parts.into_iter().flat_map(|part| part.0.iter().copied()).collect())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that so many in a thousand do not exceed, in ms; no interpolation. 0 without values.
    pub(crate) fn per_mille(&self, share: usize) -> f64 {
        let rank = (self.0.len() * share).div_ceil(1_000).max(1);
        self.0.get(rank - 1).map_or(0.0, |latency| millis(*latency))
    }

    pub(crate) fn worst(&self) -> f64 {
        self.0.last().map_or(0.0, |latency| millis(*latency))
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "n": self.count(),
            "p50_ms": self.per_mille(500),
            "p90_ms": self.per_mille(900),
            "p99_ms": self.per_mille(990),
            "p999_ms": self.per_mille(999),
            "worst_ms": self.worst(),
        })
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The median of some runs, with the least and the most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (values[0], values[values.len() - 1]);
        let middle = values.len() / 2;
        let median =
            if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] };
        Self { median, least, most }
    }

    pub(crate) fn text(&self, digits: usize) -> String {
        format!("{:.digits$} [{:.digits$}..{:.digits$}]", self.median, self.least, self.most)
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}
