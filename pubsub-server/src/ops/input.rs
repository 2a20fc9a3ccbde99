//! Inputs of calls: read strictly by type, with the place of what is wrong.

use pubsub_core::{ChannelName, ContentType, EventId, EventName, Payload, rpc::FailureCode};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{ApiError, Issue, json::compact};

/// Reads an input; none is the same as `{}`.
///
/// # Errors
/// `BAD_REQUEST` with the place of the first fault.
pub(crate) fn read<T: DeserializeOwned>(input: Option<&RawValue>) -> Result<T, ApiError> {
    let text = input.map_or("{}", RawValue::get);
    serde_json::from_str(text).map_err(|cause| {
        // The fast path does not track where it is; the second reading does.
        let second = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_str(text));
        let pointer = second.err().map_or_else(String::new, |located| pointer(located.path()));
        let mut message = cause.to_string();
        if let Some(place) = message.rfind(" at line ") {
            message.truncate(place);
        }
        ApiError::bad_request("the input is not what the procedure takes").with_issues(vec![Issue { pointer, message }])
    })
}

/// A path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;

    let mut out = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => out.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                out.push('/');
                out.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => {}
        }
    }
    out
}

/// A member that may be missing but is not `null`, unless its type takes that.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// One or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// A fault at a member of the input.
pub(crate) fn fault(pointer: &str, message: impl Into<String>) -> ApiError {
    let message = message.into();
    let issue = Issue { pointer: pointer.to_owned(), message: message.clone() };
    ApiError::bad_request(message).with_issues(vec![issue])
}

/// The name of a channel.
///
/// # Errors
/// `BAD_REQUEST`.
pub(crate) fn channel(text: &str) -> Result<ChannelName, ApiError> {
    ChannelName::parse(text).map_err(|error| fault("/channel", error.message()))
}

/// The name of an event that clients may use: the category `pubsub` is the server's own.
///
/// # Errors
/// `BAD_REQUEST`.
pub(crate) fn event_name(text: &str) -> Result<EventName, ApiError> {
    let name = EventName::parse(text).map_err(|error| fault("/name", error.message()))?;
    if name.category() == "pubsub" {
        return Err(fault("/name", "the category `pubsub` is reserved for the server"));
    }
    Ok(name)
}

/// An id that a caller chose.
///
/// # Errors
/// `BAD_REQUEST`.
pub(crate) fn id(text: &str, pointer: &str) -> Result<EventId, ApiError> {
    EventId::parse(text).map_err(|_| fault(pointer, "an id has 1 to 128 visible ASCII characters"))
}

/// A payload on one line; none is `null`.
///
/// # Errors
/// `PAYLOAD_TOO_LARGE` over `limit` bytes.
pub(crate) fn payload(raw: Option<&RawValue>, limit: Option<usize>) -> Result<Payload, ApiError> {
    let text = compact(raw.map_or("null", RawValue::get));
    if let Some(limit) = limit.filter(|limit| text.len() > *limit) {
        let message = format!("the payload has {} bytes, the channel takes {limit}", text.len());
        return Err(ApiError::new(FailureCode::PayloadTooLarge, message));
    }
    Ok(Payload::Data { bytes: text.into_owned().into(), content_type: ContentType::JSON })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only read")]
    struct Input {
        channel: String,
        #[serde(default, deserialize_with = "given")]
        limit: Option<u32>,
        #[serde(default, deserialize_with = "given")]
        payload: Option<Box<RawValue>>,
        #[serde(default, deserialize_with = "given")]
        names: Option<OneOrMany>,
    }

    fn input(text: &str) -> Result<Input, ApiError> {
        read(Some(&RawValue::from_string(text.to_owned()).unwrap()))
    }

    #[test]
    fn what_is_there_has_its_type() {
        let good = input(r#"{"channel":"a","payload":null,"other":1,"names":"x:y"}"#).unwrap();
        assert_eq!(good.payload.unwrap().get(), "null");
        for (text, pointer) in [
            (r#"{"channel":7}"#, "/channel"),
            (r#"{"channel":"a","limit":null}"#, "/limit"),
            (r#"{"channel":"a","limit":"7"}"#, "/limit"),
            (r#"{"channel":"a","limit":-1}"#, "/limit"),
            (r#"{"channel":"a","names":7}"#, "/names"),
            ("[]", ""),
            ("null", ""),
            ("{}", ""),
        ] {
            let error = input(text).unwrap_err();
            assert_eq!(error.code(), FailureCode::BadRequest, "{text}");
            assert_eq!(error.issues()[0].pointer, pointer, "{text}: {}", error.issues()[0].message);
        }
    }

    #[test]
    fn names_of_the_server_are_not_for_clients() {
        assert!(event_name("orders:created").is_ok());
        for bad in ["pubsub:gap", "pubsub:x", "orders", "a:b c", "a:b\n", "", &format!("a:{}", "b".repeat(127))] {
            assert_eq!(event_name(bad).unwrap_err().code(), FailureCode::BadRequest, "{bad:?}");
        }
    }
}
