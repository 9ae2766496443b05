//! What `log.level` may say: a level for everything, and further levels for parts of the program.
//!
//! The filter's own parser takes an unknown word for the name of a part, and a part alone switches everything else off: a misspelt
//! level silenced every line, errors too, and no line could say so. So both are mistakes here.

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is wrong with a filter, and the mend; none where it can be used.
pub(super) fn mistake(filter: &str) -> Option<(String, String)> {
    let mut for_everything = false;
    for directive in filter.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let (part, level) = directive.rsplit_once('=').map_or((None, directive), |(part, level)| (Some(part), level));
        if !is_level(level) {
            return Some((format!("{level:?} is no level"), format!("write one of {}, for example \"info\"", LEVELS.join(", "))));
        }
        if let Some(part) = part.filter(|part| !is_part(part)) {
            let mend = "separate with commas, for example \"info,kafka=debug\"";
            return Some((format!("{part:?} names no part of the program"), mend.to_owned()));
        }
        for_everything |= part.is_none();
    }
    let problem = if filter.trim().is_empty() { "is empty" } else { "has no level for everything else, which would be silent" };
    (!for_everything).then(|| (problem.to_owned(), "begin with one, for example \"info\" or \"info,kafka=debug\"".to_owned()))
}

/// The filter as it stands, for an option of the command line.
///
/// # Errors
/// What is wrong with it, and the mend.
pub fn log_filter(text: &str) -> Result<String, String> {
    mistake(text).map_or_else(|| Ok(text.to_owned()), |(problem, mend)| Err(format!("{problem}: {mend}")))
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level))
}

/// A path of modules, as a log line's target is. We log no spans, so their syntax would match nothing.
fn is_part(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    text.split("::").all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_parts_of_the_program_are_taken() {
        for filter in
            ["info", "WARN", "off", "info,kafka=debug", "info, lonewatch::ingest=debug", "rumqttc=off,error", "debug,h2=info,"]
        {
            assert_eq!(mistake(filter), None, "{filter}");
        }
    }

    #[test]
    fn what_would_silence_the_logs_is_a_mistake() {
        for (filter, word) in [
            ("warning", "\"warning\" is no level"),
            ("loud", "\"loud\" is no level"),
            ("info kafka", "\"info kafka\" is no level"),
            ("info kafka=debug", "\"info kafka\" names no part"),
            ("info,kafka=loud", "\"loud\" is no level"),
            ("info,=debug", "\"\" names no part"),
            ("kafka=debug", "no level for everything else"),
            ("info;kafka=debug", "\"info;kafka\" names no part"),
            ("", "is empty"),
            (" , ", "no level for everything else"),
        ] {
            let (problem, mend) = mistake(filter).unwrap_or_else(|| panic!("{filter:?} is taken"));
            assert!(problem.contains(word) && mend.contains("\"info"), "{filter}: {problem}. {mend}");
        }
    }
}
