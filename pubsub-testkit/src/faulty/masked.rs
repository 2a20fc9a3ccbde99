//! `Masked`: an adapter that declares less than it can do, and refuses accordingly.

use std::{any::Any, sync::Arc, time::Duration};

use pubsub_core::{
    ChannelName, GroupName, Result,
    driver::{
        Adapter, Batch, BoxFuture, Capabilities, Feature, Health, History, HistoryRange, Inbox, MaybeReady,
        PublishOptions, Publisher, States, SubscribeOptions, Subscriber, Subscription, Support, Tickets, Topology,
        TopologyReport, async_trait,
    },
};

/// An adapter without some of its features.
#[derive(Debug)]
pub struct Masked {
    inner: Arc<dyn Adapter>,
    hidden: &'static [Feature],
}

impl Masked {
    /// Hides features of an adapter.
    pub fn new(inner: Arc<dyn Adapter>, hidden: &'static [Feature]) -> Self {
        Self { inner, hidden }
    }
}

impl Publisher for Masked {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        self.inner.enqueue(batch, options)
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.flush()
    }
}

#[async_trait]
impl Subscriber for Masked {
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        self.inner.subscribe(options).await
    }
}

#[async_trait]
impl Adapter for Masked {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities().with(Support::Unsupported, self.hidden)
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.inner.ensure(topology).await
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        self.inner.delete_group(channel, group).await
    }

    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        self.inner.lag(channel, group).await
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.inner.history(range).await
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.capabilities().require("open inbox", [Feature::Inbox])?;
        self.inner.open_inbox().await
    }

    fn states(&self) -> States {
        self.inner.states()
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.inner.close(deadline).await
    }

    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.inner.native()
    }
}
