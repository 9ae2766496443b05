//! Machine and oracle read the same journals and must tell the same.

use std::fmt::Write as _;

use crate::generate::{Journal, journal};
use crate::oracle::{Told, expect};
use crate::replay::{apply, machine};

/// `SEEDS=5000 FIRST_SEED=300 cargo test ... --test machine oracle` reads others, and more.
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

/// The alerts that they agree on; else the first record at which they differ, and how.
fn difference(journal: &Journal) -> Result<Vec<Told>, String> {
    let (told, expected) = (told(journal), expect(journal));
    if told == expected {
        return Ok(told);
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
    let (mut said, mut by_will) = (0, 0);
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number of seeds"));
    let (first, seeds) = (number("FIRST_SEED").unwrap_or(0), number("SEEDS").unwrap_or(SEEDS));
    for seed in first..first + seeds {
        let told = difference(&journal(seed, RECORDS)).unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
        said += told.len();
        by_will += told.iter().filter(|it| it.is_raised_by_will()).count();
    }
    let seeds = usize::try_from(seeds).expect("few");
    assert!(said > 30 * seeds, "only {said} alerts in all: the journals are too quiet");
    assert!(by_will > seeds, "only {by_will} silences were shortened by a will");
}
