//! A moment as protobuf and JSON have it. Ours, because web clients read no other form of UTC than `Z`.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// Seconds since 1970-01-01 UTC, and nanoseconds further on.
///
/// In JSON RFC 3339 text: written with `Z` and 6 digits (9 where there are parts of a microsecond), read with any
/// offset and up to 9 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// 0 to 999,999,999, counted forward also before 1970.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const SECONDS_MIN: i64 = -62_135_596_800;
    /// The last second of year 9999.
    pub const SECONDS_MAX: i64 = 253_402_300_799;

    /// The moment so many microseconds after 1970.
    pub fn from_micros(micros: i64) -> Self {
        let nanos = (micros.rem_euclid(1_000_000) * 1_000) as i32;
        Self { seconds: micros.div_euclid(1_000_000), nanos }
    }

    /// Whole microseconds since 1970, rounded down; `None` outside years 1 to 9999 or with nanoseconds out of range.
    pub fn micros(self) -> Option<i64> {
        self.is_valid().then(|| self.seconds * 1_000_000 + i64::from(self.nanos / 1_000))
    }

    fn is_valid(self) -> bool {
        (Self::SECONDS_MIN..=Self::SECONDS_MAX).contains(&self.seconds) && (0..1_000_000_000).contains(&self.nanos)
    }

    /// Reads RFC 3339: `2024-01-31T12:00:00[.123456789]Z`, or an offset such as `+02:00` for the `Z`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let digits = |from: usize, count: usize| -> Option<i64> {
            let slice = bytes.get(from..from + count)?;
            slice.iter().all(u8::is_ascii_digit).then(|| slice.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
        };
        let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
        let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
        let (hour, minute, second) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
        let shaped = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
        let real = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
        if !shaped || !real || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut at = 19;
        let mut nanos = 0;
        if is(at, b".") {
            let count = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&count) {
                return None;
            }
            nanos = digits(at + 1, count)? * 10_i64.pow(9 - count as u32);
            at += 1 + count;
        }
        let offset_seconds = match bytes.get(at..)? {
            b"Z" | b"z" => 0,
            [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
                let (hours, minutes) = (digits(at + 1, 2)?, digits(at + 4, 2)?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                (hours * 3_600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
            }
            _ => return None,
        };
        let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_seconds;
        Some(Self { seconds, nanos: nanos as i32 }).filter(|timestamp| timestamp.is_valid())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.nanos % 1_000 {
            0 => write!(f, ".{:06}Z", self.nanos / 1_000),
            _ => write!(f, ".{:09}Z", self.nanos),
        }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Counted in years that begin in March, so that a leap day
/// is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date so many days after 1970-01-01: year, month and day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (month, day) = ((shifted + 2) % 12 + 1, day_of_year - (153 * shifted + 2) / 5 + 1);
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as RFC 3339 has it")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, want: &str) {
        let got = Timestamp::parse(text).map_or("refused".into(), |time| time.to_string());
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn any_offset_and_precision_is_read_and_utc_is_written() {
        check("2026-10-18T03:09:39.541000000Z", "2026-10-18T03:09:39.541000Z");
        check("2026-10-18T03:09:39Z", "2026-10-18T03:09:39.000000Z");
        check("2026-10-18T03:09:39.5+02:30", "2026-10-18T00:39:39.500000Z");
        check("2024-02-29T00:00:00.000000001Z", "2024-02-29T00:00:00.000000001Z");
        check("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z");
        check("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z");
        check("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-10-18",
            "2026-10-18T03:09:39",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.0000000001Z",
            "2026-01-01T00:00:00+2:00",
            "0001-01-01T00:00:00+01:00",
            "2026-01-01T00:00:0éZ",
        ] {
            check(text, "refused");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in Timestamp::SECONDS_MIN..=Timestamp::SECONDS_MAX, nanos in 0..1_000_000_000_i32) {
            let time = Timestamp { seconds, nanos };
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,40}") {
            let _ = Timestamp::parse(&text);
        }

        #[test]
        fn micros_there_and_back(micros in -62_135_596_800_000_000_i64..=253_402_300_799_999_999) {
            prop_assert_eq!(Timestamp::from_micros(micros).micros(), Some(micros));
        }
    }
}
