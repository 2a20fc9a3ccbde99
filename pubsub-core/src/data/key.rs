//! `Key`: what events that must stay in order have in common.

use std::{borrow::Cow, fmt, sync::Arc};

use smol_str::SmolStr;

use crate::{Error, ErrorKind, Result};

/// The longest ordering key, in bytes.
pub const MAX_KEY_LEN: usize = 256;

/// An ordering key: UTF-8, at most 256 bytes. Events of one key keep their order on channels ordered per key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(SmolStr);

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// `Invalid` if it is longer than 256 bytes.
    pub fn new(text: &str) -> Result<Self> {
        if text.len() > MAX_KEY_LEN {
            return Err(Error::new(ErrorKind::Invalid, "parse key", "field `key` is longer than 256 bytes"));
        }
        Ok(Self(SmolStr::new(text)))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A hash that is the same in every process and every version: FNV-1a, 64 bits.
    ///
    /// Shards and lanes are chosen by it, so it must never change.
    pub fn stable_hash(&self) -> u64 {
        self.0
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// What a field marked `#[event(key)]` must be: something with one text form, or an `Option` of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an event key",
    label = "no text form to order events by",
    note = "keys may be strings, integers, or an `Option` of them; implement `EventKey` for your own type"
)]
pub trait EventKey {
    /// The key, or `None` for an event that needs no order.
    fn event_key(&self) -> Option<Cow<'_, str>>;
}

impl EventKey for String {
    fn event_key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self))
    }
}

impl EventKey for str {
    fn event_key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self))
    }
}

impl EventKey for Cow<'_, str> {
    fn event_key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self))
    }
}

impl<T: EventKey + ?Sized> EventKey for &T {
    fn event_key(&self) -> Option<Cow<'_, str>> {
        (**self).event_key()
    }
}

impl<T: EventKey + ?Sized> EventKey for Box<T> {
    fn event_key(&self) -> Option<Cow<'_, str>> {
        (**self).event_key()
    }
}

impl<T: EventKey + ?Sized> EventKey for Arc<T> {
    fn event_key(&self) -> Option<Cow<'_, str>> {
        (**self).event_key()
    }
}

impl<T: EventKey> EventKey for Option<T> {
    fn event_key(&self) -> Option<Cow<'_, str>> {
        self.as_ref().and_then(EventKey::event_key)
    }
}

macro_rules! printed_keys {
    ($($type:ty)*) => {$(
        impl EventKey for $type {
            fn event_key(&self) -> Option<Cow<'_, str>> {
                Some(Cow::Owned(self.to_string()))
            }
        }
    )*};
}
printed_keys!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize bool char);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_fnv() {
        // Test vectors of the FNV authors' reference for 64-bit FNV-1a.
        assert_eq!(Key::new("").unwrap().stable_hash(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Key::new("a").unwrap().stable_hash(), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Key::new("foobar").unwrap().stable_hash(), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn keys_have_a_limit() {
        assert!(Key::new(&"k".repeat(256)).is_ok());
        assert!(Key::new(&"k".repeat(257)).is_err());
    }
}
