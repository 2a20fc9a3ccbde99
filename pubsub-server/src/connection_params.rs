//! `connectionParams`: what a client that cannot set headers says of itself in the URL.

use pubsub_core::rpc::FailureCode;
use serde_json::Value;

use crate::{ApiError, procedure::ConnectionParams};

/// Reads the query parameter: an object of strings, or `null`, which is the same as none.
///
/// # Errors
/// `PARSE_ERROR` for anything else.
pub(crate) fn parse(text: &str) -> Result<Option<ConnectionParams>, ApiError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|_| ApiError::new(FailureCode::ParseError, "connectionParams is not JSON"))?;
    serde_json::from_value(value)
        .map_err(|_| ApiError::new(FailureCode::ParseError, "connectionParams is not an object of strings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_strings_or_null_is_read() {
        let params = parse(r#"{"token":"abc","tenant":""}"#).unwrap().unwrap();
        assert_eq!(
            params.into_iter().collect::<Vec<_>>(),
            [("tenant".to_owned(), String::new()), ("token".to_owned(), "abc".to_owned())]
        );
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
