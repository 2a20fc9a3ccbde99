//! What a tRPC subscription says beside its events, as blocks of `text/event-stream`. An event is `id` and `data`, without a
//! name: the client ignores those that have one.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::ApiError;

/// Keeps the client from taking silence for a broken connection. It has an empty `data` line: without one nothing would be
/// dispatched.
pub(super) const PING: &[u8] = b"event: ping\ndata: \n\n";

/// The first event, with how long the client should wait before it reconnects, and after how much silence it should.
pub(super) fn connected(retry: Duration, reconnect_after_inactivity: Option<Duration>) -> Bytes {
    let options = match reconnect_after_inactivity {
        Some(after) => json!({ "reconnectAfterInactivityMs": millis(after) }),
        None => json!({}),
    };
    format!("retry: {}\nevent: connected\ndata: {options}\n\n", millis(retry)).into()
}

/// Why the subscription ends. The client reconnects if the code is one of the server's own troubles (number -32603), else
/// it gives up.
pub(super) fn error(error: &ApiError, path: &str) -> Bytes {
    format!("event: serialized-error\ndata: {}\n\n", error.to_object(Some(path))).into()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
