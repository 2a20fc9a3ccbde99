//! One channel of the protocol from which a member of a group takes events, and what it owes the broker on it.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use futures_util::{FutureExt, Stream, StreamExt, future::join_all, stream};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::FieldTable,
};
use pubsub_core::Result;

use super::{
    connection::Live,
    error::{convert, unavailable},
    group::LOCK_KEPT,
    names::short,
    topology::{number, within},
};

const OPERATION: &str = "receive";

/// What a consumer has to tell.
pub(super) struct Arrival {
    pub(super) lane: u64,
    pub(super) queue: usize,
    /// Whether it is about the backlog of the queue.
    pub(super) backlog: bool,
    /// A delivery; none once the consumer has ended, as when its queue was deleted.
    pub(super) delivery: Option<Delivery>,
}

pub(super) type Arrivals = Pin<Box<dyn Stream<Item = Arrival> + Send>>;

type Call = Pin<Box<dyn Future<Output = lapin::Result<()>> + Send>>;

/// Ends once the broker has read what it was told.
pub(super) type Word = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// An open channel with its consumers.
pub(super) struct Lane {
    pub(super) number: u64,
    pub(super) live: Arc<Live>,
    pub(super) channel: Channel,
    pub(super) prefetch: u16,
    /// The tags of consumers.
    tags: Vec<String>,
    /// What is read here is called.
    names: Vec<String>,
    /// The queues that are read here.
    pub(super) queues: Vec<usize>,
    /// The first tag that was not looked at, for several consumers are not read in the order of their tags.
    unseen: u64,
    /// Tags behind it that were.
    seen: BTreeSet<u64>,
    /// Tags of deliveries that are neither settled nor returned.
    open: BTreeSet<u64>,
    /// Settled, and the broker does not know yet.
    done: Vec<u64>,
    /// Whether the broker was told of something.
    told: bool,
    /// The end of a backlog, once it came.
    pub(super) end: Option<(usize, u64)>,
    /// What makes this member count.
    presence: Option<Consumer>,
}

impl Lane {
    pub(super) async fn open(live: Arc<Live>, number: u64, prefetch: u16, queues: Vec<usize>) -> Result<Self> {
        let channel = live.channel(OPERATION).await?;
        let tags = Vec::new();
        let (open, seen, done) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let (unseen, told, end) = (1, false, None);
        Ok(Self {
            number,
            live,
            channel,
            prefetch,
            tags,
            names: Vec::new(),
            queues,
            unseen,
            seen,
            open,
            done,
            told,
            end,
            presence: None,
        })
    }

    /// Counts this member among those of its group as long as the channel is open: of a queue with a single active
    /// consumer the broker does not tell how many others wait. Nothing is ever in the queue, which outlives its consumers
    /// for a while: nobody comes to one that is just going.
    pub(super) async fn attend(&mut self, members: &str) -> Result<()> {
        let failed = |error| convert(OPERATION, error);
        let mut arguments = FieldTable::default();
        number(&mut arguments, "x-expires", LOCK_KEPT);
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.rpc(self.channel.queue_declare(short(members), options, arguments)).await?.map_err(failed)?;
        let options = BasicConsumeOptions::default();
        let tag = format!("{}-member", self.number);
        let consume = self.channel.basic_consume(short(members), short(&tag), options, FieldTable::default());
        self.presence = Some(self.rpc(consume).await?.map_err(failed)?);
        Ok(())
    }

