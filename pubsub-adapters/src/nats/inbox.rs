//! Private inboxes: a subject of their own, for replies.

use std::sync::Arc;

use pubsub_core::{ChannelName, EventId, Result, driver::Inbox};

use super::{broadcast, connection::Shared};

/// Opens an inbox that receives from the moment this returns.
///
/// # Errors
/// `Unavailable` without a connection.
pub(super) async fn open(shared: &Arc<Shared>) -> Result<Inbox> {
    let address = ChannelName::inbox(&EventId::random().to_string())?;
    let replies = broadcast::subscribe_inbox(shared, &address).await?;
    Ok(Inbox { address, replies })
}
