//! An adapter over memory that notes what it is given, and fails as it is told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{
    ChannelName, Error, ErrorKind, GroupName, Message, PubSub, PubSubBuilder, Result,
    driver::{
        Adapter, Batch, BoxFuture, Capabilities, Feature, Health, History, HistoryRange, Inbox, MaybeReady,
        PublishOptions, Publisher, States, SubscribeOptions, Subscriber, Subscription, Support, Tickets, Topology,
        TopologyReport, async_trait,
    },
};

/// What becomes of a message instead of being published.
type Rule = Box<dyn FnMut(&Message) -> Option<ErrorKind> + Send>;

#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    memory: Arc<Memory>,
    rule: Mutex<Rule>,
    /// What was published, in order.
    seen: Mutex<Vec<Arc<Message>>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    pub(crate) fn new(rule: impl FnMut(&Message) -> Option<ErrorKind> + Send + 'static) -> Self {
        let memory = Memory::open(MemoryOptions::new()).unwrap();
        Self(Arc::new(Inner { memory, rule: Mutex::new(Box::new(rule)), seen: Mutex::default() }))
    }

    pub(crate) fn open() -> Self {
        Self::new(|_| None)
    }

    pub(crate) fn set(&self, rule: impl FnMut(&Message) -> Option<ErrorKind> + Send + 'static) {
        *self.0.rule.lock().unwrap() = Box::new(rule);
    }

    pub(crate) fn bus(&self) -> PubSub {
        self.builder().build()
    }

    pub(crate) fn builder(&self) -> PubSubBuilder {
        PubSubBuilder::new(Arc::new(self.clone()))
    }

    pub(crate) fn seen(&self) -> Vec<Arc<Message>> {
        self.0.seen.lock().unwrap().clone()
    }

    /// The numbers of what was published on a channel, in order.
    pub(crate) fn numbers(&self, channel: &str) -> Vec<u32> {
        let seen = self.seen();
        let on = seen.iter().filter(|message| message.channel().as_str() == channel);
        on.map(|message| super::number_of(message.payload())).collect()
    }
}

impl Publisher for Gate {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        let refused = batch.iter().find_map(|message| (self.0.rule.lock().unwrap())(message));
        match refused {
            Some(kind) => MaybeReady::ready(Err(Error::new(kind, "publish", "as the test wants it"))),
            None => {
                self.0.seen.lock().unwrap().extend(batch.iter().cloned());
                self.0.memory.enqueue(batch, options)
            }
        }
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.0.memory.flush()
    }
}

#[async_trait]
impl Subscriber for Gate {
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        self.0.memory.subscribe(options).await
    }
}

#[async_trait]
impl Adapter for Gate {
    fn capabilities(&self) -> Capabilities {
        // As a broker: what it has accepted is safe, and it knows no ids.
        self.0.memory.capabilities().with(Support::Unsupported, &[Feature::SettledConfirm, Feature::PublishDedup])
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.0.memory.ensure(topology).await
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        self.0.memory.delete_group(channel, group).await
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.0.memory.history(range).await
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.0.memory.open_inbox().await
    }

    fn states(&self) -> States {
        self.0.memory.states()
    }

    async fn health(&self) -> Health {
        self.0.memory.health().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.0.memory.close(deadline).await
    }
}
