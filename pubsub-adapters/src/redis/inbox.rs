//! Private inboxes: a pub/sub channel that nobody else listens to.

use std::sync::Arc;

use pubsub_core::{
    ChannelName, EventId, Result,
    driver::{Inbox, SlowConsumer, Subscription},
};

use super::{broadcast::Listener, connection::Hub, follow::Unmoved};
use crate::common::feed::Feed;

/// Opens an inbox. What comes while the connection is down is lost, and a gap tells so.
///
/// # Errors
/// What the server says.
pub(super) async fn open(hub: &Arc<Hub>) -> Result<Inbox> {
    let address = ChannelName::inbox(&EventId::random().to_string())?;
    let (feed, source) = Feed::new(Unmoved);
    let patterns = [address.clone().into()];
    let listener = Listener::new(hub.clone(), feed, &patterns, SlowConsumer::DropOldest, None);
    let ears = listener.connect().await?;
    hub.open("open inbox")?;
    hub.work.spawn(listener.listen(Some(ears)));
    Ok(Inbox { address, replies: Subscription::new(source) })
}
