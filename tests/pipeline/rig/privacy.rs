//! What no log may hold (P12): coordinates, whatever wrote them. Every process of ours is looked at when its test is over.
//!
//! Coordinates have a shape: degrees with three decimals or more, or whole 1e-7 degrees. Clock times, durations, versions and addresses
//! look alike and are told apart by what stands around them.

/// The first thing in a log that looks like a coordinate, with its line.
pub fn coordinate_in(log: &str) -> Option<(&str, &str)> {
    log.lines().find_map(|line| numbers(line).find(|number| is_coordinate(line, number)).map(|number| (number, line)))
}

/// The first line in which this word begins, and not amid another one: the address 0x7f5970007700 says nothing of somebody's number 07700,
/// nor the time 20:55:51.471912 of a latitude.
pub fn line_with<'a>(word: &str, log: &'a str) -> Option<&'a str> {
    log.lines().find(|line| line.match_indices(word).any(|(at, _)| !is_amid(&line[..at])))
}

/// Whether what follows goes on with a word, a fraction or a clock's time: 0a1b2c, 0.789, 12:34:56.
fn is_amid(before: &str) -> bool {
    let mut before = before.chars().rev();
    match before.next() {
        Some(':' | '.') => before.next().is_some_and(|character| character.is_ascii_digit()),
        last => last.is_some_and(is_of_a_word),
    }
}

fn is_of_a_word(character: char) -> bool {
    character.is_alphanumeric() || "_#".contains(character)
}

/// Every run of digits with its decimals and sign.
fn numbers(line: &str) -> impl Iterator<Item = &str> {
    let part_of_number = |character: char| character.is_ascii_digit() || character == '.' || character == '-';
    line.split(move |character| !part_of_number(character)).map(|run| run.trim_matches('.')).filter(|run| !run.is_empty())
}

fn is_coordinate(line: &str, number: &str) -> bool {
    let at = number.as_ptr().addr() - line.as_ptr().addr();
    // 1.5ms, 1.25s
    let has_unit = line[at + number.len()..].starts_with(is_of_a_word);
    if has_unit || is_amid(&line[..at]) {
        return false;
    }
    let plain = number.strip_prefix('-').unwrap_or(number);
    match plain.split_once('.') {
        Some((degrees, decimals)) => {
            let whole = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            whole(degrees) && whole(decimals) && decimals.len() >= 3 && degrees.parse::<u32>().is_ok_and(|degrees| degrees <= 180)
        }
        None => (9..=10).contains(&plain.len()) && plain.parse::<u32>().is_ok_and(|number| number <= 1_800_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_where_it_begins() {
        for line in ["call 07700 900", r#"{"n":"07700 900123"}"#, "07700 900 123", "lat:07700 900"] {
            assert_eq!(line_with("07700 900", line), Some(line));
        }
        assert_eq!(line_with("-2.62987", "x\nlon: -2.6298765"), Some("lon: -2.6298765"));
        for line in ["Destroying event: 0x7f5970007700", "2026-11-25T20:07700", "5.07700", "x07700, 1.07700"] {
            assert_eq!(line_with("07700", line), None, "{line}");
        }
    }

    #[test]
    fn coordinates_are_found_in_every_dress() {
        for line in [
            "lat: 51.507, lon: -0.127",
            r#"{"lat":51.5071234}"#,
            "[[-0.1278,51.5074],",
            "Position { lat_e7: 515071234, lon_e7: -1278000 }",
            "at -2.629876 (within 8 m)",
        ] {
            assert!(coordinate_in(line).is_some(), "{line}");
        }
    }

    #[test]
    fn what_only_looks_alike_is_let_through() {
        for line in [
            "2026-11-25T14:49:39.123456Z  INFO ready part=\"feed main lane duress\"",
            r#"{"timestamp":"2026-11-25T14:49:39.123456Z","level":"INFO"}"#,
            "127.0.0.1:29092/bootstrap: Connect failed (after 1.125s in state CONNECT)",
            "librdkafka v2.12.1 (0x20c01ff)",
            "records=120 committed=98 at=1764081234567",
            "took 0.25 s, 3.14159ms",
            "incarnation 00000000feedbeef",
        ] {
            assert_eq!(coordinate_in(line), None, "{line}");
        }
    }
}
