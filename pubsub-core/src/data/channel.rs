//! Channel names and the patterns that select them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smol_str::SmolStr;

use super::name::{shorten, text_impls};
use crate::{Error, ErrorKind, Result};

/// The longest channel name, in bytes.
pub const MAX_CHANNEL_LEN: usize = 128;
/// The longest group name, in bytes.
pub const MAX_GROUP_LEN: usize = 64;

const DEAD_LETTER_PREFIX: &str = "_dlq.";
const INBOX_PREFIX: &str = "_inbox.";

/// The name of a channel, the logical family of events: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
///
/// The library's own channels start with an underscore, which this grammar cannot spell: no policy and no wildcard
/// of a user ever matches them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(SmolStr);

impl ChannelName {
    /// Checks a name.
    ///
    /// # Errors
    /// `Invalid` with the rule that is broken.
    pub fn parse(text: &str) -> Result<Self> {
        check(text, CHANNEL, MAX_CHANNEL_LEN)?;
        Ok(Self(SmolStr::new(text)))
    }

    /// Checks a name that lives as long as the program; cloning the result copies a pointer.
    ///
    /// # Errors
    /// `Invalid` with the rule that is broken.
    pub fn from_static(text: &'static str) -> Result<Self> {
        check(text, CHANNEL, MAX_CHANNEL_LEN)?;
        Ok(Self(SmolStr::new_static(text)))
    }

    /// Reads a name that a broker gave back, which may also be one of the library's own.
    ///
    /// # Errors
    /// `Invalid` if it is neither a user's channel nor a dead-letter or inbox channel.
    pub fn parse_internal(text: &str) -> Result<Self> {
        let prefixes = [DEAD_LETTER_PREFIX, INBOX_PREFIX];
        let Some(rest) = prefixes.into_iter().find_map(|prefix| text.strip_prefix(prefix)) else {
            return Self::parse(text);
        };
        check(rest, CHANNEL, MAX_CHANNEL_LEN + MAX_GROUP_LEN + 1)?;
        Ok(Self(SmolStr::new(text)))
    }

    /// The channel that holds what `group` could not handle of this channel: `_dlq.<group>.<channel>`.
    #[must_use]
    pub fn dead_letter(&self, group: &GroupName) -> Self {
        Self(SmolStr::from(format!("{DEAD_LETTER_PREFIX}{group}.{self}")))
    }

    /// The channel of a private inbox: `_inbox.<token>`.
    ///
    /// # Errors
    /// `Invalid` unless the token follows the channel grammar.
    pub fn inbox(token: &str) -> Result<Self> {
        check(token, ("parse inbox name", "inbox"), MAX_CHANNEL_LEN)?;
        Ok(Self(SmolStr::from(format!("{INBOX_PREFIX}{token}"))))
    }

    /// Whether this is a private inbox.
    pub fn is_inbox(&self) -> bool {
        self.0.starts_with(INBOX_PREFIX)
    }

    /// Whether this holds the dead letters of a group.
    pub fn is_dead_letter(&self) -> bool {
        self.0.starts_with(DEAD_LETTER_PREFIX)
    }

