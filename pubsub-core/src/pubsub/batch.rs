//! Publishing many events at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    PubSub,
    publish::{Draft, rate_is_used_up},
    rate::Limiter,
};
use crate::{
    Error, ErrorKind, Result,
    driver::{Batch, Receipt},
    observe::{Hop, Publishing},
};

/// How many messages go to the adapter in one call.
const CHUNK: usize = 256;

/// What is to be sent; an error names its item.
pub(super) fn drafts<T>(
    items: impl IntoIterator<Item = T>,
    mut draft: impl FnMut(T) -> Result<Draft>,
) -> Result<Vec<Draft>> {
    items.into_iter().enumerate().map(|(index, item)| draft(item).map_err(|error| at(index, error))).collect()
}

/// Checks everything, then sends runs of one channel in order.
pub(super) async fn publish(bus: &PubSub, mut drafts: Vec<Draft>) -> Result<Vec<Result<Receipt>>> {
    if drafts.is_empty() {
        // Nothing to tell of, either: a span would name no channel.
        return bus.open("publish batch").map(|()| Vec::new());
    }
    let observer = &bus.inner.observer;
    let mut publishing: Vec<Publishing> =
        drafts.iter_mut().map(|draft| observer.publishing_in_batch(&mut draft.message)).collect();
    let hop = Hop::send(observer, drafts.iter().map(|draft| &*draft.message));
    let outcome = hop.run(publish_unobserved(bus, drafts)).await;
    match &outcome {
        Ok(results) => publishing.iter_mut().zip(results).for_each(|(publishing, result)| publishing.ended(result)),
        Err(error) => {
            publishing.iter_mut().for_each(|publishing| publishing.ended::<()>(&Err(error.clone())));
            hop.failed(error.kind().as_str(), error);
        }
    }
    outcome
}

async fn publish_unobserved(bus: &PubSub, drafts: Vec<Draft>) -> Result<Vec<Result<Receipt>>> {
    bus.open("publish batch")?;
    for (index, draft) in drafts.iter().enumerate() {
        draft.check(bus).map_err(|error| at(index, error))?;
    }
    // By name: whoever takes several rates takes them in one order.
    let mut per_channel = BTreeMap::new();
    for draft in &drafts {
        per_channel.entry(draft.channel.name.clone()).or_insert_with(|| (draft.channel.clone(), 0_usize)).1 += 1;
    }
    let mut rated = Vec::new();
    for (channel, count) in per_channel.values() {
        if let Some(limiter) = &channel.limiter {
            let burst = limiter.burst();
            if *count > burst {
                let text = format!("{count} events are more than the channel's rate allows at once, {burst}");
                return Err(Error::new(ErrorKind::Invalid, "publish batch", text).on(&channel.name));
            }
            rated.push((channel, limiter, *count));
        }
    }
    for (channel, _) in per_channel.values().filter(|(channel, _)| !channel.is_declared()) {
        let super::Settings { clock, mode, publish, .. } = &bus.inner.settings;
        channel.declare_within(&*bus.inner.adapter, *mode, clock, publish.timeout).await?;
    }
    let wanted = rated.iter().map(|(_, limiter, count)| (*limiter, *count));
    Limiter::take_all(&bus.inner.settings.clock, wanted).map_err(|index| rate_is_used_up(rated[index].0))?;

    let mut results = Vec::with_capacity(drafts.len());
    let mut open = Vec::new();
    let mut failed = HashMap::new();
    let mut drafts = drafts.into_iter().peekable();
    while let Some(first) = drafts.next() {
        let channel = first.channel;
        let mut options = first.options;
        options.ttl = options.ttl.or(channel.policy.ttl);
        let mut batch = Batch::new();
        batch.push(first.message);
        while batch.len() < CHUNK {
            let Some(next) = drafts.next_if(|next| Arc::ptr_eq(&next.channel, &channel)) else { break };
            batch.push(next.message);
        }
        let count = batch.len();
        // A loop over an adapter that is always ready would starve its consumers.
        tokio::task::coop::consume_budget().await;
        // What comes after a failure would overtake what failed.
        if let Some(error) = failed.get(&channel.name) {
            open.push((count, Err(Error::clone(error))));
            continue;
        }
        // From here on a failure belongs to the items: earlier ones may be with the broker already.
        let enqueued = bus.inner.adapter.enqueue(batch, &options).await;
        if let Err(error) = &enqueued {
            failed.insert(channel.name.clone(), error.clone());
        }
        open.push((count, enqueued));
    }
    for (count, enqueued) in open {
        let outcome = match enqueued {
            Ok(tickets) => tickets.await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(receipts) if receipts.len() == count => results.extend(receipts),
            Ok(_) => {
                let error =
                    Error::new(ErrorKind::Backend, "publish batch", "the adapter gave another number of receipts");
                results.extend((0..count).map(|_| Err(error.clone())));
            }
            Err(error) => results.extend((0..count).map(|_| Err(error.clone()))),
        }
    }
    Ok(results)
}

/// The error of one item of a batch.
fn at(index: usize, error: Error) -> Error {
    let message = format!("item {index}: {}", error.message());
    error.reworded("publish batch", message)
}
