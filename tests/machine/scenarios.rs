//! Every story in `scenarios/`, held against what it expects.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::world::tell;

const ARROW: &str = "\n=>\n";

#[test]
fn every_story_ends_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/scenarios");
    let mut stories: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    stories.sort();
    assert!(stories.len() > 30, "only {} stories", stories.len());
    let mut wrong = String::new();
    for story in &stories {
        let text = std::fs::read_to_string(story).unwrap();
        let (deeds, expected) = text.split_once(ARROW).unwrap_or((text.trim_end(), ""));
        let told = tell(deeds);
        if told != expected.trim_end() {
            let _ = writeln!(wrong, "{}\nexpected:\n{}\ntold:\n{told}\n", story.display(), expected.trim_end());
        }
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(story, format!("{deeds}{ARROW}{told}\n")).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
