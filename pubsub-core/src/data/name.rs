//! Event names, `category:event`, and the patterns that select them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smol_str::SmolStr;

use crate::{Error, ErrorKind, Result};

/// The longest event name, in bytes.
pub const MAX_NAME_LEN: usize = 128;

/// A canonical event name: `category:event`, at most 128 bytes, one colon, no white space, no control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventName(SmolStr);

impl EventName {
    /// Checks a name.
    ///
    /// # Errors
    /// `Invalid` with the rule that is broken.
    pub fn parse(text: &str) -> Result<Self> {
        check(text)?;
        Ok(Self(SmolStr::new(text)))
    }

    /// Checks a name that lives as long as the program; cloning the result copies a pointer.
    ///
    /// # Errors
    /// `Invalid` with the rule that is broken.
    pub fn from_static(text: &'static str) -> Result<Self> {
        check(text)?;
        Ok(Self(SmolStr::new_static(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the colon.
    pub fn category(&self) -> &str {
        self.0.split_once(':').map_or("", |(category, _)| category)
    }
}

fn check(text: &str) -> Result<()> {
    let problem = if text.len() > MAX_NAME_LEN {
        "is longer than 128 bytes"
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "holds white space or a control character"
    } else {
        match text.split_once(':') {
            Some((category, event)) if !category.is_empty() && !event.is_empty() && !event.contains(':') => {
                return Ok(());
            }
            _ => "must be `category:event` with exactly one colon",
        }
    };
    Err(Error::new(ErrorKind::Invalid, "parse event name", format!("field `name` {problem}: {}", shorten(text))))
}

/// Foreign text for an error message: escaped, and never longer than a line.
pub(crate) fn shorten(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().take(60).flat_map(char::escape_debug) {
        out.push(c);
    }
    out.push_str(if text.chars().nth(60).is_some() { "…\"" } else { "\"" });
    out
}

macro_rules! text_impls {
    ($type:ident) => {
        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(|error| de::Error::custom(error.message()))
            }
        }
    };
}
pub(crate) use text_impls;

text_impls!(EventName);

/// Which event names a subscription takes: one name, `category:*`, or `*` for all.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum NamePattern {
    /// Every name.
    All,
    /// Every name of one category.
    Category(Category),
    /// Exactly this name.
    Exact(EventName),
}

/// The category of a [`NamePattern`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Category(SmolStr);

impl Category {
    /// The category as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NamePattern {
    /// Reads `name`, `category:*` or `*`.
    ///
    /// # Errors
    /// `Invalid` with the rule that is broken; `*` anywhere else is refused.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(category) = text.strip_suffix(":*") {
            check(&format!("{category}:x"))?;
            if !category.contains('*') {
                return Ok(Self::Category(Category(SmolStr::new(category))));
            }
        }
        if text.contains('*') {
            return Err(Error::new(
                ErrorKind::Invalid,
                "parse event name pattern",
                format!("field `name` takes `*` alone or as `category:*`: {}", shorten(text)),
            ));
        }
        Ok(Self::Exact(EventName::parse(text)?))
    }

    /// Whether `name` is selected.
    pub fn matches(&self, name: &EventName) -> bool {
        match self {
            Self::All => true,
            Self::Category(category) => name.category() == category.as_str(),
            Self::Exact(exact) => exact == name,
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Category(category) => write!(f, "{}:*", category.as_str()),
            Self::Exact(name) => f.write_str(name.as_str()),
        }
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamePattern({self})")
    }
}

impl FromStr for NamePattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_names() {
        for good in ["a:b", "orders:created", "größe:geändert", "a.b:c/d"] {
            assert!(EventName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":",
            "a:",
            ":b",
            "ab",
            "a:b:c",
            "a :b",
            "a:b\n",
            "a:\u{7}b",
            "a:\u{85}b",
            &format!("a:{}", "b".repeat(127)),
        ] {
            assert!(EventName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn patterns_select_by_category() {
        let created = EventName::parse("orders:created").unwrap();
        assert!(NamePattern::parse("*").unwrap().matches(&created));
        assert!(NamePattern::parse("orders:*").unwrap().matches(&created));
        assert!(!NamePattern::parse("order:*").unwrap().matches(&created));
        assert!(NamePattern::parse("orders:created").unwrap().matches(&created));
        for bad in ["orders:*x", "*:created", "o*:*", "**", ":*"] {
            assert!(NamePattern::parse(bad).is_err(), "{bad}");
        }
    }
}
