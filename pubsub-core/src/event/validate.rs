//! All faults of a payload by JSON Schema (feature `validate`).

use jsonschema::Validator;
use serde_json::Value;

use super::codec;
use crate::{Error, ErrorKind, Fault, Result};

/// More faults than this are not listed: a hostile payload must not become a long error.
const MAX_FAULTS: usize = 64;

/// Prepares a schema; the text says what is wrong with it.
pub(crate) fn compile(schema: &Value) -> std::result::Result<Validator, String> {
    jsonschema::validator_for(schema).map_err(|error| error.to_string())
}

/// Holds `bytes` against the schema.
pub(crate) fn find_faults(validator: &std::result::Result<Validator, String>, bytes: &[u8]) -> Result<()> {
    find_faults_in(validator, &codec::decode::<Value>(bytes)?)
}

/// Holds a value against the schema.
pub(crate) fn find_faults_in(validator: &std::result::Result<Validator, String>, value: &Value) -> Result<()> {
    let validator = validator.as_ref().map_err(|why| {
        Error::new(ErrorKind::Invalid, "validate", format!("the event's JSON Schema cannot be used: {why}"))
    })?;
    let faults: Vec<Fault> = validator
        .iter_errors(value)
        .take(MAX_FAULTS)
        .map(|error| Fault { pointer: error.instance_path().as_str().to_owned(), message: error.masked().to_string() })
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Codec, "validate", "the payload does not fit the event's schema").with_faults(faults))
}

/// What the type and what its schema say. Serde stops at the first fault, with a cause; the schema finds them all, and what
/// the type does not say.
pub(crate) fn both<E>(event: Result<E>, valid: Result<()>) -> Result<E> {
    match (event, valid) {
        (event, Ok(())) => event,
        (Ok(_), Err(found)) => Err(found),
        (Err(error), Err(found)) if found.faults().is_empty() => Err(error),
        (Err(error), Err(found)) => Err(error.with_faults(found.faults().to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use crate::{EventDefinition, Payload};

    #[test]
    fn every_fault_has_its_pointer() {
        let schema = serde_json::json!({
            "type": "object",
            "required": ["id"],
            "properties": {"total": {"type": "number"}, "lines": {"type": "array", "items": {"type": "integer"}}}
        });
        let definition = EventDefinition::dynamic("orders:created", "orders", 1, schema).unwrap();
        let error = definition.validate(&Payload::json(r#"{"total":"x","lines":[1,"y"]}"#)).unwrap_err();
        let mut pointers: Vec<_> = error.faults().iter().map(|fault| fault.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["", "/lines/1", "/total"]);
        assert!(definition.validate(&Payload::json(r#"{"id":1}"#)).is_ok());
    }
}
