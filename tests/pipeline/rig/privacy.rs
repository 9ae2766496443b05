//! What no log may hold (P12): coordinates, whatever wrote them. Every process of ours is looked at when its test is over.
//!
//! Coordinates have a shape: degrees with three decimals or more, or whole 1e-7 degrees. Clock times, durations, versions and addresses
//! look alike and are told apart by what stands around them.

/// The first thing in a log that looks like a coordinate, with its line.
pub fn coordinate_in(log: &str) -> Option<(&str, &str)> {
    log.lines().find_map(|line| numbers(line).find(|number| is_coordinate(line, number)).map(|number| (number, line)))
}

/// Every run of digits with its decimals and sign.
fn numbers(line: &str) -> impl Iterator<Item = &str> {
    let part_of_number = |character: char| character.is_ascii_digit() || character == '.' || character == '-';
    line.split(move |character| !part_of_number(character)).map(|run| run.trim_matches('.')).filter(|run| !run.is_empty())
}

fn is_coordinate(line: &str, number: &str) -> bool {
    let at = number.as_ptr().addr() - line.as_ptr().addr();
    let mut before = line[..at].chars().rev();
    let after = line[at + number.len()..].chars().next();
    // 0a1b2c, 1.5ms, 1.25s
    let joined = |side: Option<char>| side.is_some_and(|character| character.is_alphanumeric() || "_#".contains(character));
    let last = before.next();
    // 12:34:56.789
    let of_a_clock = last == Some(':') && before.next().is_some_and(|character| character.is_ascii_digit());
    if joined(last) || joined(after) || of_a_clock {
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
