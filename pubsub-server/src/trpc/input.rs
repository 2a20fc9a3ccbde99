//! The inputs of a request's calls, as JSON text that only the procedures read.

use std::fmt;

use pubsub_core::rpc::FailureCode;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ApiError;

/// What a call is given: JSON, nothing, or the reason why it cannot be read.
pub(super) type Input = Result<Option<Box<RawValue>>, ApiError>;

/// The input of a request with one call.
pub(super) fn single(text: &[u8]) -> Input {
    if text.is_empty() { Ok(None) } else { serde_json::from_slice(text).map(Some).map_err(|e| malformed(&e)) }
}

/// The inputs of a batch of this many calls. If they cannot be read, each call is told.
pub(super) fn batch(text: &[u8], calls: usize) -> Vec<Input> {
    if text.is_empty() {
        return vec![Ok(None); calls];
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let inputs = Calls(calls).deserialize(&mut json).and_then(|inputs| json.end().map(|()| inputs));
    match inputs {
        Ok(inputs) => inputs.into_iter().map(Ok).collect(),
        Err(error) if error.is_data() => {
            let message = "The input of a batch is an object keyed by the number of the call";
            vec![Err(ApiError::new(FailureCode::BadRequest, message)); calls]
        }
        Err(error) => vec![Err(malformed(&error)); calls],
    }
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    ApiError::new(FailureCode::BadRequest, format!("The input is not JSON: line {line}, column {column}"))
}

/// Reads the object of inputs and keeps those of the calls that there are: the others would cost memory for nothing.
struct Calls(usize);

impl<'de> DeserializeSeed<'de> for Calls {
    type Value = Vec<Option<Box<RawValue>>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Calls {
    type Value = Vec<Option<Box<RawValue>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut inputs = vec![None; self.0];
        while let Some(key) = map.next_key::<String>()? {
            match index(&key).and_then(|index| inputs.get_mut(index)) {
                Some(input) => *input = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(inputs)
    }
}

/// The number of a call, as it is written: `01` and `+1` are other keys.
fn index(key: &str) -> Option<usize> {
    let index: usize = key.parse().ok()?;
    (index.to_string() == key).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(inputs: Vec<Input>) -> Vec<Option<String>> {
        inputs.into_iter().map(|input| input.unwrap().map(|input| input.get().to_owned())).collect()
    }

    #[test]
    fn one_input_is_any_json_and_nothing_is_none() {
        assert!(single(b"").unwrap().is_none());
        assert_eq!(single(b" null").unwrap().unwrap().get(), "null");
        assert_eq!(single(b"{\"a\":1.50}").unwrap().unwrap().get(), "{\"a\":1.50}");
        for bad in [&b"{"[..], b" ", b"undefined", b"1 2", b"\"\xff\"", b"{\"a\":1}}"] {
            assert_eq!(single(bad).unwrap_err().code(), FailureCode::BadRequest);
        }
    }

    #[test]
    fn inputs_of_a_batch_go_by_number() {
        let inputs = batch(br#"{"0":{"a":1},"2":null,"3":5,"01":6,"+1":7,"x":{"0":8}}"#, 3);
        assert_eq!(texts(inputs), [Some("{\"a\":1}".into()), None, Some("null".into())]);
        assert_eq!(texts(batch(b"{}", 2)), [None, None]);
        assert_eq!(texts(batch(b"", 2)), [None, None]);
        assert_eq!(texts(batch(br#"{"0":1,"0":2}"#, 1)), [Some("2".into())]);
    }

    #[test]
    fn every_call_of_a_batch_is_told_that_the_inputs_cannot_be_read() {
        for bad in ["[]", "null", "7", "\"0\"", "{", "{\"0\":}", "{\"0\":1}}", "{\"0\":1"] {
            let inputs = batch(bad.as_bytes(), 2);
            assert_eq!(inputs.len(), 2, "{bad}");
            for input in inputs {
                assert_eq!(input.unwrap_err().code(), FailureCode::BadRequest, "{bad}");
            }
        }
        assert!(batch(b"[]", 1)[0].as_ref().unwrap_err().message().contains("keyed by the number"));
        assert!(batch(b"{", 1)[0].as_ref().unwrap_err().message().contains("not JSON"));
        // Nothing is counted on that depth of the stack.
        let deep = format!("{{\"0\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        assert!(batch(deep.as_bytes(), 1)[0].is_ok());
    }
}
