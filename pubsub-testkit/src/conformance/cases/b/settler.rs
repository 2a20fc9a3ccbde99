//! B5, B10: settling twice. Users cannot: settling consumes the delivery.
//!
//! ```compile_fail,E0382
//! fn twice(delivery: pubsub_core::Delivery) {
//!     delivery.ack();
//!     delivery.ack();
//! }
//! ```
//!
//! ```compile_fail,E0382
//! fn both(event: pubsub_core::Received<pubsub_core::Raw>) {
//!     event.ack();
//!     let _ = event.nack();
//! }
//! ```
//!
//! Once is what the types allow:
//!
//! ```
//! fn once(delivery: pubsub_core::Delivery, event: pubsub_core::Received<pubsub_core::Raw>) {
//!     delivery.ack();
//!     let _ = event.nack();
//! }
//! ```
//!
//! Below the types, a settler takes the first word on each token, and reports later ones as `Conflict`.

use std::{sync::Arc, time::Duration};

use pubsub_core::{
    ChannelName, Delivery, ErrorKind, GroupName,
    driver::{AckToken, Adapter, Feature, Item, Outcome, RetryPolicy, Settler, SubscribeOptions, Subscription},
};
use tokio::time::timeout;

use crate::{
    conformance::{Case, Ctx, Failure, Ledger, Numbered, Verdict, ensure, failed, publish_numbered, refused, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "B5",
        title: "acknowledging twice does no harm, and a nack after it changes nothing",
        needs: &[Feature::DurableGroup, Feature::Nack],
        bites: &[Fault::RedeliverAcked, Fault::IgnoreNack],
        run: |ctx| Box::pin(with_adapter(ctx, |ctx, opened| Box::pin(ack_twice(ctx, opened)))),
    },
    Case {
        id: "B10",
        title: "the first settlement counts; a later one is reported as a conflict",
        needs: &[Feature::DurableGroup, Feature::Nack],
        bites: &[Fault::RedeliverAcked, Fault::IgnoreNack],
        run: |ctx| Box::pin(with_adapter(ctx, |ctx, opened| Box::pin(first_word_counts(ctx, opened)))),
    },
];

/// A group subscription without the portable handle.
struct Opened {
    channel: ChannelName,
    subscription: Subscription,
}

/// A delivery taken apart, so that it can be settled more than once.
struct Taken {
    serial: usize,
    delivery: Delivery,
    settler: Arc<dyn Settler>,
    token: AckToken,
}

type Part = fn(Ctx, Opened) -> crate::conformance::CaseFuture;

async fn with_adapter(ctx: Ctx, part: Part) -> Verdict {
    let adapter: Arc<dyn Adapter> = ctx.adapter().await?;
    let channel = ctx.channel("b5")?;
    let mut options = SubscribeOptions::new(vec![channel.clone().into()]);
    options.group = Some(GroupName::parse("readers")?);
    options.retry = RetryPolicy::immediate();
    let subscription = adapter.subscribe(options).await?;
    let verdict = part(ctx.clone(), Opened { channel, subscription }).await;
    let closed = timeout(ctx.bounds().close * 2, adapter.close(ctx.bounds().close)).await;
    verdict.and(match closed {
        Ok(closed) => Ok(closed?),
        Err(_) => failed("the adapter to close", "still closing"),
    })
}

impl Opened {
    async fn take(&mut self, limit: Duration) -> Verdict<Option<Taken>> {
        loop {
            let delivery = match timeout(limit, self.subscription.next()).await {
                Err(_) => return Ok(None),
                Ok(Some(Ok(Item::Delivery(delivery)))) => delivery,
                Ok(Some(Ok(_))) => continue,
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return failed("a delivery", "the end of the subscription"),
            };
            let Some(settler) = delivery.ack.settler().cloned() else {
                return failed("a delivery of a group to have a settler", "none");
            };
            let (serial, token) = (delivery.message.serial()?, delivery.ack.token());
            return Ok(Some(Taken { serial, delivery, settler, token }));
        }
    }

    async fn take_all(&mut self, ctx: &Ctx, count: usize) -> Verdict<Vec<Taken>> {
        publish_numbered(&ctx.bus().await?, &self.channel, 0..count, &mut Ledger::new()).await?;
        let mut all = Vec::new();
        while all.len() < count {
            let one = self.take(ctx.bounds().receive).await?;
            all.push(one.ok_or_else(|| Failure::new(format!("{count} deliveries"), all.len()))?);
        }
        all.sort_by_key(|taken| taken.serial);
        Ok(all)
    }

    /// Which events come again, until nothing more does.
    async fn again(&mut self, ctx: &Ctx, count: usize) -> Verdict<Vec<usize>> {
        let mut serials = Vec::new();
        loop {
            let limit = if serials.len() < count { ctx.bounds().receive } else { ctx.bounds().quiet };
            match self.take(limit).await? {
                Some(taken) if serials.len() <= count => {
                    serials.push(taken.serial);
                    taken.settler.settle(taken.token, Outcome::Ack);
                    drop(taken.delivery);
                }
                _ => return Ok(serials),
            }
        }
    }
}

async fn ack_twice(ctx: Ctx, mut opened: Opened) -> Verdict {
    let taken = opened.take_all(&ctx, 3).await?;
    for one in taken.iter().take(2) {
        one.settler.settle(one.token, Outcome::Ack);
        one.settler.settle(one.token, Outcome::Ack);
        one.settler.flush().await?;
        ensure(!one.settler.is_live(one.token), "the lease of what is settled to be gone", "a live one")?;
    }
    for one in &taken {
        one.settler.settle(one.token, Outcome::Nack(Duration::ZERO));
    }
    same("the events that come again", opened.again(&ctx, 1).await?, vec![2])?;
    // Dropping what was settled long ago must not touch what was delivered since.
    drop(taken);
    same("the events that come after the old deliveries were dropped", opened.again(&ctx, 0).await?, vec![])
}

async fn first_word_counts(ctx: Ctx, mut opened: Opened) -> Verdict {
    let taken = opened.take_all(&ctx, 2).await?;
    let words = [Outcome::Ack, Outcome::Nack(Duration::ZERO)];
    for (one, (first, later)) in taken.iter().zip([(words[0], words[1]), (words[1], words[0])]) {
        one.settler.confirm(one.token, first).await?;
        let second = one.settler.confirm(one.token, later).await;
        refused("a second settlement", second, ErrorKind::Conflict)?;
    }
    same("the events that come again", opened.again(&ctx, 1).await?, vec![1])
}
