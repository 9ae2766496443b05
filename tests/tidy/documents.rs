//! Rules for documents: what they tell people to type exists, and no text names a place that only its author has.

use std::path::Path;

use crate::Finding;
use crate::tree::TextFile;

/// Fences that hold commands; others hold output, data or drawings.
const COMMAND_FENCES: [&str; 4] = ["", "sh", "bash", "console"];

pub(crate) fn commands(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Commands come with the README; until there is one, documents may be ahead of the program.
    if files.iter().any(|file| file.path == "README.md") {
        let known = |word: &str| exists(&format!("src/commands/{word}.rs")) || exists(&format!("src/commands/{word}/mod.rs"));
        for file in files.iter().filter(|file| file.ends_in("md")) {
            for (line, word) in typed_commands(&file.text).into_iter().filter(|(_, word)| !known(&word.replace('-', "_"))) {
                let message = format!("`lonewatch {word}`: there is no src/commands/{}.rs", word.replace('-', "_"));
                findings.push(Finding::new("document-commands", &file.path, line, message));
            }
        }
    }
    for file in files.iter().filter(|file| file.ends_in("md")) {
        for (line, script) in scripts(&file.text).into_iter().filter(|(_, script)| !exists(script)) {
            findings.push(Finding::new("document-commands", &file.path, line, format!("{script} does not exist")));
        }
    }
    findings
}

fn exists(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

/// The first word after `lonewatch` wherever a fenced block has it as a command, with the line.
fn typed_commands(document: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in document.lines().enumerate() {
        if let Some(mark) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(mark.trim()) };
        } else if fence.is_some_and(|language| COMMAND_FENCES.contains(&language)) {
            let typed = line.split(['|', ';', '&', '(']).filter_map(typed_command);
            found.extend(typed.map(|word| (index + 1, word.to_owned())));
        }
    }
    found
}

/// `demo` of `$ A=1 ./target/release/lonewatch demo`, or of `cargo run --release -- demo`.
fn typed_command(part: &str) -> Option<&str> {
    let mut words = part.split_whitespace().skip_while(|word| ["$", "#", "sudo", "exec"].contains(word) || word.contains('='));
    let program = words.next()?;
    if program == "cargo" && words.next()? == "run" {
        words.find(|word| *word == "--")?;
    } else if program.rsplit('/').next() != Some("lonewatch") {
        return None;
    }
    words
        .next()
        .filter(|word| word.chars().all(|character| character.is_ascii_lowercase() || character == '-') && !word.starts_with('-'))
}

/// Every `.ci/NAME` with its line.
fn scripts(document: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in document.lines().enumerate() {
        for (at, _) in line.match_indices(".ci/") {
            let name: String = line[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "./_-".contains(*c)).collect();
            found.push((index + 1, name.trim_end_matches('.').to_owned()));
        }
    }
    found
}

pub(crate) fn absolute_paths(files: &[TextFile]) -> Vec<Finding> {
    let places = ["/work/", "/root/", "/tmp/", "/home/", "/Users/"];
    let mut findings = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            for place in places.iter().filter(|place| names_place(line, place)) {
                let message =
                    format!("{place} is a place on somebody's machine; say it relative to the project, or ask the system");
                findings.push(Finding::new("absolute-path", &file.path, index + 1, message));
            }
        }
    }
    findings
}

/// Whether the place stands there as the beginning of a path, not within a longer one or an address.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "._-~}/*+".contains(character))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_where_they_are_typed() {
        let document = "`lonewatch away`\n```sh\n$ LONEWATCH_X=1 ./target/release/lonewatch demo --seconds 30\ncargo run --release -- run\nlonewatch --help\nkcat x | lonewatch alerts follow\n```\n```text\nlonewatch is ready\n```\n";
        let words: Vec<String> = typed_commands(document).into_iter().map(|(_, word)| word).collect();
        assert_eq!(words, ["demo", "run", "alerts"]);
    }

    #[test]
    fn scripts_are_found_with_their_line() {
        assert_eq!(scripts("run\n`bash .ci/run`, or .ci/test.\n"), [(2, ".ci/run".to_owned()), (2, ".ci/test".to_owned())]);
    }

    #[test]
    fn places_begin_a_path() {
        assert!(names_place("cd /work/x", "/work/"));
        assert!(!names_place("target/tmp/x", "/tmp/"));
    }
}
