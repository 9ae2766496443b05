//! Who may know whom, and who may touch the outside world: the rules of the source layout, by the paths that code names.

use crate::Finding;
use crate::tree::{TextFile, word_places};

/// Root files open to all: names, bounds, clocks as types.
const PURE_ROOT: [&str; 9] = ["alert", "ids", "lib", "limits", "position", "redact", "runbook", "time", "watch"];
/// Root files of the outside world. They may know the pure folders (a metric's labels are their enums), and no other.
const IO_ROOT: [&str; 8] = ["admin", "clock", "health", "logging", "main", "metrics", "priority", "shutdown"];

/// A folder, and the folders that it may know beside the pure root files.
struct Area {
    name: &'static str,
    pure: bool,
    knows: &'static [&'static str],
}

/// The source's folders, in the alphabetical order that is also the data's way.
const AREAS: [Area; 13] = [
    Area { name: "commands", pure: false, knows: &["*"] },
    Area { name: "config", pure: true, knows: &["device", "journal"] },
    Area { name: "device", pure: true, knows: &[] },
    Area { name: "diagnosis", pure: true, knows: &["config", "device", "rulebook"] },
    Area { name: "ingest", pure: false, knows: &["config", "kafka", "journal", "device", "rulebook"] },
    Area { name: "journal", pure: true, knows: &["device"] },
    Area { name: "kafka", pure: false, knows: &["journal"] },
    Area { name: "machine", pure: true, knows: &["journal", "device", "rulebook"] },
    Area { name: "outbox", pure: false, knows: &["config", "kafka", "machine", "journal", "rulebook", "rulebooks"] },
    Area { name: "rulebook", pure: true, knows: &[] },
    Area { name: "rulebooks", pure: false, knows: &["kafka", "rulebook"] },
    Area { name: "simulator", pure: true, knows: &["config", "device", "journal", "machine", "rulebook"] },
    Area { name: "station", pure: false, knows: &["kafka"] },
];

/// Crates and parts of the standard library that reach outside, read a clock or ask chance.
const OUTSIDE_CRATES: [&str; 14] = [
    "anstream",
    "axum",
    "clap",
    "getrandom",
    "indicatif",
    "metrics",
    "rand",
    "rdkafka",
    "rumqttc",
    "rumqttd",
    "rustix",
    "tokio",
    "tracing",
    "tracing_subscriber",
];
const OUTSIDE_STD: [&str; 6] = ["net", "fs", "process", "env", "thread", "io"];
const CLOCKS: [&str; 2] = ["SystemTime", "Instant"];

/// The folder or root file of `src` that a path belongs to; `src/kafka/reader.rs` and `src/kafka.rs` to `kafka`.
fn area_of(path: &str) -> Option<&str> {
    let within = path.strip_prefix("src/")?;
    Some(within.split_once('/').map_or_else(|| within.trim_end_matches(".rs"), |(folder, _)| folder))
}

fn find_area(name: &str) -> Option<&'static Area> {
    AREAS.iter().find(|area| area.name == name)
}

fn is_pure(area: &str) -> bool {
    PURE_ROOT.contains(&area) || find_area(area).is_some_and(|area| area.pure)
}

pub(crate) fn impurities(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let Some(area) = area_of(&file.path).filter(|area| is_pure(area)) else { continue };
        for (line, path) in paths(file) {
            if let Some(outside) = reaches_outside(&path) {
                findings.push(Finding::new("purity", &file.path, line, format!("{area} is pure and names {outside} (`{path}`)")));
            }
            if area == "machine" && ["serde", "serde_json"].contains(&path.split("::").next().unwrap_or_default()) {
                findings.push(Finding::new(
                    "purity",
                    &file.path,
                    line,
                    "serde stops at the border; the machine has its own types",
                ));
            }
        }
    }
    findings
}

fn reaches_outside(path: &str) -> Option<String> {
    let mut parts = path.split("::");
    let first = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or_default();
    if OUTSIDE_CRATES.contains(&first) {
        return Some(first.to_owned());
    }
    if first == "std" && OUTSIDE_STD.contains(&second) {
        return Some(format!("std::{second}"));
    }
    path.split("::").find(|part| CLOCKS.contains(part)).map(ToOwned::to_owned)
}

pub(crate) fn acquaintances(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let Some(area) = area_of(&file.path).filter(|area| !["lib", "main"].contains(area)) else { continue };
        if find_area(area).is_none() && !PURE_ROOT.contains(&area) && !IO_ROOT.contains(&area) {
            let message =
                format!("{area} has no place in the layout; give it one in tests/tidy/areas.rs and docs/ARCHITECTURE.md");
            findings.push(Finding::new("who-knows-whom", &file.path, 1, message));
            continue;
        }
        for (line, path) in paths(file) {
            let Some(other) = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) else { continue };
            if !may_know(area, other) {
                findings.push(Finding::new(
                    "who-knows-whom",
                    &file.path,
                    line,
                    format!("{area} may not know {other} (`{path}`)"),
                ));
            }
        }
    }
    findings
}