    /// Whether this is one of the library's own channels.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with('_')
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const CHANNEL: (&str, &str) = ("parse channel name", "channel");

/// Checks a name; the operation and the field are for the error.
fn check(text: &str, (operation, field): (&'static str, &str), limit: usize) -> Result<()> {
    let rest = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    let bytes = text.as_bytes();
    let starts_well = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    if starts_well && bytes.len() <= limit && bytes.iter().all(|&c| rest(c)) {
        return Ok(());
    }
    let message = format!(
        "field `{field}` must start with a letter or digit and hold at most {limit} of A-Z a-z 0-9 . _ -: {}",
        shorten(text)
    );
    Err(Error::new(ErrorKind::Invalid, operation, message))
}

text_impls!(ChannelName);

/// The name of a consumer group: the channel grammar, at most 64 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(SmolStr);

impl GroupName {
    /// Checks a name.
    ///
    /// # Errors
    /// `Invalid` with the rule that is broken.
    pub fn parse(text: &str) -> Result<Self> {
        check(text, ("parse group name", "group"), MAX_GROUP_LEN)?;
        Ok(Self(SmolStr::new(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_impls!(GroupName);

/// Which channels a subscription or policy takes: one name, `family.*` (one or more further segments), or `*`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ChannelPattern {
    /// Every channel of the users; never one of the library's own.
    All,
    /// Every channel that continues this name with a dot.
    Family(ChannelName),
    /// Exactly this channel.
    Exact(ChannelName),
}

impl ChannelPattern {
    /// Reads `name`, `family.*` or `*`.
    ///
    /// # Errors
    /// `Invalid` with the rule that is broken; `*` anywhere else is refused.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "*" {
            return Ok(Self::All);
        }
        let family = text.strip_suffix(".*").filter(|family| !family.is_empty());
        if text.contains('*') && family.is_none_or(|family| family.contains('*')) {
            let message = format!("field `channel` takes `*` alone or as `family.*`: {}", shorten(text));
            return Err(Error::new(ErrorKind::Invalid, "parse channel pattern", message));
        }
        match family {
            Some(family) => Ok(Self::Family(ChannelName::parse(family)?)),
            None => Ok(Self::Exact(ChannelName::parse(text)?)),
        }
    }

    /// Whether `channel` is selected.
    pub fn matches(&self, channel: &ChannelName) -> bool {
        match self {
            Self::All => !channel.is_internal(),
            Self::Family(family) => {
                let rest = channel.as_str().strip_prefix(family.as_str());
                rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'))
            }
            Self::Exact(exact) => exact == channel,
        }
    }

    /// Whether some channel is selected by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(exact), pattern) | (pattern, Self::Exact(exact)) => pattern.matches(exact),
            (Self::All, _) | (_, Self::All) => true,
            (Self::Family(one), Self::Family(two)) => one == two || self.matches(two) || other.matches(one),
        }
    }

    /// Whether more than one channel can match.
    pub fn is_wildcard(&self) -> bool {
        !matches!(self, Self::Exact(_))
    }
}

impl From<ChannelName> for ChannelPattern {
    fn from(channel: ChannelName) -> Self {
        Self::Exact(channel)
    }
}

impl FromStr for ChannelPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Family(family) => write!(f, "{family}.*"),
            Self::Exact(channel) => f.write_str(channel.as_str()),
        }
    }
}

impl fmt::Debug for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelPattern({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_tell_what_was_parsed() {
        for text in [".*", "a*", "a.*.b", "**", "a.**", "*.a", "a.*.*"] {
            let error = ChannelPattern::parse(text).unwrap_err();
            assert!(error.to_string().starts_with("parse channel pattern: ") && error.message().contains("`family.*`"));
        }
        assert!(ChannelPattern::parse("_a.*").unwrap_err().to_string().starts_with("parse channel name: "));
        assert!(GroupName::parse("a b").unwrap_err().to_string().starts_with("parse group name: "));
    }

    #[test]
    fn the_grammar_of_channels() {
        for good in ["a", "orders", "9.a_b-C", &"x".repeat(128)] {
            assert!(ChannelName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "_a", "-a", "a b", "a:b", "a/b", "ä", "a*", &"x".repeat(129)] {
            assert!(ChannelName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_pattern_reaches_an_internal_channel() {
        let dead = ChannelName::parse("orders").unwrap().dead_letter(&GroupName::parse("billing").unwrap());
        assert_eq!(dead.as_str(), "_dlq.billing.orders");
        assert!(ChannelName::parse(dead.as_str()).is_err());
        assert_eq!(ChannelName::parse_internal(dead.as_str()).unwrap(), dead);
        assert!(!ChannelPattern::All.matches(&dead));
        assert!(ChannelPattern::parse("_dlq.*").is_err());
    }

    #[test]
    fn a_family_is_one_or_more_further_segments() {
        let family = ChannelPattern::parse("shop.*").unwrap();
        for (name, expected) in
            [("shop.a", true), ("shop.a.b", true), ("shop", false), ("shop.", false), ("shopping.a", false)]
        {
            assert_eq!(family.matches(&ChannelName::parse(name).unwrap()), expected, "{name}");
        }
        for bad in ["*.a", "a.*.b", "a*", ".*"] {
            assert!(ChannelPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_overlap_where_one_channel_is_in_both() {
        for (one, two, expected) in [
            ("*", "shop.*", true),
            ("*", "shop", true),
            ("shop.*", "shop.*", true),
            ("shop.*", "shop.eu.*", true),
            ("shop.*", "shop.eu", true),
            ("shop", "shop", true),
            ("shop.*", "shop", false),
            ("shop.*", "shopping.*", false),
            ("shop.eu.*", "shop.us.*", false),
            ("shop", "shops", false),
        ] {
            let (one, two) = (ChannelPattern::parse(one).unwrap(), ChannelPattern::parse(two).unwrap());
            assert_eq!((one.overlaps(&two), two.overlaps(&one)), (expected, expected), "{one} and {two}");
        }
        let dead = ChannelName::parse("orders").unwrap().dead_letter(&GroupName::parse("billing").unwrap());
        assert!(!ChannelPattern::All.overlaps(&dead.into()));
    }
}
