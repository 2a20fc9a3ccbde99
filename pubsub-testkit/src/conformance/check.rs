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
    let (expected, seen) = (format!("{expected:?}"), format!("{seen:?}"));
    let equal = expected.chars().zip(seen.chars()).take_while(|(left, right)| left == right).count();
    Err(Failure::new(format!("{what} = {}", window(&expected, equal)), window(&seen, equal)))
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

/// A long text around the place where it differs.
fn window(text: &str, place: usize) -> String {
    const BEFORE: usize = 60;
    const SHOWN: usize = 300;
    let length = text.chars().count();
    let start = if length <= SHOWN { 0 } else { place.saturating_sub(BEFORE) };
    let shown: String = text.chars().skip(start).take(SHOWN).collect();
    let (head, tail) = (if start > 0 { "…" } else { "" }, if start + SHOWN < length { "…" } else { "" });
    format!("{head}{shown}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_far_into_a_long_value_is_shown() {
        let left = format!("{}left", "x".repeat(1_000));
        let right = format!("{}right", "x".repeat(1_000));
        let failure = same("the text", left, right).map_err(|failure| failure.to_string());
        assert!(failure.is_err_and(|text| text.contains("xleft") && text.contains("xright") && text.len() < 300));
    }
}