fn may_know(area: &str, other: &str) -> bool {
    if area == other || PURE_ROOT.contains(&other) {
        return true;
    }
    if IO_ROOT.contains(&other) {
        return !is_pure(area);
    }
    if IO_ROOT.contains(&area) && is_pure(other) {
        return true;
    }
    // A type or function of lib.rs itself begins otherwise than a folder.
    find_area(other).is_none() || find_area(area).is_some_and(|area| area.knows.contains(&"*") || area.knows.contains(&other))
}

/// Every path outside tests with its line: those of `use` written out one by one, and those in the code.
fn paths(file: &TextFile) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut statement: Option<(usize, String)> = None;
    for line in file.code_lines().into_iter().filter(|line| !line.test) {
        let code = line.code.trim();
        if statement.is_none() {
            if let Some(begun) = use_tree(code) {
                statement = Some((line.number, String::new()));
                append_use(&mut statement, begun);
            } else {
                found.extend(inline_paths(code).map(|path| (line.number, path)));
            }
        } else {
            append_use(&mut statement, code);
        }
        if let Some((number, tree)) = statement.take_if(|(_, tree)| tree.ends_with(';')) {
            let expanded = expand("", tree.trim_end_matches(';'));
            found.extend(expanded.into_iter().map(|path| (number, path)));
        }
    }
    found
}

fn append_use(statement: &mut Option<(usize, String)>, code: &str) {
    if let Some((_, tree)) = statement {
        tree.push(' ');
        tree.push_str(code);
    }
}

/// What follows `use` in a line that begins such a statement, with or without visibility.
fn use_tree(code: &str) -> Option<&str> {
    let code = code.strip_prefix("pub").map_or(code, |rest| rest.split_once(") ").map_or(rest, |(_, rest)| rest).trim_start());
    code.strip_prefix("use ")
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or_default().trim_end_matches("::self");
        return if name.is_empty() { Vec::new() } else { vec![format!("{prefix}{name}")] };
    };
    let prefix = format!("{prefix}{head}");
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    split_at_commas(inner).into_iter().flat_map(|part| expand(&prefix, part)).collect()
}

/// The parts between the commas that stand in no braces.
fn split_at_commas(text: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0_i32, 0, Vec::new());
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// Paths in ordinary code that begin at a crate, and clocks that an import could have brought.
fn inline_paths(code: &str) -> impl Iterator<Item = String> {
    let roots = OUTSIDE_CRATES.iter().chain(&["std", "crate", "serde", "serde_json"]);
    let qualified = roots.flat_map(|root| {
        let begins =
            word_places(code, root).filter(|at| code[at + root.len()..].starts_with("::") && !code[..*at].ends_with("::"));
        begins.map(|at| path_at(&code[at..])).collect::<Vec<_>>()
    });
    let clocks = CLOCKS.iter().filter(|clock| word_places(code, clock).next().is_some()).map(|clock| (*clock).to_owned());
    qualified.chain(clocks)
}

fn path_at(text: &str) -> String {
    let end = text.find(|character: char| !(character.is_alphanumeric() || "_:".contains(character))).unwrap_or(text.len());
    text[..end].trim_end_matches(':').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn braces_are_written_out() {
        let text =
            "use std::{\n    collections::{BTreeMap, BTreeSet as Set},\n    fs,\n};\npub(crate) use crate::kafka::Writer;\n";
        let names: Vec<String> = paths(&file("src/machine/x.rs", text)).into_iter().map(|(_, path)| path).collect();
        assert_eq!(names, ["std::collections::BTreeMap", "std::collections::BTreeSet", "std::fs", "crate::kafka::Writer"]);
    }

    #[test]
    fn pure_code_that_reaches_outside_is_found() {
        let text = "use std::{fmt, fs};\nfn f() { let now = Instant::now(); tokio::spawn(g()); }\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let lines: Vec<usize> = impurities(&[file("src/machine/x.rs", text)]).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 2, 2]);
        assert!(impurities(&[file("src/ingest/x.rs", text)]).is_empty());
    }

    #[test]
    fn the_order_of_folders_is_kept() {
        let knows = |from: &str, line: &str| acquaintances(&[file(from, line)]).is_empty();
        assert!(knows("src/machine/x.rs", "use crate::journal::Record;"));
        assert!(knows("src/commands/run.rs", "use crate::machine::Machine;"));
        assert!(!knows("src/journal/x.rs", "fn f() { crate::machine::apply(); }"));
        assert!(!knows("src/outbox/x.rs", "use crate::commands::run;"));
        assert!(!knows("src/device/x.rs", "use crate::metrics;"));
        assert!(knows("src/metrics.rs", "use crate::machine::Outcome;"));
        assert!(!knows("src/metrics.rs", "use crate::kafka::Writer;"));
        assert!(!knows("src/helpers/x.rs", "use crate::time;"));
    }

    #[test]
    fn serde_stays_out_of_the_machine() {
        assert_eq!(impurities(&[file("src/machine/x.rs", "use serde::Serialize;")]).len(), 1);
        assert!(impurities(&[file("src/device/x.rs", "use serde::Serialize;")]).is_empty());
    }
}
