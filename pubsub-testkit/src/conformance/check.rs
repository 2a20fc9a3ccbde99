//! Assertions that return a [`Failure`] instead of panicking.

use std::fmt;

use pubsub_core::{Error, ErrorKind};

use super::{Failure, Verdict};

/// Fails unless `ok`.
///
/// # Errors
/// The failure, with what was expected and what was seen.
pub fn ensure(ok: bool, expected: impl Into<String>, seen: impl fmt::Display) -> Verdict {
    if ok { Ok(()) } else { Err(Failure::new(expected, seen)) }
}

/// Fails always: for branches that a sound adapter never reaches.
///
/// # Errors
/// The failure, with what was expected and what was seen.
pub fn failed<T>(expected: impl Into<String>, seen: impl fmt::Display) -> Verdict<T> {
    Err(Failure::new(expected, seen))
}

/// Fails unless both are equal.
///
/// # Errors
/// The failure, which names both values.
#[expect(clippy::needless_pass_by_value, reason = "assertions read better with values than with references")]
pub fn same<T: PartialEq + fmt::Debug>(what: &str, seen: T, expected: T) -> Verdict {
    if seen == expected {
        return Ok(());
    }
    Err(Failure::new(format!("{what} = {}", brief(&expected)), brief(&seen)))
}

/// Fails unless `result` is an error of `kind`; returns that error.
///
/// # Errors
/// The failure, with the success or the other error that was seen.
pub fn refused<T>(what: &str, result: Result<T, Error>, kind: ErrorKind) -> Verdict<Error> {
    match result {
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => {
            Err(Failure::new(format!("{what} to be refused as {kind}"), format!("{error} ({})", error.kind())))
        }
        Ok(_) => Err(Failure::new(format!("{what} to be refused as {kind}"), "success")),
    }
}

fn brief(value: &impl fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    if let Some((cut, _)) = text.char_indices().nth(400) {
        text.truncate(cut);
        text.push('…');
    }
    text
}
