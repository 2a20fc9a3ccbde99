//! Events for later: the server's own schedules.

use async_nats::{HeaderMap, Subject};
use pubsub_core::{Error, ErrorKind, Result, Timestamp};

use super::{connection::Shared, topology::Route};

/// Turns a message that is due later into a schedule of it, and says on which subject that goes.
///
/// # Errors
/// `Unsupported` for servers without schedules and for channels that nothing stores.
pub(super) fn schedule(
    shared: &Shared,
    route: &Route,
    target: &Subject,
    due: Timestamp,
    headers: &mut HeaderMap,
) -> Result<Subject> {
    if !route.is_durable() || !shared.is_at_least(2, 12) {
        let text = "scheduled events need a durable channel, and a server of version 2.12 or later";
        return Err(Error::new(ErrorKind::Unsupported, "publish", text).on(&route.channel));
    }
    headers.insert("Nats-Schedule", format!("@at {}", due.encode(&mut [0; 24])));
    headers.insert("Nats-Schedule-Target", target.as_str());
    // A schedule of its own subject: a second one on the same would replace it.
    let token = pubsub_core::EventId::random().to_string();
    Ok(shared.names.scheduled(&route.channel, &token).into())
}
