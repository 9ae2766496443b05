//! The project's files, and the lines of Rust code with what is a test among them.

use std::path::Path;

/// Not ours to judge: built, fetched, or git's own.
const SKIPPED_FOLDERS: [&str; 3] = ["target", ".git", ".cache"];
/// What we write by hand and read as text.
const TEXT_ENDINGS: [&str; 10] = ["rs", "md", "toml", "yaml", "yml", "json", "proto", "xml", "csv", "tpl"];

/// A file of the project.
pub(crate) struct TextFile {
    /// Relative to the project, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A line of Rust.
pub(crate) struct CodeLine<'file> {
    /// From 1.
    pub(crate) number: usize,
    /// Without its comment.
    pub(crate) code: &'file str,
    /// In a test file or under `#[cfg(test)]`.
    pub(crate) test: bool,
}

impl TextFile {
    pub(crate) fn ends_in(&self, ending: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, own)| own == ending)
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.ends_in("rs")
    }

    /// The lines of a Rust file. rustfmt's layout is relied on: an item ends at its own indentation.
    pub(crate) fn code_lines(&self) -> Vec<CodeLine<'_>> {
        let whole_file_is_test =
            self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let mut test_item_indent = None;
        let mut lines = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            let code = without_comment(line);
            let indent = line.len() - line.trim_start().len();
            let opens_test_item = code.trim_start().starts_with("#[cfg(test)]");
            if opens_test_item {
                test_item_indent = Some(indent);
            }
            let test = whole_file_is_test || test_item_indent.is_some();
            lines.push(CodeLine { number: index + 1, code, test });
            let ends_item = indent <= test_item_indent.unwrap_or(0) && (code.ends_with(';') || code.ends_with('}'));
            if ends_item && !opens_test_item {
                test_item_indent = None;
            }
        }
        lines
    }
}

/// The part of a line before `//`. A `//` that follows a colon is an address in a text.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(found) = line[from..].find("//") {
        let at = from + found;
        if !line[..at].ends_with(':') {
            return line[..at].trim_end();
        }
        from = at + 2;
    }
    line.trim_end()
}

/// Whether the word stands in the text with no letter, digit or underscore beside it.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    word_places(text, word).next().is_some()
}

/// Where the word begins, wherever it stands alone.
pub(crate) fn word_places<'text>(text: &'text str, word: &'text str) -> impl Iterator<Item = usize> + 'text {
    let part_of_word = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !text[..*at].chars().next_back().is_some_and(part_of_word)
            && !text[at + word.len()..].chars().next().is_some_and(part_of_word)
    })
}

/// All Rust files.
pub(crate) fn rust_files() -> Vec<TextFile> {
    let mut files = text_files();
    files.retain(TextFile::is_rust);
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the project's source was not found");
    files
}

/// All text files, scripts included, in the order of their paths.
pub(crate) fn text_files() -> Vec<TextFile> {
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<TextFile>) {
    for entry in std::fs::read_dir(folder).expect("read a folder of the project") {
        let entry = entry.expect("read a folder of the project");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type().expect("a file has a type").is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                collect(&entry.path(), &format!("{path}/"), files);
            }
        } else if is_text(&path) {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_else(|fault| panic!("{path}: {fault}"));
            files.push(TextFile { path, text });
        }
    }
}

fn is_text(path: &str) -> bool {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    TEXT_ENDINGS.contains(&ending) || path.starts_with(".ci/")
}

#[test]
fn test_items_end_where_rustfmt_ends_them() {
    let text = "#[cfg(test)]\nuse a::b;\nuse c::d; // tail\n#[cfg(test)]\nmod tests {\n    fn f() {\n    }\n}\nfn g() {}\n";
    let file = TextFile { path: "src/x.rs".to_owned(), text: text.to_owned() };
    let lines = file.code_lines();
    let tests: Vec<usize> = lines.iter().filter(|line| line.test).map(|line| line.number).collect();
    assert_eq!(tests, [1, 2, 4, 5, 6, 7, 8]);
    assert_eq!(lines[2].code, "use c::d;");
}

#[test]
fn words_stand_alone() {
    assert!(has_word("let a = tokio::spawn", "tokio"));
    assert!(!has_word("my_tokio tokios", "tokio"));
}
