//! The keys that `#[event(...)]` knows on a type, and which of them a misspelt one is closest to.

use syn::Ident;
use syn::ext::IdentExt as _;

/// A key of `#[event(...)]` on a struct or an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Name,
    Channel,
    Version,
    Direction,
    Reply,
    ReadOnly,
    Description,
    Crate,
}

impl Key {
    pub(crate) const ALL: [Self; 8] = [
        Self::Name,
        Self::Channel,
        Self::Version,
        Self::Direction,
        Self::Reply,
        Self::ReadOnly,
        Self::Description,
        Self::Crate,
    ];

    pub(crate) fn find(ident: &Ident) -> Option<Self> {
        let text = ident.unraw().to_string();
        Self::ALL.into_iter().find(|key| key.as_str() == text)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Channel => "channel",
            Self::Version => "version",
            Self::Direction => "direction",
            Self::Reply => "reply",
            Self::ReadOnly => "read_only",
            Self::Description => "description",
            Self::Crate => "crate",
        }
    }

    /// What the key wants, said whenever it got something else.
    pub(crate) const fn takes(self) -> &'static str {
        match self {
            Self::Name => r#"`name` takes a string literal, for example `name = "orders:created"`"#,
            Self::Channel => r#"`channel` takes a string literal, for example `channel = "orders"`"#,
            Self::Version => "`version` takes a whole number from 1 to 4294967295, for example `version = 2`",
            Self::Direction => r#"`direction` takes one of "sse", "cse", "both", "internal""#,
            Self::Reply => "`reply` takes a type, for example `reply = Created`",
            Self::ReadOnly => "`read_only` stands alone or takes `true` or `false`",
            Self::Description => {
                r#"`description` takes a string literal, for example `description = "An order was placed"`"#
            }
            Self::Crate => "`crate` takes a path, for example `crate = my_facade::pubsub`",
        }
    }
}

/// The key that a misspelt one was probably meant to be.
pub(crate) fn nearest(ident: &Ident) -> Option<Key> {
    let known = Key::ALL.map(Key::as_str);
    let nearest = nearest_word(&ident.unraw().to_string(), &known)?;
    Key::ALL.into_iter().find(|key| key.as_str() == nearest)
}

/// The message for a key that `#[event(...)]` on a type does not know.
pub(crate) fn unknown(ident: &Ident, nearest: Option<Key>) -> String {
    let hint = nearest.map(|key| format!(": did you mean `{}`?", key.as_str()));
    let known = Key::ALL.map(Key::as_str).join(", ");
    format!("unknown key `{ident}`{}\nknown keys: {known}", hint.unwrap_or_default())
}

/// The candidate that is at most a third of its letters away, if any.
pub(crate) fn nearest_word<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let text = text.to_ascii_lowercase();
    candidates
        .iter()
        .map(|candidate| (distance(&text, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two short words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_recognised() {
        let known = Key::ALL.map(Key::as_str);
        for (written, meant) in [
            ("nmae", "name"),
            ("Name", "name"),
            ("chanel", "channel"),
            ("readonly", "read_only"),
            ("vers", "version"),
            ("desription", "description"),
        ] {
            assert_eq!(nearest_word(written, &known), Some(meant), "{written}");
        }
    }

    #[test]
    fn a_foreign_word_gets_no_suggestion() {
        assert_eq!(nearest_word("topic", &Key::ALL.map(Key::as_str)), None);
        assert_eq!(nearest_word("", &Key::ALL.map(Key::as_str)), None);
    }
}
