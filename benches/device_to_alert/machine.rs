//! Where and of what a measurement was made: without it a figure says nothing.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::clock;
use crate::rig::find_program;

pub(crate) fn describe() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, model)| model);
    let memory = read("/proc/meminfo");
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or_default();
    json!({
        "date": clock::date(),
        "commit": commit(),
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get),
        "memory_gib": kib >> 20,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "mosquitto": first_line(Command::new(find_program("mosquitto")).arg("-h")),
        "kafka": kafka(),
        "java": first_line(Command::new("java").arg("--version")),
    })
}

pub(crate) fn text(machine: &Value) -> String {
    let word = |field: &str| machine[field].as_str().unwrap_or_default().to_owned();
    format!(
        "{}, commit {}; {}, {} cores, {} GiB, Linux {}; {}, {}, {}",
        word("date"),
        word("commit"),
        word("cpu"),
        machine["cores"],
        machine["memory_gib"],
        word("kernel"),
        word("mosquitto"),
        word("kafka"),
        word("java"),
    )
}

/// With a `+` where the tree has changes that are not committed.
fn commit() -> String {
    let git = |arguments: &[&str]| first_line(Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments));
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).is_empty();
    git(&["rev-parse", "--short", "HEAD"]) + if changed { "+" } else { "" }
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().trim().to_owned()
}

fn kafka() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/kafka/libs");
    let names =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let jar = names.filter_map(|name| Some(name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?.to_owned()));
    format!("Kafka {}", jar.min().unwrap_or_default())
}
