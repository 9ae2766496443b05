//! Rules for the text of the source: length, first line, leftovers, sleeping, silent arms.

use crate::Finding;
use crate::tree::{TextFile, has_word};

/// The cores that people like to work in have files of 110 to 330 lines; what hurts there is the tail.
const FILE_LINES_MAX: usize = 700;
/// Folders where an event that nobody names may be a lost press.
const FOLDERS_WITHOUT_SILENT_ARMS: [&str; 3] = ["src/ingest/", "src/kafka/", "src/outbox/"];

pub(crate) fn too_long(files: &[TextFile]) -> Vec<Finding> {
    let long = files.iter().filter(|file| file.text.lines().count() > FILE_LINES_MAX);
    long.map(|file| {
        let lines = file.text.lines().count();
        Finding::new("file-length", &file.path, FILE_LINES_MAX, format!("{lines} lines; split it, the limit is {FILE_LINES_MAX}"))
    })
    .collect()
}

pub(crate) fn first_lines(files: &[TextFile]) -> Vec<Finding> {
    let silent = files.iter().filter(|file| file.path.starts_with("src/") && !file.text.starts_with("//! "));
    silent.map(|file| Finding::new("first-line", &file.path, 1, "begins without a `//!` line that says the file's job")).collect()
}

pub(crate) fn leftovers(files: &[TextFile]) -> Vec<Finding> {
    // Put together here, so that this file does not find itself.
    let notes = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    let switched_off = [concat!("#[ig", "nore"), concat!("should_", "panic")];
    let mut findings = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            for note in notes.iter().filter(|note| has_word(line, note)) {
                findings.push(Finding::new("leftover", &file.path, index + 1, format!("{note}: do it now or file an issue")));
            }
            for word in switched_off.iter().filter(|word| file.is_rust() && line.contains(**word)) {
                let message = format!("{word}: a test runs, and says what it expects where it expects it");
                findings.push(Finding::new("leftover", &file.path, index + 1, message));
            }
        }
    }
    findings
}

pub(crate) fn sleeps(files: &[TextFile]) -> Vec<Finding> {
    let words = [concat!("thread::", "sleep"), concat!("time::", "sleep"), concat!("sleep", "_until")];
    let mut findings = Vec::new();
    for file in files {
        for line in file.code_lines().into_iter().filter(|line| line.test) {
            if words.iter().any(|word| line.code.contains(word)) {
                let message = "a test sleeps; wait for a condition with a deadline (tests/pipeline/rig/wait.rs)";
                findings.push(Finding::new("sleep", &file.path, line.number, message));
            }
        }
    }
    findings
}

pub(crate) fn silent_arms(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| FOLDERS_WITHOUT_SILENT_ARMS.iter().any(|folder| file.path.starts_with(folder))) {
        for line in file.code_lines() {
            let compact: String = line.code.split_whitespace().collect();
            if compact.contains("_=>{}") || compact.contains("_=>()") {
                let message = "an arm ignores whatever comes; name what it ignores, with the reason";
                findings.push(Finding::new("silent-arm", &file.path, line.number, message));
            }
        }
    }
    findings
}

#[test]
fn silent_arms_are_found_in_their_folders_only() {
    let file = |path: &str| TextFile { path: path.to_owned(), text: "match event {\n    _ => {},\n}\n".to_owned() };
    assert_eq!(silent_arms(&[file("src/kafka/reader.rs"), file("src/machine/apply.rs")]).len(), 1);
}

#[test]
fn sleeping_tests_are_found() {
    let sleeping = concat!("#[cfg(test)]\nmod tests {\n    fn f() { std::thread::", "sleep(D); }\n}\n");
    let file = TextFile { path: "src/ingest/lane.rs".to_owned(), text: sleeping.to_owned() };
    assert_eq!(sleeps(&[file])[0].line, 3);
}
