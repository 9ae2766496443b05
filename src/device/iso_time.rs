//! Times as ISO 8601 writes them (the profile of RFC 3339, and offsets without a colon, as Java writes them), to milliseconds.
//!
//! By hand, because it is one fixed form: a calendar crate in the pure build would have to be trusted to read alike for ever.

use crate::time::{DAY_MILLIS, DeviceMillis, HOUR_MILLIS, MINUTE_MILLIS, SECOND_MILLIS};

/// Reads `2026-09-25T14:12:04.257+00:00`, `...04Z` or `...04+0200`; none for anything else. Digits beyond milliseconds are cut off.
pub(super) fn parse(text: &str) -> Option<DeviceMillis> {
    let (date, rest) = text.split_once('T')?;
    let date = fields(date, "dddd-dd-dd")?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let clock = fields(clock, "dd:dd:dd")?;
    let ([year, month, day], [hour, minute, second]) = (date, clock);
    // A leap second counts as the second after it.
    let possible =
        (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !possible {
        return None;
    }
    let (millis, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (fraction, zone) = rest.split_at(digits);
            if fraction.is_empty() {
                return None;
            }
            (format!("{fraction:0<3}")[..3].parse::<i64>().ok()?, zone)
        }
        None => (0, rest),
    };
    let local = days_from_epoch(year, month, day) * DAY_MILLIS
        + hour * HOUR_MILLIS
        + minute * MINUTE_MILLIS
        + second * SECOND_MILLIS
        + millis;
    Some(DeviceMillis::new(local - offset_millis(zone)?))
}

/// The three numbers in a text of this pattern, in which `d` is a digit and everything else itself.
fn fields(text: &str, pattern: &str) -> Option<[i64; 3]> {
    let fits = |(c, p): (char, char)| if p == 'd' { c.is_ascii_digit() } else { c == p };
    if text.len() != pattern.len() || !text.chars().zip(pattern.chars()).all(fits) {
        return None;
    }
    let mut numbers = text.split(['-', ':']).map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

fn offset_millis(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (None, Some(rest)) => (-1, rest),
        (None, None) => return None,
    };
    let (hours, minutes) = rest.split_at_checked(2)?;
    let minutes = minutes.strip_prefix(':').unwrap_or(minutes);
    let number = |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i64>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * HOUR_MILLIS + minutes * MINUTE_MILLIS))
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _thirty_one => 31,
    }
}

/// Days from 1970-01-01, in the Gregorian calendar carried back without end.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Leap days before this year, counted from year 1.
    let leap_days = |year: i64| (year - 1).div_euclid(4) - (year - 1).div_euclid(100) + (year - 1).div_euclid(400);
    let of_years = (year - 1970) * 365 + leap_days(year) - leap_days(1970);
    of_years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Option<i64> {
        parse(text).map(DeviceMillis::get)
    }

    #[test]
    fn the_forms_of_java_and_of_rfc_3339_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000+00:00", 0),
            ("2018-09-14T15:34:17.000+0000", 1_536_939_257_000),
            ("2026-09-25T14:12:04.257+00:00", 1_790_345_524_257),
            ("2026-09-25T16:12:04.257+02:00", 1_790_345_524_257),
            ("2026-09-25T08:42:04.2579999-0530", 1_790_345_524_257),
            ("2000-02-29T23:59:59.9Z", 951_868_799_900),
            ("1969-12-31T23:59:59.999Z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "T",
            "2026-09-25",
            "2026-09-25T14:12:04",
            "2026-09-25 14:12:04Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-09-31T00:00:00Z",
            "2026-09-25T24:00:00Z",
            "2026-09-25T14:60:00Z",
            "2026-09-25T14:12:04.Z",
            "2026-09-25T14:12:04.5",
            "2026-09-25T14:12:04+2",
            "2026-09-25T14:12:04+24:00",
            "2026-09-25T14:12:04+02:0",
            "+026-09-25T14:12:04Z",
            "2026-09-25T14:12:0éZ",
            "2026-09-25T14:12:04Zz",
            "20260925T141204Z",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_day_follows_the_one_before(year in 1_i64..=9_999, month in 1_i64..=12) {
            let first = |year, month| days_from_epoch(year, month, 1);
            let next = if month == 12 { first(year + 1, 1) } else { first(year, month + 1) };
            prop_assert_eq!(next - first(year, month), days_in(year, month));
            prop_assert_eq!(first(year + 1, 1) - first(year, 1), if is_leap(year) { 366 } else { 365 });
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,40}", tail in "[0-9:.+ZT-]{0,30}") {
            let _none_or_time = (parse(&text), parse(&tail), parse(&format!("2026-09-25T{tail}")));
        }
    }
}
