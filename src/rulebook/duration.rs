//! Durations as people write them: `30s`, `10m`, `1h30m`, `250ms`, `2d`. A bare number is refused, because nobody can see its unit.

/// Units from long to short, with their milliseconds.
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Milliseconds of a duration text; none where it is no such text.
pub(super) fn parse(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0_i64;
    let mut longest_left = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS.iter().position(|(name, _)| *name == &rest[..letters])?;
        if unit < longest_left {
            return None;
        }
        longest_left = unit + 1;
        total = total.checked_add(number.checked_mul(UNITS[unit].1)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// The duration as [`parse`] would read it.
pub(super) fn text(millis: i64) -> String {
    if millis <= 0 {
        return "0s".to_owned();
    }
    let mut rest = millis;
    let mut text = String::new();
    for (name, unit) in UNITS {
        if rest >= unit {
            text += &(rest / unit).to_string();
            text += name;
            rest %= unit;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (written, millis) in
            [("10m", 600_000), ("90s", 90_000), ("1h30m", 5_400_000), ("0", 0), ("0s", 0), ("250ms", 250), ("2d", 172_800_000)]
        {
            assert_eq!(parse(written), Some(millis), "{written}");
        }
        for wrong in
            ["", "10", "m", "-5m", "5 m", "5m1h", "5m5m", "1.5h", "5x", "99999999999999999999s", "é", "9223372036854775807d"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for millis in [0, 1, 250, 3_000, 600_000, 5_400_000, 90_061_001] {
            assert_eq!(parse(&text(millis)), Some(millis));
        }
        assert_eq!(text(90_061_001), "1d1h1m1s1ms");
    }
}
