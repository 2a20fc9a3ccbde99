//! Bytes that are no event: a group's dead letters keep them, a broadcast tells of them, and the flow goes on.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pubsub::{
    BrokerUrl, ChannelName, Error, ErrorKind, GroupName, HistoryRange, Payload, PubSub, Result, StartPosition,
    driver::{
        Adapter, Batch, BoxFuture, Capabilities, Chunk, Health, History, Inbox, Item, MaybeReady, PublishOptions,
        Publisher, Source, States, SubscribeOptions, Subscriber, Subscription, Tickets, Topology, TopologyReport,
        async_trait,
    },
};

const GARBAGE: &[u8] = b"\xff\x00garbage";

/// The memory adapter, which cannot read what is garbage.
struct Picky(Arc<dyn Adapter>);

struct PickySource(Box<dyn Source>);

impl Source for PickySource {
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        let mut inner = Chunk::default();
        let outcome = self.0.poll_chunk(cx, &mut inner);
        while let Some(item) = inner.pop() {
            chunk.push_item(match item {
                Item::Delivery(delivery) if delivery.message.payload().data().is_some_and(|data| data == GARBAGE) => {
                    Item::Delivery(delivery.unreadable(Error::new(ErrorKind::Codec, "decode event", "not an event")))
                }
                item => item,
            });
        }
        outcome
    }

    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        self.0.seek(to)
    }
}

impl Publisher for Picky {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        self.0.enqueue(batch, options)
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.0.flush()
    }
}

#[async_trait]
impl Subscriber for Picky {
    async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        Ok(self.0.subscribe(options).await?.map_source(PickySource))
    }
}

#[async_trait]
impl Adapter for Picky {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.0.ensure(topology).await
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        self.0.delete_group(channel, group).await
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.0.history(range).await
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.0.open_inbox().await
    }

    fn states(&self) -> States {
        self.0.states()
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.0.close(deadline).await
    }
}

impl fmt::Debug for Picky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Picky")
    }
}

#[pubsub::event("orders:created")]
#[derive(Debug)]
struct OrderCreated {
    order_id: String,
}

async fn bus() -> PubSub {
    PubSub::builder(Arc::new(Picky(pubsub::adapter(&BrokerUrl::parse("memory:").unwrap()).await.unwrap()))).build()
}

async fn publish_garbage(bus: &PubSub) {
    let name = pubsub::EventName::parse("pubsub:unreadable").unwrap();
    let channel = ChannelName::parse("orders").unwrap();
    let garbage = pubsub::Envelope::new(name, channel, Payload::bytes(GARBAGE.to_vec()));
    bus.publish_envelope(garbage).await.unwrap();
    bus.publish(&OrderCreated { order_id: "A-1".into() }).await.unwrap();
}

#[tokio::test]
async fn a_group_keeps_the_bytes_whatever_names_it_takes() {
    let bus = bus().await;
    let mut orders = bus.subscribe::<OrderCreated>().group("billing").await.unwrap();
    publish_garbage(&bus).await;
    let order = orders.next().await.unwrap().unwrap();
    assert_eq!(order.order_id, "A-1");
    order.ack();
    let group = GroupName::parse("billing").unwrap();
    let range = HistoryRange::new(ChannelName::parse("orders").unwrap().dead_letter(&group));
    let letter = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match bus.history(&range).await {
                Ok(history) if !history.events.is_empty() => break history.events[0].message.clone(),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    let letter = letter.await.expect("a dead letter is written");
    assert_eq!(letter.payload().data().unwrap(), GARBAGE);
    assert!(letter.meta().dead_reason.as_deref().unwrap().contains("not an event"));
    assert_eq!(orders.stats().undecodable, 1);
}

#[tokio::test]
async fn a_broadcast_tells_of_it_and_goes_on() {
    let bus = bus().await;
    let mut orders = bus.subscribe::<OrderCreated>().await.unwrap();
    publish_garbage(&bus).await;
    let error = orders.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Codec, "not an event"));
    assert_eq!(orders.next().await.unwrap().unwrap().order_id, "A-1");
}
