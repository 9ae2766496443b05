//! The runbook's list of entries against the program: an entry that nothing names would send nobody to it, and age unseen.

use lonewatch::alert::Kind;
use lonewatch::runbook::Entry;

use crate::Finding;
use crate::tree::{TextFile, has_word};

/// Where the list is kept.
const LIST: &str = "src/runbook.rs";

pub(crate) fn entries_that_nothing_names(files: &[TextFile]) -> Vec<Finding> {
    let named_by_alert = |entry: &Entry| Kind::ALL.into_iter().any(|kind| Entry::of_alert(kind) == Some(*entry));
    let named_in_code = |entry: &Entry| {
        let path = format!("Entry::{entry:?}");
        let mut code =
            files.iter().filter(|file| file.path.starts_with("src/") && file.path != LIST).flat_map(TextFile::code_lines);
        code.any(|line| !line.test && has_word(line.code, &path))
    };
    let unnamed = Entry::ALL.iter().filter(|entry| !named_by_alert(entry) && !named_in_code(entry));
    unnamed
        .map(|entry| {
            let message = format!("nothing in the program names {entry}: take the entry out, here and in the document");
            Finding::new("runbook", LIST, 1, message)
        })
        .collect()
}

#[test]
fn an_entry_that_only_a_test_names_is_found() {
    let file = |text: &str| TextFile { path: "src/x.rs".to_owned(), text: text.to_owned() };
    let count = |text: &str| entries_that_nothing_names(&[file(text)]).len();
    let none = count("fn f() {}\n");
    assert_eq!(count("fn f() { refuse(Entry::AdminPort) }\n"), none - 1);
    assert_eq!(count("#[cfg(test)]\nmod tests {\n    fn f() { refuse(Entry::AdminPort) }\n}\n"), none);
    assert_eq!(count("fn f() { refuse(Entry::AdminPortal) }\n"), none);
}
