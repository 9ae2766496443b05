//! What we depend on: the pure build on a list that we chose, everything with a reason in `docs/DEPENDENCIES.md`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::Finding;

/// The crates of the pure build. One more is one more that every replay must agree on: add it with its reason in the document.
const PURE_BUILD: [&str; 9] = ["geojson", "libm", "prost", "schemars", "serde", "serde_json", "sha2", "thiserror", "toml"];
const DOCUMENT: &str = "docs/DEPENDENCIES.md";

pub(crate) fn pure_build() -> Vec<Finding> {
    let listed = listed_by_cargo();
    let chosen: BTreeSet<String> = PURE_BUILD.iter().map(|name| (*name).to_owned()).collect();
    let more = listed.difference(&chosen).map(|name| format!("the pure build depends on {name}, which is not in PURE_BUILD"));
    let fewer =
        chosen.difference(&listed).map(|name| format!("the pure build no longer depends on {name}: remove it from PURE_BUILD"));
    more.chain(fewer).map(|message| Finding::new("pure-dependencies", "Cargo.toml", 1, message)).collect()
}

/// What cargo itself says. A listing that failed or is empty proves nothing, so it fails.
fn listed_by_cargo() -> BTreeSet<String> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let arguments = [
        "tree",
        "--no-default-features",
        "-e",
        "normal",
        "--depth",
        "1",
        "--prefix",
        "none",
        "--locked",
        "--offline",
        "-f",
        "{p}",
    ];
    let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("run cargo tree");
    assert!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo tree writes text");
    let mut names = text.lines().filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned);
    assert_eq!(names.next().as_deref(), Some("lonewatch"), "cargo tree lists the package first:\n{text}");
    let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
    assert!(!names.is_empty(), "cargo tree listed no dependency:\n{text}");
    names
}

pub(crate) fn reasons() -> Vec<Finding> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("read Cargo.toml");
    let document = std::fs::read_to_string(root.join(DOCUMENT)).expect("read docs/DEPENDENCIES.md");
    let manifest: toml::Table = manifest.parse().expect("Cargo.toml is TOML");
    let mut named = BTreeSet::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        named.extend(manifest.get(section).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys).cloned());
    }
    assert!(!named.is_empty(), "Cargo.toml names no dependency");

    let rows: Vec<(usize, &str)> =
        document.lines().enumerate().filter_map(|(index, line)| Some((index + 1, row_name(line)?))).collect();
    let missing = named.iter().filter(|name| !rows.iter().any(|(_, row)| row == name));
    let missing =
        missing.map(|name| Finding::new("dependency-reasons", DOCUMENT, 1, format!("no row for {name}: why do we need it?")));
    let stale = rows.iter().filter(|(_, row)| !named.contains(*row));
    let stale =
        stale.map(|(line, row)| Finding::new("dependency-reasons", DOCUMENT, *line, format!("{row} is no dependency any more")));
    missing.chain(stale).collect()
}

/// The name in a table row that begins with one in backticks.
fn row_name(line: &str) -> Option<&str> {
    line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name)
}
