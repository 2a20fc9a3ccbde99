//! How much metadata an event may carry on a wire.

use serde_json::Value;

use super::{
    fault::pointer,
    fields::{Field, FieldValue},
};
use crate::{Error, ErrorKind, Fault, Meta, Result};

/// The most entries of [`MetaFields::extra`](crate::MetaFields::extra) on a wire.
pub const MAX_EXTRA_ENTRIES: usize = 128;
/// The most bytes of all entries of [`MetaFields::extra`](crate::MetaFields::extra) on a wire, roughly as JSON text.
pub const MAX_EXTRA_LEN: usize = 64 * 1024;
/// How deep a value of [`MetaFields::extra`](crate::MetaFields::extra) may be nested on a wire.
pub const MAX_EXTRA_DEPTH: usize = 64;
/// The longest text of a known metadata field on a wire, in bytes.
pub const MAX_FIELD_LEN: usize = 8 * 1024;

/// The longest JSON text of extra entries that is parsed at all: every byte of the limit may come as `\u00XX`.
pub(super) const MAX_EXTRA_TEXT: usize = 6 * MAX_EXTRA_LEN;

/// Holds metadata to the limits: where it is published, before it is written, and after it was read.
pub(crate) fn check(meta: &Meta, operation: &'static str) -> Result<()> {
    if meta.is_empty() {
        return Ok(());
    }
    for field in Field::ALL {
        if let Some(FieldValue::Text(text)) = field.get(meta)
            && text.len() > MAX_FIELD_LEN
        {
            return Err(too_large(operation, field.key(), format!("is longer than {MAX_FIELD_LEN} bytes")));
        }
    }
    if meta.extra.len() > MAX_EXTRA_ENTRIES {
        return Err(too_many(operation));
    }
    for (key, value) in &meta.extra {
        if !is_shallow(value, MAX_EXTRA_DEPTH) {
            return Err(too_large(operation, key, format!("is nested deeper than {MAX_EXTRA_DEPTH} levels")));
        }
    }
    if meta.extra_len() > MAX_EXTRA_LEN { Err(too_long(operation)) } else { Ok(()) }
}

pub(super) fn too_many(operation: &'static str) -> Error {
    too_large(operation, "", format!("holds more than {MAX_EXTRA_ENTRIES} entries"))
}

pub(super) fn too_long(operation: &'static str) -> Error {
    too_large(operation, "", format!("holds more than {MAX_EXTRA_LEN} bytes"))
}

fn too_large(operation: &'static str, key: &str, problem: String) -> Error {
    let path: &[&str] = if key.is_empty() { &["meta"] } else { &["meta", key] };
    let pointer = pointer(path);
    Error::new(ErrorKind::TooLarge, operation, "the event has too much metadata")
        .with_faults(vec![Fault { pointer, message: problem }])
}

/// Whether `value` has at most `levels` of arrays and objects. Looks no deeper than that.
fn is_shallow(value: &Value, levels: usize) -> bool {
    match (value, levels) {
        (Value::Array(_) | Value::Object(_), 0) => false,
        (Value::Array(items), _) => items.iter().all(|item| is_shallow(item, levels - 1)),
        (Value::Object(members), _) => members.values().all(|item| is_shallow(item, levels - 1)),
        _ => true,
    }
}