    /// Begins to take from a queue.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    pub(super) async fn consume(&mut self, queue: &str, index: usize, backlog: bool) -> Result<Arrivals> {
        let failed = |error| convert(OPERATION, error);
        let qos = self.channel.basic_qos(self.prefetch, BasicQosOptions::default());
        self.rpc(qos).await?.map_err(failed)?;
        let tag = format!("{}-{index}-{backlog}", self.number);
        let options = BasicConsumeOptions::default();
        let consume = self.channel.basic_consume(short(queue), short(&tag), options, FieldTable::default());
        let consumer = self.rpc(consume).await?.map_err(failed)?;
        self.tags.push(tag);
        self.names.push(queue.to_owned());
        let lane = self.number;
        let arrivals = consumer.map(|delivery| delivery.ok()).take_while(|delivery| {
            let goes_on = delivery.is_some();
            async move { goes_on }
        });
        let end = stream::once(async { None });
        Ok(Box::pin(arrivals.chain(end).map(move |delivery| Arrival { lane, queue: index, backlog, delivery })))
    }

    /// Asks the broker, unless the connection goes first.
    async fn rpc<T>(&self, call: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            answer = within(OPERATION, call) => answer,
            () = self.live.dead.cancelled() => Err(unavailable(OPERATION, "the connection was lost")),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        !self.live.dead.is_cancelled() && self.channel.status().connected()
    }

    /// Remembers a delivery that is not settled.
    pub(super) fn took(&mut self, tag: u64) {
        self.open.insert(tag);
        self.seen.insert(tag);
        while self.seen.remove(&self.unseen) {
            self.unseen += 1;
        }
    }

    /// Remembers that a delivery is settled.
    pub(super) fn settled(&mut self, tag: u64) {
        if self.open.remove(&tag) {
            self.done.push(tag);
        }
    }

    /// Whether nothing but the end of a backlog is unsettled.
    pub(super) fn only_end_is_open(&self) -> bool {
        self.end.is_some_and(|(_, tag)| self.open.len() == 1 && self.open.contains(&tag)) && self.done.is_empty()
    }

    /// Whether nothing is unsettled here.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.done.is_empty()
    }

    /// Tells the broker of what is settled. The word is on its way when this returns; what it returns ends once the broker
    /// has read it. None if there is nothing to tell.
    pub(super) fn tell(&mut self) -> Option<Word> {
        let mut done = std::mem::take(&mut self.done);
        if done.is_empty() {
            return None;
        }
        self.told = true;
        done.sort_unstable();
        // One word settles all up to the first delivery that is still out; each behind it has a word of its own.
        let open = self.open.first().copied().unwrap_or(u64::MAX).min(self.unseen);
        let behind = done.partition_point(|tag| *tag < open);
        let last = behind.checked_sub(1).and_then(|index| done.get(index)).map(|tag| (*tag, true));
        let each = done.iter().skip(behind).map(|tag| (*tag, false));
        let mut words: Vec<Call> = Vec::new();
        for (tag, multiple) in last.into_iter().chain(each) {
            let channel = self.channel.clone();
            begin(&mut words, async move { channel.basic_ack(tag, BasicAckOptions { multiple }).await });
        }
        // The broker answers this once it has read all that was said before on the channel.
        let (channel, prefetch) = (self.channel.clone(), self.prefetch);
        begin(&mut words, async move { channel.basic_qos(prefetch, BasicQosOptions::default()).await });
        let live = self.live.clone();
        Some(Box::pin(async move {
            let told: lapin::Result<Vec<()>> = tokio::select! {
                told = within(OPERATION, join_all(words)) => told?.into_iter().collect(),
                () = live.dead.cancelled() => return Err(unavailable(OPERATION, "the connection was lost")),
            };
            told.map(drop).map_err(|error| convert(OPERATION, error))
        }))
    }

    /// Gives deliveries back to the queue, in their order.
    pub(super) async fn give_back(&mut self, mut tags: Vec<u64>) -> Result<()> {
        if tags.is_empty() {
            return Ok(());
        }
        // What goes back to a backlog comes again before its end does.
        tags.extend(self.end.take().map(|(_, tag)| tag));
        tags.retain(|tag| self.open.remove(tag));
        tags.sort_unstable();
        let words = tags
            .into_iter()
            .map(|tag| self.channel.basic_nack(tag, BasicNackOptions { requeue: true, multiple: false }));
        let told: lapin::Result<Vec<()>> = self.rpc(join_all(words)).await?.into_iter().collect();
        told.map(drop).map_err(|error| convert(OPERATION, error))
    }

    /// Takes no more.
    pub(super) async fn cancel(&mut self) -> Result<()> {
        for tag in std::mem::take(&mut self.tags) {
            let cancel = self.channel.basic_cancel(short(&tag), BasicCancelOptions::default());
            self.rpc(cancel).await?.map_err(|error| convert(OPERATION, error))?;
        }
        Ok(())
    }

    /// Deletes a backlog that is read to its end. Its end goes with it and is never acknowledged: without it nobody would
    /// know that a backlog which is still there has been read.
    pub(super) async fn delete(&mut self, backlog: &str) -> Result<()> {
        let delete = self.channel.queue_delete(short(backlog), QueueDeleteOptions::default());
        self.rpc(delete).await?.map_err(|error| convert(OPERATION, error))?;
        self.names.retain(|name| name != backlog);
        if let Some((_, tag)) = self.end.take() {
            self.open.remove(&tag);
        }
        Ok(())
    }

    /// Closes the channel: what is unsettled goes back, in its order, before anybody else takes from the queue.
    pub(super) async fn close(mut self, ordered: bool) {
        if self.told && self.is_up() {
            // An error shows that the channel is gone.
            let _ = self.let_acknowledge(ordered).await;
        }
        let _ = self.rpc(self.channel.close(200, short("closed"))).await;
    }

    /// The broker puts acknowledgements off while many are being written, and forgets those with the channel. They are
    /// written in the order of what else a queue is asked for: so each is asked, and then the channel again.
    async fn let_acknowledge(&mut self, ordered: bool) -> Result<()> {
        let failed = |error| convert(OPERATION, error);
        if ordered {
            // A further consumer of a queue with a single active one stands behind it.
            for (index, name) in self.names.clone().iter().enumerate() {
                let tag = format!("{}-{index}-last", self.number);
                let options = BasicConsumeOptions::default();
                let last = self.channel.basic_consume(short(name), short(&tag), options, FieldTable::default());
                let consumer = self.rpc(last).await?.map_err(failed)?;
                let cancel = self.channel.basic_cancel(short(&tag), BasicCancelOptions::default());
                self.rpc(cancel).await?.map_err(failed)?;
                drop(consumer);
            }
        } else {
            self.cancel().await?;
            for name in &self.names {
                let look = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
                let looked = self.channel.queue_declare(short(name), look, FieldTable::default());
                self.rpc(looked).await?.map_err(failed)?;
            }
        }
        let qos = self.channel.basic_qos(self.prefetch, BasicQosOptions::default());
        self.rpc(qos).await?.map_err(failed)
    }
}

/// Begins a call, so that it is on its way.
fn begin(calls: &mut Vec<Call>, call: impl Future<Output = lapin::Result<()>> + Send + 'static) {
    let mut call: Call = Box::pin(call);
    match futures_util::future::poll_immediate(&mut call).now_or_never().flatten() {
        Some(answer) => calls.push(Box::pin(std::future::ready(answer))),
        None => calls.push(call),
    }
}
