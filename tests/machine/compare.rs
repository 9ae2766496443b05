//! Machine and oracle read the same journals and must tell the same.

use std::fmt::Write as _;

use crate::generate::{Journal, journal};
use crate::oracle::{Told, expect};
use crate::replay::{apply, machine};

const SEEDS: u64 = 300;
const RECORDS: usize = 500;

fn told(journal: &Journal) -> Vec<Told> {
    let mut machine = machine();
    let mut told = Vec::new();
    for at in 0..journal.records.len() {
        told.extend(apply(&mut machine, journal, at).iter().map(|alert| Told::of(at, alert)));
    }
    told.sort();
    told
}

/// How many alerts they agree on; else the first record at which they differ, and how.
fn difference(journal: &Journal) -> Result<usize, String> {
    let (told, expected) = (told(journal), expect(journal));
    if told == expected {
        return Ok(told.len());
    }
    let only =
        |these: &[Told], those: &[Told]| these.iter().filter(|it| those.binary_search(it).is_err()).cloned().collect::<Vec<_>>();
    let (too_much, missing) = (only(&told, &expected), only(&expected, &told));
    let first = too_much.iter().chain(&missing).map(|it| it.record).min().unwrap_or(0);
    let mut text = format!("the shortest prefix that differs has {} records\n", first + 1);
    for (what, these) in [("machine", too_much), ("oracle ", missing)] {
        for it in these.iter().filter(|it| it.record == first) {
            let _ = writeln!(text, "  only the {what}: {} {}", it.id, it.words);
        }
    }
    let _ = writeln!(text, "  record {first}: {:?}", journal.records[first]);
    Err(text)
}

#[test]
fn the_oracle_expects_what_the_machine_tells() {
    let mut said = 0;
    for seed in 0..SEEDS {
        said += difference(&journal(seed, RECORDS)).unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
    }
    assert!(said > 10_000, "only {said} alerts in all: the journals are too quiet");
}
