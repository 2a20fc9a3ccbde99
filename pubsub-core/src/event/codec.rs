//! Events to JSON and back, with the place of the first fault.

use std::cell::RefCell;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, ErrorKind, Fault, Payload, Result};

thread_local! {
    /// One growing buffer per thread: an event is encoded into it and copied out at its exact size, so the payload
    /// is one allocation of the right length.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A scratch buffer that grew beyond this is given back rather than kept for the thread's life.
const KEEP: usize = 64 * 1024;

/// Encodes a value as a JSON payload.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Payload> {
    let failed = |cause| Error::new(ErrorKind::Codec, "encode", "the event cannot be written as JSON").because(cause);
    let bytes = SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => {
            scratch.clear();
            let written = serde_json::to_writer(&mut *scratch, value).map(|()| Bytes::copy_from_slice(&scratch));
            if scratch.capacity() > KEEP {
                *scratch = Vec::new();
            }
            written
        }
        // A `Serialize` that itself publishes finds the buffer taken.
        Err(_) => serde_json::to_vec(value).map(Bytes::from),
    });
    Ok(Payload::json(bytes.map_err(failed)?))
}

/// Decodes JSON, and on failure says where.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|cause| explain::<T>(bytes, cause))
}

/// Reads a value that is JSON already, and on failure says where.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|cause| located(&serde_path_to_error::deserialize::<_, T>(value), cause))
}

#[cold]
fn explain<T: DeserializeOwned>(bytes: &[u8], cause: serde_json::Error) -> Error {
    // The fast path does not track where it is; the second reading does.
    let deserializer = &mut serde_json::Deserializer::from_slice(bytes);
    located(&serde_path_to_error::deserialize::<_, T>(deserializer), cause)
}

#[cold]
fn located<T>(
    second: &std::result::Result<T, serde_path_to_error::Error<serde_json::Error>>,
    cause: serde_json::Error,
) -> Error {
    let error = Error::new(ErrorKind::Codec, "decode", "the payload does not fit the event's type");
    let pointer = match second {
        Ok(_) => String::new(), // the fault lies behind the value
        Err(located) => pointer(located.path()),
    };
    let fault = Fault { pointer, message: without_place(cause.to_string()) };
    error.with_faults(vec![fault]).because(cause)
}

/// serde_json ends its messages with line and column, which the pointer says better.
fn without_place(mut message: String) -> String {
    if let Some(place) = message.rfind(" at line ") {
        message.truncate(place);
    }
    message
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Line {
        #[serde(rename = "a/b~c")]
        odd: u8,
    }

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Order {
        lines: Vec<Line>,
    }

    #[test]
    fn the_first_fault_is_located() {
        let error = decode::<Order>(br#"{"lines":[{"a/b~c":1},{"a/b~c":"x"}]}"#).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert_eq!(error.faults()[0].pointer, "/lines/1/a~1b~0c");
        assert_eq!(error.faults()[0].message, "invalid type: string \"x\", expected u8");
        assert!(decode::<Order>(b"{\"lines\":[]} trailing").is_err());
        assert!(decode::<Order>(b"\xff").is_err());
        assert!(decode::<Value>("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn encoding_gives_the_exact_bytes() {
        let order = Order { lines: vec![Line { odd: 1 }] };
        assert_eq!(encode(&order).unwrap(), Payload::json(r#"{"lines":[{"a/b~c":1}]}"#));
        assert!(encode(&std::collections::HashMap::from([((1, 2), 3)])).is_err());
    }
}
