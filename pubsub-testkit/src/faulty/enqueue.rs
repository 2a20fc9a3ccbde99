//! Faults on the way in.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use pubsub_core::{
    ContentType, Message, Meta, Payload, Result,
    driver::{Batch, MaybeReady, PublishOptions, Receipt, Receipts, Tickets},
};

use super::{Fault, Faulty};

pub(super) fn enqueue<'a>(
    this: &'a Faulty,
    mut batch: Batch,
    options: &PublishOptions,
) -> MaybeReady<'a, Result<Tickets>> {
    let mut options = *options;
    match this.fault {
        Fault::PublishHangs => return MaybeReady::boxed(std::future::pending()),
        Fault::ClosedAccepts if this.closed.load(Ordering::Acquire) => {
            let receipts: Receipts = batch.iter().map(|_| Ok(Receipt::default())).collect();
            return MaybeReady::ready(Ok(MaybeReady::ready(Ok(receipts))));
        }
        Fault::BatchTruncated if batch.len() > 1 => return lose(this, batch, 1.., options),
        Fault::PublishUnconfirmedSuccess => {
            let first = batch.first().is_some_and(|message| {
                let mut robbed = this.robbed.lock().unwrap_or_else(PoisonError::into_inner);
                robbed.insert(message.channel().clone())
            });
            if first {
                return lose(this, batch, ..1, options);
            }
        }
        Fault::ReplaysOld => {
            let mut latest = this.latest.lock().unwrap_or_else(PoisonError::into_inner);
            latest.extend(batch.iter().map(|message| (message.channel().clone(), message.clone())));
        }
        Fault::OversizeConfirmed => {
            let limit = this.inner.capabilities().limits.max_payload.unwrap_or(usize::MAX);
            if batch.iter().any(|message| message.payload().len() > limit) {
                return lose(this, batch, .., options);
            }
        }
        Fault::HeadersShifted => {
            let metas: Vec<_> = batch.iter().map(|message| message.meta().clone()).collect();
            for (message, meta) in batch.iter_mut().zip(metas.iter().cycle().skip(1)) {
                let mut copy = Message::clone(message);
                copy.envelope_mut().meta = meta.clone();
                *message = Arc::new(copy);
            }
        }
        Fault::EarlyDelivery => options.deliver_at = None,
        Fault::TtlIgnored => options.ttl = None,
        Fault::SilentUnsupported => {
            options = PublishOptions::default();
        }
        Fault::CorruptPayload
        | Fault::DropHeaders
        | Fault::DropContentType
        | Fault::DropKey
        | Fault::TombstoneIsEmpty => {
            batch = batch.into_iter().map(|message| Arc::new(damaged(&message, this.fault))).collect();
        }
        _ => {}
    }
    this.inner.enqueue(batch, &options)
}

/// Sends what is outside `range`, and confirms all of it.
fn lose<'a>(
    this: &'a Faulty,
    mut batch: Batch,
    range: impl std::ops::RangeBounds<usize>,
    options: PublishOptions,
) -> MaybeReady<'a, Result<Tickets>> {
    let all = batch.len();
    drop(batch.drain(range));
    let receipts = move |count: usize| -> Receipts { (0..count).map(|_| Ok(Receipt::default())).collect() };
    if batch.is_empty() {
        return MaybeReady::ready(Ok(MaybeReady::ready(Ok(receipts(all)))));
    }
    MaybeReady::boxed(async move {
        let tickets = this.inner.enqueue(batch, &options).await?;
        Ok(MaybeReady::boxed(async move { tickets.await.map(|_| receipts(all)) }))
    })
}

fn damaged(message: &Message, fault: Fault) -> Message {
    let mut copy = message.clone();
    let envelope = copy.envelope_mut();
    match (fault, &mut envelope.payload) {
        (Fault::CorruptPayload, Payload::Data { bytes, .. }) => {
            let mut changed = bytes.to_vec();
            match changed.last_mut() {
                Some(last) => *last ^= 1,
                None => changed.push(b'0'),
            }
            *bytes = changed.into();
        }
        (Fault::DropContentType, Payload::Data { content_type, .. }) => {
            *content_type = if content_type.is_json() { ContentType::BYTES } else { ContentType::JSON };
        }
        (Fault::TombstoneIsEmpty, payload @ Payload::Tombstone) => *payload = Payload::json(""),
        (Fault::DropHeaders, _) => envelope.meta = Meta::default(),
        (Fault::DropKey, _) => envelope.key = None,
        _ => {}
    }
    copy
}
