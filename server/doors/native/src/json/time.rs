//! Moments as text: RFC 3339 in, UTC with as many digits as needed out.
//!
//! Nanoseconds are cut down to microseconds, as Firestore does. There are no leap seconds.

use std::fmt::Write as _;

use hearth_core::Timestamp;

const SECONDS_PER_DAY: i64 = 86_400;
/// Days from 0000-03-01, where a cycle of 400 years begins, to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
const DAYS_PER_400_YEARS: i64 = 146_097;

/// Reads `2026-01-31T10:00:00.123456Z`, with up to nine digits after the point and any offset.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, mark)| bytes.get(*at).is_some_and(|byte| byte.eq_ignore_ascii_case(mark))) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let sound = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !sound || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (micros, zone) = fraction(text.get(19..)?)?;
    let seconds = days(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second - offset(zone)?;
    Timestamp::from_micros(seconds * 1_000_000 + micros)
}

/// Writes a moment in UTC, with no, three or six digits after the point.
pub(super) fn print(moment: Timestamp) -> String {
    let seconds = moment.micros().div_euclid(1_000_000);
    let micros = moment.micros().rem_euclid(1_000_000);
    let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    let written = match micros {
        0 => Ok(()),
        micros if micros % 1_000 == 0 => write!(text, ".{:03}", micros / 1_000),
        micros => write!(text, ".{micros:06}"),
    };
    written.expect("a String takes everything");
    text.push('Z');
    text
}

/// The microseconds of `.123456789`, if it begins with a point, and what follows.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit())?;
    if !(1..=9).contains(&end) {
        return None;
    }
    let micros = rest[..end].bytes().chain(std::iter::repeat(b'0')).take(6);
    Some((micros.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')), &rest[end..]))
}

/// Seconds of `Z`, `+02:30` or `-08:00`.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.as_bytes() {
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let number = |part: Option<&str>| {
        let part = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse::<i64>().ok()
    };
    let (hours, minutes) = (number(zone.get(1..3))?, number(zone.get(4..6))?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970. Years are counted from March, so that the leap day is the last day of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let cycle = year.div_euclid(400);
    let of_cycle = year.rem_euclid(400);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    cycle * DAYS_PER_400_YEARS + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - DAYS_TO_1970
}

/// Year, month and day of a number of days since 1970: the reverse of [`days`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let cycle = days.div_euclid(DAYS_PER_400_YEARS);
    let of_cycle = days.rem_euclid(DAYS_PER_400_YEARS);
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (cycle * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments_have_their_number_and_their_text() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (1_767_225_600_000_000, "2026-01-01T00:00:00Z"),
            (951_782_400_123_000, "2000-02-29T00:00:00.123Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (Timestamp::MIN.micros(), "0001-01-01T00:00:00Z"),
            (Timestamp::MAX.micros(), "9999-12-31T23:59:59.999999Z"),
        ];
        for (micros, text) in cases {
            let moment = Timestamp::from_micros(micros).unwrap();
            assert_eq!(print(moment), text);
            assert_eq!(parse(text), Some(moment), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        let wrong = [
            "",
            "2026",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234567890Z",
            "2026-01-01T00:00:00+2:00",
            "2026-01-01T00:00:00+24:00",
            "+026-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-00:01",
            "2026-01-01T00:00:00é",
            "２026-01-01T00:00:00Z",
        ];
        for text in wrong {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_moments_parse_back(micros in Timestamp::MIN.micros()..=Timestamp::MAX.micros()) {
            let moment = Timestamp::from_micros(micros).unwrap();
            prop_assert_eq!(parse(&print(moment)), Some(moment));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9TZ:.+-]{15,30}|\\PC{0,30}") {
            let _ = parse(&text);
        }
    }
}
