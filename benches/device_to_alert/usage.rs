//! What each process costs while something is measured: CPU seconds, time spent waiting for a core, and what the host took away.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::clock;

/// Linux tells user space a hundredth of a second, whatever the kernel counts in.
const TICKS_A_SECOND: f64 = 100.0;

/// One process at one moment.
#[derive(Clone, Debug, Default)]
struct Reading {
    ticks: u64,
    /// Per thread: nanoseconds on a core, nanoseconds in line for one.
    threads: BTreeMap<String, (u64, u64)>,
}

/// A measurement that has begun.
pub(crate) struct Watch {
    roles: Vec<(&'static str, u32, Reading)>,
    machine: (u64, u64),
    began: Instant,
}

/// What it found.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    pub(crate) wall_seconds: f64,
    pub(crate) roles: BTreeMap<&'static str, Cost>,
    /// Of all CPU time, the share that the host gave to others.
    pub(crate) steal: f64,
}

/// What a role cost.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) cpu_seconds: f64,
    /// All its threads together.
    pub(crate) waited_seconds: f64,
    /// CPU seconds and seconds in line, by the thread's name.
    threads: BTreeMap<String, (f64, f64)>,
}

impl Watch {
    pub(crate) fn begin(roles: &[(&'static str, u32)]) -> Self {
        let roles = roles.iter().map(|(role, pid)| (*role, *pid, read(*pid))).collect();
        Self { roles, machine: machine(), began: clock::now() }
    }

    pub(crate) fn end(self) -> Usage {
        let wall_seconds = clock::now().saturating_duration_since(self.began).as_secs_f64();
        let (total, stolen) = machine();
        let total = (total - self.machine.0).max(1);
        let roles = self.roles.into_iter().map(|(role, pid, before)| (role, cost(&before, &read(pid)))).collect();
        Usage { wall_seconds, roles, steal: ratio(stolen - self.machine.1, total) }
    }
}

impl Usage {
    pub(crate) fn json(&self) -> Value {
        let roles: serde_json::Map<String, Value> = self
            .roles
            .iter()
            .map(|(role, cost)| {
                let threads: serde_json::Map<String, Value> = cost
                    .threads
                    .iter()
                    .map(|(name, (cpu, waited))| (name.clone(), json!({ "cpu_seconds": cpu, "waited_seconds": waited })))
                    .collect();
                let whole = json!({ "cpu_seconds": cost.cpu_seconds, "waited_seconds": cost.waited_seconds, "threads": threads });
                ((*role).to_owned(), whole)
            })
            .collect();
        json!({ "wall_seconds": self.wall_seconds, "steal": self.steal, "roles": roles })
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of a few minutes are far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn cost(before: &Reading, after: &Reading) -> Cost {
    let threads: BTreeMap<String, (f64, f64)> = after
        .threads
        .iter()
        .map(|(name, (cpu, waited))| {
            let (cpu_before, waited_before) = before.threads.get(name).copied().unwrap_or_default();
            let seconds = |after: u64, before: u64| ratio(after.saturating_sub(before), 1_000_000_000);
            (name.clone(), (seconds(*cpu, cpu_before), seconds(*waited, waited_before)))
        })
        .collect();
    let cpu_seconds = ratio(after.ticks.saturating_sub(before.ticks), 1) / TICKS_A_SECOND;
    Cost { cpu_seconds, waited_seconds: threads.values().map(|(_, waited)| waited).sum(), threads }
}

/// A process that has ended reads as nothing.
fn read(pid: u32) -> Reading {
    let folder = format!("/proc/{pid}");
    let stat = std::fs::read_to_string(format!("{folder}/stat")).unwrap_or_default();
    // The name stands in parentheses and may hold anything; user and system time are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let mut threads: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for entry in std::fs::read_dir(format!("{folder}/task")).into_iter().flatten().flatten() {
        let (name, times) = thread(&entry.path());
        let sum = threads.entry(name).or_default();
        *sum = (sum.0 + times.0, sum.1 + times.1);
    }
    Reading { ticks: field(11) + field(12), threads }
}

fn thread(folder: &Path) -> (String, (u64, u64)) {
    let name = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
    let times = std::fs::read_to_string(folder.join("schedstat")).unwrap_or_default();
    let mut times = times.split_whitespace().map(|text| text.parse::<u64>().unwrap_or_default());
    (name.trim().to_owned(), (times.next().unwrap_or_default(), times.next().unwrap_or_default()))
}

/// All CPU time of the machine, and what of it was stolen.
fn machine() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|text| text.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what follows is in user and nice already.
    (ticks.iter().take(8).sum(), ticks.get(7).copied().unwrap_or_default())
}
