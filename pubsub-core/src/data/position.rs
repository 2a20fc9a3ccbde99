//! `Position`: an opaque cursor into the history of a channel.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::name::shorten;
use crate::{Error, ErrorKind, Result, Timestamp};

const MAX_SCHEME_LEN: usize = 8;
const MAX_BODY_LEN: usize = 1024;

/// Where an event lies in the history of its channel: opaque to users, made and read by the adapter it came from.
///
/// The text form is `<adapter>:<body>`, visible ASCII, at most 1,033 bytes; it may be stored and given back later.
/// Positions of one channel and adapter compare by equality only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position {
    scheme: [u8; MAX_SCHEME_LEN],
    body: Body,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Body {
    /// Two numbers need no allocation: sequence and epoch, or time and sequence.
    Pair(u64, u64),
    Text(Arc<str>),
}

impl Position {
    /// A position of two numbers, as adapters with one sequence per channel make it.
    ///
    /// # Errors
    /// `Invalid` unless `scheme` is 1 to 8 lower-case letters or digits.
    pub fn pair(scheme: &str, first: u64, second: u64) -> Result<Self> {
        Ok(Self { scheme: check_scheme(scheme)?, body: Body::Pair(first, second) })
    }

    /// A copy with other numbers, for adapters that checked their scheme once.
    #[must_use]
    pub fn with_pair(&self, first: u64, second: u64) -> Self {
        Self { scheme: self.scheme, body: Body::Pair(first, second) }
    }

    /// A position of free text, as adapters with several partitions make it.
    ///
    /// # Errors
    /// `Invalid` unless `scheme` is 1 to 8 lower-case letters or digits and `body` 1 to 1,024 visible ASCII characters.
    pub fn text(scheme: &str, body: &str) -> Result<Self> {
        let scheme = check_scheme(scheme)?;
        if body.is_empty() || body.len() > MAX_BODY_LEN || !body.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("must hold 1 to 1024 visible ASCII characters after the colon", body));
        }
        // One spelling per position: what reads as a pair is one.
        Ok(Self { scheme, body: parse_pair(body).unwrap_or_else(|| Body::Text(body.into())) })
    }

    /// The two numbers, if this position is of `scheme` and has them.
    ///
    /// # Errors
    /// `Invalid` if the position was made by another adapter or is not a pair.
    pub fn as_pair(&self, scheme: &str) -> Result<(u64, u64)> {
        match (&self.body, self.scheme() == scheme) {
            (Body::Pair(first, second), true) => Ok((*first, *second)),
            _ => Err(self.foreign(scheme)),
        }
    }

    /// The free text, if this position is of `scheme`.
    ///
    /// # Errors
    /// `Invalid` if the position was made by another adapter or is a pair.
    pub fn as_text(&self, scheme: &str) -> Result<&str> {
        match (&self.body, self.scheme() == scheme) {
            (Body::Text(text), true) => Ok(text),
            _ => Err(self.foreign(scheme)),
        }
    }

    fn foreign(&self, scheme: &str) -> Error {
        bad(&format!("is not one that the adapter `{scheme}` made"), &self.to_string())
    }

    /// Which adapter made it.
    pub fn scheme(&self) -> &str {
        let end = self.scheme.iter().position(|&b| b == 0).unwrap_or(MAX_SCHEME_LEN);
        std::str::from_utf8(&self.scheme[..end]).unwrap_or("")
    }
}

fn bad(problem: &str, text: &str) -> Error {
    Error::new(ErrorKind::Invalid, "parse position", format!("field `position` {problem}: {}", shorten(text)))
}

fn check_scheme(text: &str) -> Result<[u8; MAX_SCHEME_LEN]> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if text.is_empty() || text.len() > MAX_SCHEME_LEN || !text.bytes().all(good) {
        return Err(bad("must start with the adapter's name and a colon", text));
    }
    let mut scheme = [0; MAX_SCHEME_LEN];
    scheme[..text.len()].copy_from_slice(text.as_bytes());
    Ok(scheme)
}

fn parse_pair(body: &str) -> Option<Body> {
    let (first, second) = body.split_once('-')?;
    let number = |text: &str| {
        let value = text.parse::<u64>().ok()?;
        (value.to_string() == text).then_some(value)
    };
    Some(Body::Pair(number(first)?, number(second)?))
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, body) =
            text.split_once(':').ok_or_else(|| bad("must start with the adapter's name and a colon", text))?;
        Self::text(scheme, body)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Pair(first, second) => write!(f, "{}:{first}-{second}", self.scheme()),
            Body::Text(text) => write!(f, "{}:{text}", self.scheme()),
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self})")
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| de::Error::custom(error.message()))
    }
}

/// Where a subscription starts to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartPosition {
    /// A group goes on where it stopped; a fresh group, [`StartPosition::Earliest`]. A broadcast, [`StartPosition::Latest`].
    #[default]
    Stored,
    /// Only what is published from now on.
    Latest,
    /// Everything that is retained.
    Earliest,
    /// The first event after this one.
    After(Position),
    /// The first event that arrived at this time or later.
    Time(Timestamp),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back_as_the_same_position() {
        for text in ["mem:7-12", "kafka:0:17,1:4;t=ab", "redis:1700000000000-0", "x:18446744073709551615-0"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        assert_eq!("mem:7-12".parse::<Position>().unwrap(), Position::pair("mem", 7, 12).unwrap());
        assert_ne!("mem:07-12".parse::<Position>().unwrap(), Position::pair("mem", 7, 12).unwrap());
    }

    #[test]
    fn foreign_positions_are_refused() {
        for bad in [
            "",
            ":",
            "mem",
            "mem:",
            "MEM:1-2",
            "waytoolong:1-2",
            "mem:a b",
            "mem:\u{e9}",
            &format!("mem:{}", "1".repeat(1025)),
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad:?}");
        }
        assert!("redis:1-2".parse::<Position>().unwrap().as_pair("mem").is_err());
        assert!("mem:x".parse::<Position>().unwrap().as_pair("mem").is_err());
    }
}
