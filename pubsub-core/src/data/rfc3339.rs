//! RFC 3339 text of a time in milliseconds, for the years 0 to 9999.
//!
//! `jiff::Timestamp` ends on 9999-12-30T22:00Z, so that every offset can show it; its civil calendar has all of the
//! year. The form that the library itself writes is handled here, as every event on a wire has one.

use jiff::{SignedDuration, civil, fmt::temporal::Pieces};

const DAY: i64 = 86_400_000;
/// 0000-03-01, from which every 400 years have the same shape, is this many days before 1970-01-01.
const MARCH_0: i64 = 719_468;
const DAYS_PER_400_YEARS: i64 = 146_097;

/// Year, month and day of a day since 1970.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + MARCH_0;
    let era = days.div_euclid(DAYS_PER_400_YEARS);
    let day = days.rem_euclid(DAYS_PER_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // counted from March
    let (month, day) = (if month < 10 { month + 3 } else { month - 9 }, day - (153 * month + 2) / 5 + 1);
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// The day since 1970 of a date; only sensible for dates that exist.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day = (153 * month + 2) / 5 + day - 1 + 365 * year + year / 4 - year / 100;
    era * DAYS_PER_400_YEARS + day - MARCH_0
}

/// Writes `2026-01-31T12:00:00.000Z`.
pub(super) fn write(millis: i64, buffer: &mut [u8; 24]) -> &str {
    let (year, month, day) = date(millis.div_euclid(DAY));
    let time = millis.rem_euclid(DAY);
    *buffer = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, width: usize, mut value: i64| {
        for digit in buffer[at..at + width].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, time / 3_600_000);
    put(14, 2, time / 60_000 % 60);
    put(17, 2, time / 1_000 % 60);
    put(20, 3, time % 1_000);
    std::str::from_utf8(buffer).unwrap_or_default()
}

/// Reads what [`write`] writes, and nothing else.
pub(super) fn read_own(text: &str) -> Option<i64> {
    let bytes: &[u8; 24] = text.as_bytes().try_into().ok()?;
    for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')] {
        if bytes[at] != mark {
            return None;
        }
    }
    let number = |at: usize, width: usize| {
        bytes[at..at + width]
            .iter()
            .try_fold(0, |value: i64, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
    };
    let day = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second, millis) = (number(11, 2)?, number(14, 2)?, number(17, 2)?, number(20, 3)?);
    let since = days(day.0, day.1, day.2);
    if date(since) != day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(since * DAY + ((hour * 60 + minute) * 60 + second) * 1_000 + millis)
}

/// Reads any date and time with an offset; `None` if the offset or the time is missing.
pub(super) fn read(text: &str) -> Result<Option<i64>, jiff::Error> {
    const EPOCH: civil::DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let pieces = Pieces::parse(text)?;
    let (Some(time), Some(offset), None) = (pieces.time(), pieces.to_numeric_offset(), pieces.time_zone_annotation())
    else {
        return Ok(None);
    };
    let since = pieces.date().to_datetime(time).duration_since(EPOCH);
    let utc = since - SignedDuration::from_secs(offset.seconds().into());
    Ok(i64::try_from(utc.as_nanos().div_euclid(1_000_000)).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_agrees_with_the_calendar_of_jiff(millis in -62_167_219_200_000_i64..253_402_207_200_000) {
            let mut buffer = [0; 24];
            let text = write(millis, &mut buffer);
            let time = jiff::Timestamp::from_millisecond(millis).unwrap();
            prop_assert_eq!(text, format!("{time:.3}"));
            prop_assert_eq!(read_own(text), Some(millis));
            prop_assert_eq!(read(text).unwrap(), Some(millis));
        }
    }
}
