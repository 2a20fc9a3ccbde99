//! Publishing many events at once.

use std::{collections::HashMap, sync::Arc};

use super::{PubSub, publish::Draft};
use crate::{
    Error, ErrorKind, Result,
    driver::{Batch, Receipt},
};

/// How many messages go to the adapter in one call.
const CHUNK: usize = 256;

/// Checks everything, then sends runs of one channel in order.
pub(super) async fn publish(bus: &PubSub, drafts: Vec<Draft>) -> Result<Vec<Result<Receipt>>> {
    bus.open("publish batch")?;
    for (index, draft) in drafts.iter().enumerate() {
        draft.check(bus).map_err(|error| at(index, &error))?;
    }
    let mut per_channel = HashMap::new();
    for draft in &drafts {
        per_channel.entry(draft.channel.name.clone()).or_insert_with(|| (draft.channel.clone(), 0_usize)).1 += 1;
    }
    for (channel, count) in per_channel.values() {
        if !channel.is_declared() {
            channel.declare(&*bus.inner.adapter, bus.inner.settings.mode).await?;
        }
        Draft::take_rate(channel, bus, *count)?;
    }

    let mut results = Vec::with_capacity(drafts.len());
    let mut open = Vec::new();
    let mut drafts = drafts.into_iter().peekable();
    while let Some(first) = drafts.next() {
        let channel = first.channel;
        let mut options = first.options;
        options.ttl = options.ttl.or(channel.policy.ttl);
        let mut batch = Batch::new();
        batch.push(Arc::new(first.message));
        while batch.len() < CHUNK {
            let Some(next) = drafts.next_if(|next| Arc::ptr_eq(&next.channel, &channel)) else { break };
            batch.push(Arc::new(next.message));
        }
        let count = batch.len();
        // A loop over an adapter that is always ready would starve its consumers.
        tokio::task::coop::consume_budget().await;
        // From here on a failure belongs to the items: earlier ones may be with the broker already.
        open.push((count, bus.inner.adapter.enqueue(batch, &options).await));
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

fn at(index: usize, error: &Error) -> Error {
    let outer = Error::new(error.kind(), "publish batch", format!("item {index}: {}", error.message()));
    match error.channel() {
        Some(channel) => outer.on(channel),
        None => outer,
    }
    .with_faults(error.faults().to_vec())
}
