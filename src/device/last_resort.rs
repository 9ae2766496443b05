//! What can be told from bytes that no reader takes: the quoted values of one key, found without reading the whole.
//!
//! Only for what must not be lost with its message, a press above all. So it errs towards hearing, within bounds that keep a word in
//! a free text, as a part of another key or deep in something else from being one: the key stands in quotes that are not escaped, a
//! colon follows, and a value is a whole quoted text, alone or in a list.

use super::json::Nesting;

/// The texts under a key, in order. `depth` is how deep in brackets the key may stand, as far as that can be told.
pub(super) fn values(payload: &[u8], key: &str, depth: usize) -> Vec<String> {
    let quoted_key = format!("\"{key}\"");
    // A list of messages is one level more.
    let deepest = depth + usize::from(payload.trim_ascii_start().first() == Some(&b'['));
    let mut found = Vec::new();
    let (mut nesting, mut read_to) = (Nesting::default(), 0);
    for (at, byte) in payload.iter().enumerate() {
        // A stray quote makes all after it look like a string, or not like one: then its depth cannot be told, and it counts.
        let begins = *byte == b'"' && !nesting.escaped && at >= read_to && (nesting.in_text || nesting.depth <= deepest);
        if begins && payload[at..].starts_with(quoted_key.as_bytes()) {
            read_to = read_values(payload, at + quoted_key.len(), &mut found);
        }
        nesting.take(*byte);
    }
    found
}

/// The one text under a key; none where there are several that differ.
pub(super) fn value(payload: &[u8], key: &str, depth: usize) -> Option<String> {
    let found = values(payload, key, depth);
    let first = found.first()?;
    found.iter().all(|it| it == first).then(|| first.clone())
}

/// Reads what stands behind a key, and says where it ends.
fn read_values(payload: &[u8], after_key: usize, found: &mut Vec<String>) -> usize {
    let colon = skip_blanks(payload, after_key);
    if payload.get(colon) != Some(&b':') {
        return after_key;
    }
    let mut at = skip_blanks(payload, colon + 1);
    let in_list = payload.get(at) == Some(&b'[');
    at += usize::from(in_list);
    while let Some(byte) = payload.get(at) {
        match byte {
            b'"' => {
                let Some(end) = end_of_text(payload, at) else { return at };
                if payload.get(skip_blanks(payload, end)) == Some(&b':') {
                    return at; // The next key: this list was never closed.
                }
                found.push(String::from_utf8_lossy(&payload[at + 1..end - 1]).into_owned());
                at = end;
            }
            b']' | b'}' | b'{' => return at,
            _ if in_list => at += 1,
            _ => return at,
        }
        if !in_list {
            return at;
        }
    }
    at
}

fn skip_blanks(payload: &[u8], from: usize) -> usize {
    let rest = payload.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Behind the closing quote of the text that begins here; none where it is cut off.
fn end_of_text(payload: &[u8], begins: usize) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in payload.iter().enumerate().skip(begins + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals(payload: &str) -> Vec<String> {
        values(payload.as_bytes(), "signals", 1)
    }

    #[test]
    fn whole_quoted_values_of_the_key_are_found_in_any_bytes() {
        for payload in [
            r#"{"signals":["sos"],"fix":{"lat":nan}}"#,
            r#"{"fix":{"lat":nan},"signals":["sos"]}"#,
            r#"{"a":[1,{"b":"]"}],"signals" : "sos" "#,
            r#"{"signals":[7,"sos""#,
            r#"{"signals":["sos" "note":"help"}"#,
            r#""signals":["sos"]"#,
            r#"[{"seq":1},{"signals":["sos"],"fix":{"lat":nan}}]"#,
            r#"{"name":"5'10"","signals":["sos"]}"#,
            r#"{"signals":[],"signals":["sos"]}"#,
        ] {
            assert_eq!(signals(payload), ["sos"], "{payload}");
        }
        assert_eq!(values(b"{\"n\":\"J\xfcrgen\",\"signals\":[\"sos\"]}", "signals", 1), ["sos"]);
        assert_eq!(signals(r#"{"signals":["a","b\"c"],"x":["d"]"#), ["a", r#"b\"c"#]);
    }

    #[test]
    fn what_is_no_value_of_the_key_is_none() {
        for payload in [
            r#"{"note":"\"signals\":[\"sos\"]","fix":nan}"#,
            r#"{"signals_of_old":["sos"],"old_signals":["sos"],"fix":nan}"#,
            r#"{"signals":["sos"#,
            r#"{"signals":{"sos":1},"fix":nan}"#,
            r#"{"signals":["sos":1],"fix":nan}"#,
            r#"{"signals":[],"note":"sos","fix":nan}"#,
            r#"{"signals":7,"note":["sos"],"fix":nan}"#,
            r#"{"history":[{"signals":["sos"]}],"fix":nan}"#,
            r#"{"history":{"signals":["sos"]},"fix":nan}"#,
            r#"["signals","sos",nan]"#,
            r#"{"words":["signals","sos"],"fix":nan}"#,
            "",
            "sos",
        ] {
            assert_eq!(signals(payload), [""; 0], "{payload}");
        }
    }

    #[test]
    fn one_text_is_told_only_where_all_agree() {
        assert_eq!(value(br#"{"id":"p-1","id":"p-1",nan"#, "id", 1).as_deref(), Some("p-1"));
        assert_eq!(value(br#"{"id":"p-1","id":"p-2",nan"#, "id", 1), None);
        assert_eq!(value(b"{nan", "id", 1), None);
    }
}
