//! `Timestamp`: milliseconds since 1970, RFC 3339 where it is text.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{name::shorten, rfc3339};
use crate::{Error, ErrorKind, Result};

/// A point in time in milliseconds since 1970-01-01T00:00:00Z, between the years 0 and 9999.
///
/// Text form: RFC 3339 in UTC with three decimals, `2026-01-31T12:00:00.000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The start of 1970.
    pub const EPOCH: Self = Self(0);
    /// The earliest time that has a text form.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// The latest time that has a text form.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The time now, by the system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From milliseconds since 1970.
    ///
    /// # Errors
    /// `Invalid` outside the years 0 to 9999.
    pub fn from_millis(millis: i64) -> Result<Self> {
        let range = Self::MIN.0..=Self::MAX.0;
        range.contains(&millis).then_some(Self(millis)).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "parse timestamp", "field `timestamp` lies outside the years 0 to 9999")
        })
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 date and time with any offset. Decimals beyond milliseconds are cut off.
    ///
    /// # Errors
    /// `Invalid` if the text is not such a date.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || format!("field `timestamp` must be an RFC 3339 date and time: {}", shorten(text));
        if let Some(millis) = rfc3339::read_own(text) {
            return Ok(Self(millis));
        }
        if text.len() > 64 {
            return Err(Error::new(ErrorKind::Invalid, "parse timestamp", bad()));
        }
        match rfc3339::read(text) {
            Ok(Some(millis)) => Self::from_millis(millis),
            Ok(None) => Err(Error::new(ErrorKind::Invalid, "parse timestamp", bad())),
            Err(cause) => Err(Error::new(ErrorKind::Invalid, "parse timestamp", bad()).because(cause)),
        }
    }

    /// The text form in `buffer`, without an allocation.
    pub fn encode(self, buffer: &mut [u8; 24]) -> &str {
        rfc3339::write(self.0, buffer)
    }

    /// This time plus `duration`, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis).min(Self::MAX.0))
    }

    /// This time minus `duration`, at least [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis).max(Self::MIN.0))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    /// Times outside the range become its nearest end.
    fn from(time: SystemTime) -> Self {
        // In 64 bits: `Duration::as_millis` multiplies in 128, and each event asks for the time.
        let millis = |distance: Duration| {
            let seconds = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
            seconds.saturating_mul(1_000).saturating_add(i64::from(distance.subsec_millis()))
        };
        let millis = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        };
        Self(millis.clamp(Self::MIN.0, Self::MAX.0))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_millis(time.0.unsigned_abs());
        // Every platform's clock spans these years; should one not, its own epoch is the nearest honest answer.
        let shifted = if time.0 >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) };
        shifted.unwrap_or(UNIX_EPOCH)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; 24]))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut [0; 24]))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| de::Error::custom(error.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_three_decimals_and_utc() {
        let time = Timestamp::from_millis(1_700_000_000_120).unwrap();
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.120Z");
        assert_eq!(Timestamp::parse("2023-11-14T23:13:20.1209+01:00").unwrap(), time);
        assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_ends_of_the_range_print_and_read_back() {
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(Timestamp::parse(&end.to_string()).unwrap(), end);
        }
        assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        assert!(Timestamp::parse("9999-12-31T23:59:59.999-00:01").is_err());
        assert!(Timestamp::from_millis(Timestamp::MAX.0 + 1).is_err());
        assert!(Timestamp::from_millis(i64::MIN).is_err());
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from(SystemTime::from(Timestamp::MIN)), Timestamp::MIN);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "yesterday",
            "2023-13-01T00:00:00Z",
            "12345678901",
            "2023-11-14T22:13:20",
            "2023-11-14Z",
            "2023-02-29T00:00:00.000Z",
            &"2".repeat(100),
        ] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }
}
