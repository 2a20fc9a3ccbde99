//! `Cursor`: where a subscription stands in each of its channels, as the text that clients keep for it.
//!
//! The text is base64url of one byte for the version and, for each channel, eight bytes of a hash of its name and its
//! place. It needs no state at any server: a place is what the adapter says, its channel's epoch included.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pubsub_core::{ChannelName, Position};
use sha2::{Digest, Sha256};

/// The longest cursor, in characters.
pub(crate) const MAX_CURSOR: usize = 2048;
/// The word that asks for everything that is retained.
pub(crate) const EARLIEST: &str = "earliest";

const VERSION: u8 = 1;
const ORIGIN: u8 = 0;
const PAIR: u8 = 1;
const TEXT: u8 = 2;

/// A channel, as cursors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChannelKey([u8; 8]);

impl ChannelKey {
    pub(crate) fn of(channel: &ChannelName) -> Self {
        let digest = Sha256::digest(channel.as_str().as_bytes());
        let mut key = [0; 8];
        key.copy_from_slice(&digest[..8]);
        Self(key)
    }
}

/// A place in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// After this event.
    At(Position),
    /// Before everything that was retained when so many events had been removed; the most if nobody knows.
    Origin(u64),
}

/// Where a subscription stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor(Vec<(ChannelKey, Mark)>);

impl Cursor {
    pub(crate) fn one(key: ChannelKey, mark: Mark) -> Self {
        Self(vec![(key, mark)])
    }

    pub(crate) fn push(&mut self, key: ChannelKey, mark: Mark) {
        self.0.push((key, mark));
    }

    pub(crate) fn get(&self, key: ChannelKey) -> Option<&Mark> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, mark)| mark)
    }

    /// The text.
    pub(crate) fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(1 + 36 * self.0.len());
        bytes.push(VERSION);
        for (key, mark) in &self.0 {
            bytes.extend_from_slice(&key.0);
            write_mark(&mut bytes, mark);
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the text; `None` if no server of this library wrote it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_CURSOR {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (&VERSION, mut rest) = bytes.split_first()? else { return None };
        let mut marks = Vec::new();
        while !rest.is_empty() {
            let (key, after) = rest.split_first_chunk::<8>()?;
            let (mark, after) = read_mark(after)?;
            marks.push((ChannelKey(*key), mark));
            rest = after;
        }
        (!marks.is_empty()).then_some(Self(marks))
    }
}

/// How long the text for these places can become, in characters, while numbers grow.
pub(crate) fn longest<'a>(marks: impl Iterator<Item = &'a Mark>) -> usize {
    let one = |mark: &Mark| match mark {
        Mark::At(position) => match split_pair(position) {
            Some(_) => 8 + 1 + 1 + 8 + 10 + 10,
            // A list of partitions grows by the digits of its numbers.
            None => 8 + 1 + 2 + position.to_string().len() + 32,
        },
        Mark::Origin(_) => 8 + 1 + 1 + 8 + 10 + 10,
    };
    let bytes: usize = 1 + marks.map(one).sum::<usize>();
    bytes.div_ceil(3) * 4
}

fn split_pair(position: &Position) -> Option<(u64, u64)> {
    position.as_pair(position.scheme()).ok()
}

fn write_mark(out: &mut Vec<u8>, mark: &Mark) {
    match mark {
        Mark::Origin(removed) => {
            out.push(ORIGIN);
            write_number(out, *removed);
        }
        Mark::At(position) => match split_pair(position) {
            Some((first, second)) => {
                out.push(PAIR);
                write_text(out, position.scheme());
                write_number(out, first);
                write_number(out, second);
            }
            None => {
                out.push(TEXT);
                write_text(out, &position.to_string());
            }
        },
    }
}

fn read_mark(bytes: &[u8]) -> Option<(Mark, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    match kind {
        ORIGIN => {
            let (removed, rest) = read_number(rest)?;
            Some((Mark::Origin(removed), rest))
        }
        PAIR => {
            let (scheme, rest) = read_text(rest)?;
            let (first, rest) = read_number(rest)?;
            let (second, rest) = read_number(rest)?;
            Some((Mark::At(Position::pair(scheme, first, second).ok()?), rest))
        }
        TEXT => {
            let (text, rest) = read_text(rest)?;
            Some((Mark::At(text.parse().ok()?), rest))
        }
        _ => None,
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = read_number(bytes)?;
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Seven bits per byte, the lowest first.
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        if index == 9 && part > 1 {
            return None;
        }
        number |= part << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ChannelKey {
        ChannelKey::of(&ChannelName::parse(name).unwrap())
    }

    fn at(text: &str) -> Mark {
        Mark::At(text.parse().unwrap())
    }

    #[test]
    fn a_cursor_reads_back() {
        let mut cursor = Cursor::one(key("a"), at("mem:18446744073709551615-1"));
        cursor.push(key("b"), at("kafka:0:17,1:4;ab"));
        cursor.push(key("c"), Mark::Origin(u64::MAX));
        let text = cursor.encode();
        assert!(text.len() <= MAX_CURSOR && text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(Cursor::parse(&text), Some(cursor.clone()));
        assert_eq!(cursor.get(key("b")), Some(&at("kafka:0:17,1:4;ab")));
        assert_eq!(cursor.get(key("d")), None);
    }

    #[test]
    fn what_was_not_written_here_is_refused() {
        let good = Cursor::one(key("a"), at("mem:7-9")).encode();
        for bad in [
            "",
            "AQ",
            "earliest",
            "7",
            "AgAAAAAAAAAAAA",
            "a b",
            "\u{e9}",
            &good[..good.len() - 3],
            &format!("{good}AAAA"),
            &"A".repeat(MAX_CURSOR + 1),
        ] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
        // No text of any length may do harm.
        for length in 0..64_u8 {
            for byte in [0, 1, 2, 0x7f, 0x80, 0xff] {
                let mut bytes = vec![byte; usize::from(length)];
                bytes.insert(0, VERSION);
                Cursor::parse(&URL_SAFE_NO_PAD.encode(bytes));
            }
        }
    }

    #[test]
    fn the_bound_holds_for_whatever_a_place_becomes() {
        let marks: Vec<Mark> =
            (0..32).map(|_| Mark::At(Position::pair("abcdefgh", u64::MAX, u64::MAX).unwrap())).collect();
        let mut cursor = Cursor::default();
        marks.iter().for_each(|mark| cursor.push(key("a"), mark.clone()));
        assert!(cursor.encode().len() <= longest(marks.iter()));
        assert!(longest(marks.iter()) <= MAX_CURSOR, "32 channels fit where positions are pairs");
    }
}
