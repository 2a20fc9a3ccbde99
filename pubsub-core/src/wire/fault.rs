//! Errors of the readers, each with the place at fault.

use std::fmt::Write;

use serde::Deserialize;

use crate::{Error, ErrorKind, Fault};

pub(super) const DECODE: &str = "decode envelope";
pub(super) const ENCODE: &str = "encode envelope";

/// The event breaks a rule at `path`, a list of member names from the top.
pub(super) fn fault(path: &[&str], message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Codec, DECODE, "the bytes are not an event")
        .with_faults(vec![Fault { pointer: pointer(path), message: message.into() }])
}

/// A required member is not there.
pub(super) fn missing(name: &str) -> Error {
    fault(&[name], format!("field `{name}` is missing"))
}

/// A member's own type refused its text.
pub(super) fn refused(path: &[&str], error: &Error) -> Error {
    fault(path, error.message())
}

/// JSON that does not have the shape of `T`: reads it again to find out where.
#[cold]
pub(super) fn misshapen<'de, T: Deserialize<'de>>(bytes: &'de [u8], cause: serde_json::Error) -> Error {
    use serde_path_to_error::Segment;

    let deserializer = &mut serde_json::Deserializer::from_slice(bytes);
    let mut names = Vec::new();
    if let Err(located) = serde_path_to_error::deserialize::<_, T>(deserializer) {
        for segment in located.path() {
            match segment {
                Segment::Seq { index } => names.push(index.to_string()),
                Segment::Map { key } | Segment::Enum { variant: key } => names.push(key.clone()),
                Segment::Unknown => {}
            }
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    fault(&names, cause.to_string()).because(cause)
}

/// A JSON pointer (RFC 6901).
pub(super) fn pointer(names: &[&str]) -> String {
    names.iter().fold(String::new(), |mut out, name| {
        // Foreign names are shortened: an error is no place for a megabyte.
        let name: String = name.chars().take(128).collect();
        let _ = write!(out, "/{}", name.replace('~', "~0").replace('/', "~1"));
        out
    })
}
