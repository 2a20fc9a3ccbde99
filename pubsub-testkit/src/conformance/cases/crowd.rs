//! Helpers of several groups of cases: publishing in a stream, and readers side by side.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pubsub_core::{
    ChannelName, Envelope, Events, Message, PubSub, Raw, Received, Result,
    driver::{Adapter, PublishOptions},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Duration, Instant, sleep},
};

use crate::conformance::{Failure, Ledger, Numbered, Verdict, World, numbered};

/// Publishes these serials in order without waiting for each, and returns once all are confirmed.
pub(super) async fn publish(bus: &PubSub, channel: &ChannelName, serials: Range<usize>) -> Verdict {
    let mut tickets = Vec::with_capacity(serials.len());
    for serial in serials {
        tickets.push(bus.publish_envelope(numbered(channel, serial)?).enqueue().await?);
    }
    for ticket in tickets {
        ticket.await?;
    }
    Ok(())
}

/// Sends one event past the handle, at the adapter itself.
pub(super) async fn enqueue(adapter: &dyn Adapter, envelope: Envelope) -> Result<()> {
    let batch = std::iter::once(Arc::new(Message::from(envelope))).collect();
    let receipts = adapter.enqueue(batch, &PublishOptions::default()).await?.await?;
    receipts.into_iter().try_for_each(|receipt| receipt.map(drop))
}

/// What a crowd has read by now.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Every delivery.
    pub(super) ledger: Ledger,
    /// Key and serial of what was acknowledged, in this order.
    pub(super) acked: Vec<(String, usize)>,
}

impl Seen {
    /// The first acknowledgements of each key are in the order of their serials.
    pub(super) fn keys_in_order(&self) -> Verdict {
        let mut last = std::collections::BTreeMap::new();
        let mut known = std::collections::BTreeSet::new();
        for (key, serial) in self.acked.iter().filter(|(_, serial)| known.insert(*serial)) {
            match last.insert(key, serial) {
                Some(before) if before > serial => {
                    return Err(Failure::new(
                        format!("the events of key `{key}` in the order of publishing"),
                        format!("{serial} after {before}"),
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Readers that work side by side, each in a task of its own, and put what they get into one list.
pub(super) struct Crowd {
    seen: Arc<Mutex<Seen>>,
    stop: watch::Sender<bool>,
    members: JoinSet<Verdict>,
}

impl Crowd {
    /// Readers that together are to get these serials.
    pub(super) fn expecting(serials: impl IntoIterator<Item = usize>) -> Self {
        let seen = Seen { ledger: Ledger::expecting(serials), ..Seen::default() };
        Self { seen: Arc::new(Mutex::new(seen)), stop: watch::Sender::new(false), members: JoinSet::new() }
    }

    /// Adds a reader that acknowledges all it gets.
    pub(super) fn join(&mut self, events: Events<Raw>) {
        self.join_with(events, usize::MAX, |_, _| false);
    }

    /// Adds a reader that goes after `limit` deliveries, and nacks those of which `fails` says so, by serial and attempt.
    pub(super) fn join_with(
        &mut self,
        mut events: Events<Raw>,
        limit: usize,
        fails: impl Fn(usize, u32) -> bool + Send + 'static,
    ) {
        let (seen, mut stop) = (self.seen.clone(), self.stop.subscribe());
        self.members.spawn(async move {
            for _ in 0..limit {
                let event = tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                    event = events.next() => event,
                };
                match event {
                    Some(event) => settle(&seen, event?, &fails)?,
                    None => return Err(Failure::new("a subscription that goes on", "its end")),
                }
            }
            Ok(())
        });
    }

    /// How many different events were read by now.
    pub(super) fn distinct(&self) -> usize {
        lock(&self.seen).ledger.distinct()
    }

    /// Waits until all is read, as long as something comes within the adapter's bound, and then for silence.
    pub(super) async fn finish(mut self, world: &World) -> Verdict<Seen> {
        let bounds = world.bounds();
        let (mut known, mut since) = (0, Instant::now());
        while !lock(&self.seen).ledger.is_complete() && since.elapsed() < bounds.receive {
            while let Some(ended) = self.members.try_join_next() {
                ended.map_err(|error| Failure::new("a reader without a panic", error))??;
            }
            sleep(Duration::from_millis(2)).await;
            let now = self.distinct();
            if now > known {
                (known, since) = (now, Instant::now());
            }
        }
        sleep(bounds.quiet).await;
        self.stop.send_replace(true);
        while let Some(ended) = self.members.join_next().await {
            ended.map_err(|error| Failure::new("a reader without a panic", error))??;
        }
        Ok(std::mem::take(&mut *lock(&self.seen)))
    }
}

fn settle(seen: &Mutex<Seen>, event: Received<Raw>, fails: &impl Fn(usize, u32) -> bool) -> Verdict {
    let serial = event.serial()?;
    let key = event.key().map(ToString::to_string).unwrap_or_default();
    let failed = fails(serial, event.attempt());
    let mut seen = lock(seen);
    seen.ledger.saw(serial);
    if failed {
        drop(seen);
        return Ok(event.nack()?);
    }
    // Noted before the acknowledgement, which lets the next event of the key go to somebody else.
    seen.acked.push((key, serial));
    drop(seen);
    event.ack();
    Ok(())
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
