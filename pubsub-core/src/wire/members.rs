//! The members of a foreign JSON object, not yet looked into.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{
    bounds::{MAX_EXTRA_ENTRIES, MAX_EXTRA_TEXT, too_long, too_many},
    fault::{DECODE, fault},
};
use crate::{Error, Result};

/// Beyond this many members an object is too large, whichever they are: known ones and extra ones.
const MAX_MEMBERS: usize = MAX_EXTRA_ENTRIES + 64;

/// A string that borrows from the input where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The members of an object in their order, duplicates included. `R` is some owner of a [`RawValue`].
pub(super) struct Members<'a, R> {
    entries: Vec<(Text<'a>, R)>,
    overflow: bool,
}

impl<'a, R> Members<'a, R> {
    /// The members.
    ///
    /// # Errors
    /// `TooLarge` if there were too many to be kept.
    pub(super) fn into_entries(self) -> Result<Vec<(Text<'a>, R)>> {
        if self.overflow { Err(too_many(DECODE)) } else { Ok(self.entries) }
    }
}

impl<'de: 'a, 'a, R: Deserialize<'de>> Deserialize<'de> for Members<'a, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<'a, R>(PhantomData<(&'a (), R)>);

        impl<'de: 'a, 'a, R: Deserialize<'de>> Visitor<'de> for Collect<'a, R> {
            type Value = Members<'a, R>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members { entries: Vec::new(), overflow: false };
                while let Some(key) = map.next_key::<Text<'a>>()? {
                    if members.entries.len() < MAX_MEMBERS {
                        members.entries.push((key, map.next_value()?));
                    } else {
                        members.overflow = true;
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Collect(PhantomData))
    }
}

/// The extra entries of an event while they are read: never more than the limits allow.
#[derive(Default)]
pub(super) struct Extra {
    map: BTreeMap<String, Value>,
    text_len: usize,
}

impl Extra {
    fn take_room(&mut self, key: &str, len: usize) -> Result<()> {
        self.text_len = self.text_len.saturating_add(key.len()).saturating_add(len);
        if self.text_len > MAX_EXTRA_TEXT {
            return Err(too_long(DECODE));
        }
        if self.map.len() >= MAX_EXTRA_ENTRIES && !self.map.contains_key(key) {
            return Err(too_many(DECODE));
        }
        Ok(())
    }

    /// Parses and adds a member that came as JSON; a second one of the same key is an error at `path`.
    pub(super) fn add(&mut self, path: &[&str], key: &str, raw: &RawValue) -> Result<()> {
        self.take_room(key, raw.get().len())?;
        let value = serde_json::from_str(raw.get()).map_err(|cause: serde_json::Error| unfit(path, cause))?;
        match self.map.insert(key.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(fault(path, format!("duplicate field `{}`", path.last().copied().unwrap_or(key)))),
        }
    }

    /// Adds or replaces an entry that came as text.
    pub(super) fn put(&mut self, key: &str, text: &str) -> Result<()> {
        self.take_room(key, text.len())?;
        self.map.insert(key.to_owned(), Value::from(text));
        Ok(())
    }

    /// Adds an entry unless there is one.
    pub(super) fn put_if_absent(&mut self, key: &str, text: &str) -> Result<()> {
        if self.map.contains_key(key) { Ok(()) } else { self.put(key, text) }
    }

    /// Takes an entry out if it is text.
    pub(super) fn take_text(&mut self, key: &str) -> Option<String> {
        if !self.map.get(key)?.is_string() {
            return None;
        }
        match self.map.remove(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Lets the entries of `other` win over those here.
    pub(super) fn override_with(&mut self, other: Self) -> Result<()> {
        self.map.extend(other.map);
        if self.map.len() > MAX_EXTRA_ENTRIES { Err(too_many(DECODE)) } else { Ok(()) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn into_map(self) -> BTreeMap<String, Value> {
        self.map
    }
}

/// The value at `path` is not of its member's type.
#[cold]
pub(super) fn unfit(path: &[&str], cause: serde_json::Error) -> Error {
    fault(path, cause.to_string()).because(cause)
}
