//! Inboxes: a queue per inbox, which goes with its consumer.

use pubsub_core::{
    ChannelName, EventId, Result,
    driver::{Inbox, SlowConsumer, Subscription},
};

use super::{
    adapter::RabbitMq,
    broadcast::{Broadcast, Part},
    subscriber::NoControl,
};
use crate::common::feed::Feed;

/// Opens an inbox under a name that nobody else can guess.
pub(super) async fn open(adapter: &RabbitMq) -> Result<Inbox> {
    let address = ChannelName::inbox(&EventId::random().to_string())?;
    let (feed, source) = Feed::new(NoControl);
    let part = Part::Inbox { address: address.clone() };
    let how = (SlowConsumer::DropOldest, None);
    let broadcast = Broadcast::open(adapter.parts(), (feed, adapter.closing.clone()), how, part).await?;
    adapter.tasks.spawn(broadcast.run());
    Ok(Inbox { address, replies: Subscription::new(source) })
}
