//! `EventId`: what makes an event recognisable across retries, brokers and languages.

use std::{cell::RefCell, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smol_str::SmolStr;
use uuid::Uuid;

use crate::{Error, ErrorKind, Result};

/// The longest id that is accepted, in bytes.
pub const MAX_ID_LEN: usize = 128;

/// A unique event id: 1 to 128 visible ASCII characters.
///
/// Ids that the library makes are UUIDs of version 4 or, by option, version 7 (RFC 9562). An id in the usual
/// lower-case form of a UUID is kept as its 16 bytes; any other text is kept as it came.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Uuid(Uuid),
    Text(SmolStr),
}

/// Which UUIDs a publisher makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdKind {
    /// Random (UUID version 4).
    #[default]
    V4,
    /// Ordered by time of creation (UUID version 7): friendlier to database indexes, but tells that time.
    V7,
}

impl EventId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Repr::Uuid(random_uuid()))
    }

    /// A new id of the given kind.
    pub fn generate(kind: IdKind) -> Self {
        match kind {
            IdKind::V4 => Self::random(),
            IdKind::V7 => Self(Repr::Uuid(Uuid::now_v7())),
        }
    }

    /// Checks and takes a foreign id.
    ///
    /// # Errors
    /// `Invalid` if the text is empty, longer than 128 bytes, or holds anything but visible ASCII.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > MAX_ID_LEN || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "parse event id",
                "field `id` must be 1 to 128 visible ASCII characters",
            ));
        }
        // Only the canonical spelling becomes a UUID: `Display` must give back the bytes that came in.
        if text.len() == 36
            && !text.bytes().any(|b| b.is_ascii_uppercase())
            && let Ok(uuid) = Uuid::try_parse(text)
        {
            return Ok(Self(Repr::Uuid(uuid)));
        }
        Ok(Self(Repr::Text(SmolStr::new(text))))
    }

    /// The id as text in `buffer`, without an allocation.
    pub fn encode<'a>(&'a self, buffer: &'a mut [u8; 36]) -> &'a str {
        match &self.0 {
            Repr::Uuid(uuid) => uuid.hyphenated().encode_lower(buffer),
            Repr::Text(text) => text,
        }
    }
}

thread_local! {
    static RANDOM: RefCell<Option<Generator>> = const { RefCell::new(None) };
}

fn random_uuid() -> Uuid {
    RANDOM.with_borrow_mut(|slot| {
        let generator = match slot {
            Some(generator) if generator.left > 0 => generator,
            _ => match Generator::seeded() {
                Some(fresh) => slot.insert(fresh),
                None => return Uuid::new_v4(), // which reports a system without randomness in its own way
            },
        };
        generator.left -= 1;
        let (high, low) = (generator.next(), generator.next());
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes()).into_uuid()
    })
}

/// xoshiro256++ (Blackman and Vigna, 2019), seeded by the system, one per thread: ids must not collide, but they are no
/// secrets, and asking the system for each costs as much as the rest of a publish. Its 256 bits of state keep the
/// sequences of any number of threads and processes apart.
struct Generator {
    state: [u64; 4],
    /// After so many ids it is seeded anew: a process that was forked or restored does not follow its twin for long.
    left: u32,
}

impl Generator {
    const IDS_PER_SEED: u32 = 1 << 16;

    fn seeded() -> Option<Self> {
        let mut state = [0; 4];
        for word in &mut state {
            *word = getrandom::u64().ok()?;
        }
        // All zeros is the one state that it never leaves.
        (state != [0; 4]).then_some(Self { state, left: Self::IDS_PER_SEED })
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }
}

impl From<Uuid> for EventId {
    fn from(uuid: Uuid) -> Self {
        Self(Repr::Uuid(uuid))
    }
}

impl FromStr for EventId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; 36]))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut [0; 36]))
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| de::Error::custom(error.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_unchanged() {
        for text in ["1", "ABC-1/2", "00000000-0000-4000-8000-00000000000A", "00000000-0000-4000-8000-00000000000a"] {
            assert_eq!(EventId::parse(text).map(|id| id.to_string()).ok().as_deref(), Some(text));
        }
        assert!(EventId::parse(&"x".repeat(128)).is_ok());
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs of the authors' C code from this state.
        let mut generator = Generator { state: [1, 2, 3, 4], left: 0 };
        let outputs: Vec<_> = (0..4).map(|_| generator.next()).collect();
        assert_eq!(outputs, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn random_ids_differ_and_are_version_4() {
        let ids: std::collections::HashSet<_> = (0..200_000).map(|_| EventId::random().to_string()).collect();
        assert_eq!(ids.len(), 200_000);
        assert!(ids.iter().all(|id| id.as_bytes()[14] == b'4'));
    }

    #[test]
    fn bad_ids_are_refused_by_field_name() {
        for text in ["", "a b", "ä", "a\n", &"x".repeat(129)] {
            let error = EventId::parse(text).expect_err(text);
            assert!(error.message().contains("`id`"), "{error}");
        }
    }
}
