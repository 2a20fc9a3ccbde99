//! The events of a tRPC subscription, as blocks of `text/event-stream`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::json;

use crate::ApiError;

/// Keeps the client from taking silence for a broken connection. It has an empty `data` line: without one nothing would be
/// dispatched.
pub(crate) const PING: &[u8] = b"event: ping\ndata: \n\n";

/// The first event, with how long the client should wait before it reconnects, and after how much silence it should.
pub(super) fn connected(retry: Duration, reconnect_after_inactivity: Option<Duration>) -> Bytes {
    let options = match reconnect_after_inactivity {
        Some(after) => json!({ "reconnectAfterInactivityMs": millis(after) }),
        None => json!({}),
    };
    format!("retry: {}\nevent: connected\ndata: {options}\n\n", millis(retry)).into()
}

/// An event with the position from which the next one follows. `id` must have neither line breaks nor NUL, as cursors have
/// none; `data` is compact JSON, which has no line break either.
pub(crate) fn event(id: &str, data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(id.len() + data.len() + 16);
    for part in [b"id: ", id.as_bytes(), b"\ndata: ", data, b"\n\n"] {
        frame.extend_from_slice(part);
    }
    frame.freeze()
}

/// Why the subscription ends. The client reconnects if the code is one of the server's own troubles (number -32603), else
/// it gives up.
pub(crate) fn error(error: &ApiError, path: &str) -> Bytes {
    format!("event: serialized-error\ndata: {}\n\n", error.to_object(Some(path))).into()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
