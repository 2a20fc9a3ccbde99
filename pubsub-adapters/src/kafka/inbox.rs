//! Inboxes: a channel of one's own with one partition, which is deleted with its subscription.

use std::sync::{Arc, Weak};

use pubsub_core::{
    ChannelName, ChannelPolicy, EventId, Result, StartPosition,
    driver::{BoxFuture, Inbox, SubscribeOptions},
};
use tokio::runtime::Handle;

use super::{connection::Link, subscriber::Seeks};
use crate::common::feed::{Control, Feed};

/// Deletes the inbox when its subscription goes.
struct Owner {
    seeks: Seeks,
    link: Weak<Link>,
    topic: Arc<str>,
    address: ChannelName,
}

impl Control for Owner {
    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        self.seeks.seek(to)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let (Some(link), Ok(runtime)) = (self.link.upgrade(), Handle::try_current()) else { return };
        let topic = self.topic.clone();
        link.topics.forget(&self.address);
        // One that is left behind holds nothing for longer than its brief retention.
        let tasks = link.tasks.clone();
        tasks.spawn_on(async move { drop(link.delete(&topic).await) }, &runtime);
    }
}

impl Link {
    pub(super) async fn open_inbox(self: &Arc<Self>) -> Result<Inbox> {
        let address = ChannelName::inbox(&EventId::random().to_string())?;
        let name = self.names.topic(&address)?;
        let topic = self.create(&address, &name, &ChannelPolicy::new().ephemeral()).await?;
        let seeks = Seeks::default();
        let receiver = seeks.add();
        let owner = Owner { seeks, link: Arc::downgrade(self), topic: topic.name, address: address.clone() };
        let (feed, source) = Feed::new(owner);
        let options = SubscribeOptions::new(vec![address.clone().into()]);
        let reader = self.reader(feed, options, receiver, std::slice::from_ref(&address), &StartPosition::Earliest);
        self.tasks.spawn(reader.await?);
        Ok(Inbox { address, replies: Self::subscription(source) })
    }
}
