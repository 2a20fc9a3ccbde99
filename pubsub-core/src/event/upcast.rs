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

    /// Checks that the steps lead to `current` without a hole.
    pub(crate) fn check(&self, name: &str, current: u32) -> Result<()> {
        let expected: Vec<u32> = (self.oldest(current)..current).collect();
        let present: Vec<u32> = self.0.keys().copied().collect();
        if expected == present {
            return Ok(());
        }
        let missing: Vec<_> = expected.iter().filter(|version| !present.contains(version)).collect();
        let message = if missing.is_empty() {
            format!("event `{name}` has an upcaster from version {} but its version is {current}", self.0.len())
        } else {
            let steps: Vec<_> = missing.iter().map(|v| format!("{v} to {}", *v + 1)).collect();
            format!("event `{name}` lacks the upcaster from version {}", steps.join(", "))
        };
        Err(Error::new(ErrorKind::Invalid, "register event", message))
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
