//! `connectionParams`: what a client that cannot set headers says of itself in the URL.

use pubsub_core::rpc::FailureCode;
use serde_json::Value;

use crate::{ApiError, procedure::ConnectionParams};

/// Reads the query parameter: an object of strings, or `null`, which is the same as none.
///
/// # Errors
/// `PARSE_ERROR` for anything else.
pub(crate) fn parse(text: &str) -> Result<Option<ConnectionParams>, ApiError> {
    let refused = |problem| ApiError::new(FailureCode::ParseError, problem);
    match serde_json::from_str(text).map_err(|_| refused("connectionParams is not JSON"))? {
        Value::Null => Ok(None),
        Value::Object(params) if params.values().all(Value::is_string) => Ok(Some(params)),
        _ => Err(refused("connectionParams is not an object of strings")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_strings_or_null_is_read() {
        let params = parse(r#"{"token":"abc","tenant":""}"#).unwrap().unwrap();
        assert_eq!(params, *serde_json::json!({ "token": "abc", "tenant": "" }).as_object().unwrap());
        assert_eq!(parse("null").unwrap(), None);
        assert_eq!(parse("{}").unwrap().unwrap().len(), 0);
    }

    #[test]
    fn anything_else_is_a_parse_error() {
        for bad in ["", "{", "[]", "\"token\"", "7", r#"{"token":7}"#, r#"{"token":null}"#, r#"{"token":{}}"#] {
            assert_eq!(parse(bad).unwrap_err().code(), FailureCode::ParseError, "{bad}");
        }
    }
}
