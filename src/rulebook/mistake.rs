//! A mistake in the source folder, in words that lead to its mend; and a list of them that many readers share.

use std::cell::RefCell;
use std::fmt;

/// One mistake in the rulebook's source folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The file, relative to the folder.
    pub file: String,
    /// Where in the file: a key path, or feature, ring and coordinate (counted from 1); empty for the file itself.
    pub place: String,
    /// What is wrong.
    pub wrong: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, wrong, mend } = self;
        if place.is_empty() { write!(f, "{file}: {wrong}; {mend}") } else { write!(f, "{file}: {place}: {wrong}; {mend}") }
    }
}

/// Mistakes found so far. Shared by reference, so that a nested reader needs no chain of mutable borrows.
#[derive(Default)]
pub(super) struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// Notes one.
    pub(super) fn note(&self, file: &str, place: &str, wrong: impl Into<String>, mend: impl Into<String>) {
        let mistake = Mistake { file: file.to_owned(), place: place.to_owned(), wrong: wrong.into(), mend: mend.into() };
        self.0.borrow_mut().push(mistake);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// All of them, by file; within a file as they were found, which is from its top as far as a key's place can tell.
    pub(super) fn into_sorted(self) -> Vec<Mistake> {
        let mut mistakes = self.0.into_inner();
        mistakes.sort_by(|a, b| a.file.cmp(&b.file));
        mistakes
    }
}

/// "did you mean" for a word that is none of those known: the nearest, or the list.
pub(super) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(candidate) = nearest(word, known.clone()) {
        return format!("did you mean `{candidate}`?");
    }
    // A reader may have asked for a key twice.
    let mut once: Vec<&str> = Vec::new();
    for word in known {
        if !once.contains(&word) {
            once.push(word);
        }
    }
    format!("known here: {}", once.join(", "))
}

/// The same as the end of another mend; nothing where no known word is near.
pub(super) fn or_suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |candidate| format!(", or did you mean `{candidate}`?"))
}

fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, candidate) = known.into_iter().map(|candidate| (edits(word, candidate), candidate)).min()?;
    (distance <= 1 + candidate.len() / 4).then_some(candidate)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(80).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_lists_what_there_is() {
        assert_eq!(suggestion("silense", ["severity", "silence"]), "did you mean `silence`?");
        assert_eq!(suggestion("colour", ["severity", "silence", "severity"]), "known here: severity, silence");
        assert_eq!(or_suggestion("colour", ["severity"]), "");
    }

    #[test]
    fn a_mistake_reads_as_one_line() {
        let mistake =
            Mistake { file: "a.toml".into(), place: "rules".into(), wrong: "is 3".into(), mend: "write a table".into() };
        assert_eq!(mistake.to_string(), "a.toml: rules: is 3; write a table");
    }
}
