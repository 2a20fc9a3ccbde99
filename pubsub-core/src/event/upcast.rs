//! Upcasters: how an older payload becomes the present one.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// Turns the payload of one version into that of the next; an `Err` explains why it cannot.
pub type Upcaster = Arc<dyn Fn(Value) -> std::result::Result<Value, String> + Send + Sync>;

/// The upcasters of one event, keyed by the version that they read.
#[derive(Clone, Default)]
pub(crate) struct Upcasters(BTreeMap<u32, Upcaster>);

impl Upcasters {
    /// Adds the step from `version` to the next.
    pub(crate) fn insert(&mut self, version: u32, step: Upcaster) {
        self.0.insert(version, step);
    }

    /// The oldest version that can be read, given the present one.
    pub(crate) fn oldest(&self, current: u32) -> u32 {
        self.0.keys().next().copied().unwrap_or(current)
    }

    /// Checks that the steps lead to `current` without a hole; the first fault is told.
    pub(crate) fn check(&self, name: &str, current: u32) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, "register event", message));
        let lacks = |step: u32| {
            let next = u64::from(step) + 1;
            invalid(format!("event `{name}` lacks the upcaster from version {step} to {next}"))
        };
        let mut steps = self.0.keys().copied();
        let (Some(oldest), Some(newest)) = (steps.next(), self.0.keys().next_back().copied()) else { return Ok(()) };
        if oldest == 0 {
            return invalid(format!("event `{name}` has an upcaster from version 0, but versions begin at 1"));
        }
        if newest >= current {
            let message = format!("event `{name}` has an upcaster from version {newest}, but its version is {current}");
            return invalid(message);
        }
        let mut expected = oldest;
        for step in steps {
            expected += 1;
            if step != expected {
                return lacks(expected);
            }
        }
        if expected + 1 == current { Ok(()) } else { lacks(expected + 1) }
    }

    /// Runs the steps from `version` up to `current`.
    pub(crate) fn run(&self, mut value: Value, version: u32, current: u32) -> Result<Value> {
        for step in version..current {
            let upcaster = self.0.get(&step).ok_or_else(|| unknown_version(version, self.oldest(current), current))?;
            value = upcaster(value).map_err(|why| {
                let message = format!("the upcaster from version {step} to {} failed: {why}", step + 1);
                Error::new(ErrorKind::Codec, "decode", message)
            })?;
        }
        Ok(value)
    }
}

/// The error for a version that nobody taught this process to read.
pub(crate) fn unknown_version(found: u32, oldest: u32, current: u32) -> Error {
    let known = if oldest == current { format!("{current}") } else { format!("{oldest} to {current}") };
    Error::new(ErrorKind::Codec, "decode", format!("version {found} of the event is unknown here; known: {known}"))
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[u32], current: u32) -> std::result::Result<(), String> {
        let mut upcasters = Upcasters::default();
        steps.iter().for_each(|step| upcasters.insert(*step, Arc::new(Ok)));
        upcasters.check("a:b", current).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn the_first_hole_is_told_however_far_the_versions_lie_apart() {
        for (steps, current) in [(&[][..], 7), (&[1], 2), (&[3, 4, 5], 6)] {
            assert_eq!(check(steps, current), Ok(()), "{steps:?}");
        }
        for (steps, current, text) in [
            (&[1][..], u32::MAX, "lacks the upcaster from version 2 to 3"),
            (&[1, u32::MAX - 1], u32::MAX, "lacks the upcaster from version 2 to 3"),
            (&[1, 2, 4], 5, "lacks the upcaster from version 3 to 4"),
            (&[1, 2], 2, "has an upcaster from version 2, but its version is 2"),
            (&[7], 3, "has an upcaster from version 7, but its version is 3"),
            (&[u32::MAX], u32::MAX, "has an upcaster from version 4294967295, but its version is 4294967295"),
            (&[0, 1], 2, "has an upcaster from version 0, but versions begin at 1"),
        ] {
            let message = check(steps, current).unwrap_err();
            assert!(message.contains(text), "{steps:?}: {message}");
        }
    }
}
