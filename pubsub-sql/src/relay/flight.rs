//! One row on its way.

use std::time::Duration;

use pubsub_core::{
    Error, ErrorKind, EventId, PubSub, Result,
    driver::{BoxFuture, Confirm},
    store::{OutboxRow, RowId},
    wire::document,
};

/// A row whose publishing has ended.
pub(super) struct Landed {
    pub(super) id: RowId,
    pub(super) event: EventId,
    pub(super) lane: Option<String>,
    pub(super) failures: u32,
    pub(super) result: Result<()>,
}

/// How rows are published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) confirm: Confirm,
    pub(super) timeout: Duration,
}

/// Publishes a row, once this is polled.
pub(super) fn launch(bus: &PubSub, row: OutboxRow, course: Course) -> Result<BoxFuture<'static, Landed>> {
    let OutboxRow { id, envelope, ttl, lane, failures, .. } = row;
    let envelope = document::decode(&envelope)?;
    let event = envelope.id.clone();
    let bus = bus.clone();
    Ok(Box::pin(async move {
        let mut publish = bus.publish_envelope(envelope).confirm(course.confirm).timeout(course.timeout);
        if let Some(ttl) = ttl {
            publish = publish.ttl(ttl);
        }
        let result = publish.await.map(drop);
        Landed { id, event, lane, failures, result }
    }))
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The event's: it will be refused again.
    Row,
    /// That of something which may change while others flow: a full channel, a group that is missing.
    Circumstances,
    /// The broker's: others would fail, too.
    Broker,
    /// The bus is closed: nothing can be sent any more.
    Bus,
}

pub(super) fn blame(error: &Error) -> Blame {
    match error.kind() {
        ErrorKind::Invalid
        | ErrorKind::TooLarge
        | ErrorKind::Rejected
        | ErrorKind::Unsupported
        | ErrorKind::Codec
        | ErrorKind::DeadlineExceeded => Blame::Row,
        ErrorKind::Unavailable | ErrorKind::Auth => Blame::Broker,
        ErrorKind::Closed => Blame::Bus,
        _ => Blame::Circumstances,
    }
}
