//! Publishing: what is checked and encoded before an event goes to the outbox.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use pubsub_core::{
    Durability, Error, ErrorKind, Message, Result,
    driver::{Batch, BoxFuture, Confirm, MaybeReady, PublishOptions, Publisher, Receipts, Tickets},
};
use smallvec::SmallVec;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    adapter::Nats,
    connection::Shared,
    delay, error,
    outbox::WINDOW,
    post::{Post, Stage},
    topology::Route,
    wire,
};

/// An event as it goes out.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) subject: Subject,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Encodes an event for its channel.
///
/// # Errors
/// `TooLarge` beyond the server's limit, `Unsupported` for a time that nobody keeps.
pub(super) fn encode(shared: &Shared, route: &Route, message: &Message, options: &PublishOptions) -> Result<Encoded> {
    let (mut headers, body, framed) = wire::encode(shared, &shared.outbox.headers, message)?;
    if let Some(ttl) = options.ttl {
        wire::put_ttl(&mut headers, ttl);
        if route.is_durable() && shared.is_at_least(2, 11) {
            // The server's own counts whole seconds: it cleans up what readers pass over by then.
            headers.insert("Nats-TTL", format!("{}s", ttl.as_millis().div_ceil(1000).max(1)));
        }
    }
    let target = route.subject(message);
    let subject = match options.deliver_at {
        Some(due) if due > pubsub_core::Timestamp::now() => {
            headers.remove_ttl_of_server();
            delay::schedule(shared, route, &target, due, &mut headers)?
        }
        _ => target,
    };
    // With the frame and the headers that are added: how long it lives, when it is due and where it goes then, its id.
    let size = body.len() + framed + if options.deliver_at.is_some() { 200 + subject.len() } else { 128 };
    if let Some(limit) = shared.outbox.max_payload()
        && size > limit
    {
        let text = format!(
            "the event takes {size} bytes with its headers, the server allows {limit}: publish where the data is instead, \
             or raise `max_payload` in the server's configuration"
        );
        return Err(Error::new(ErrorKind::TooLarge, "publish", text).on(message.channel()));
    }
    Ok(Encoded { subject, headers, body })
}

trait WithoutServerTtl {
    fn remove_ttl_of_server(&mut self);
}

impl WithoutServerTtl for HeaderMap {
    /// A schedule must outlive the time that its event has from when it is due.
    fn remove_ttl_of_server(&mut self) {
        if self.get("Nats-TTL").is_some() {
            *self = self
                .iter()
                .filter(|(name, _)| AsRef::<str>::as_ref(*name) != "Nats-TTL")
                .filter_map(|(name, values)| Some((name.clone(), values.last()?.clone())))
                .collect();
        }
    }
}

impl Publisher for Nats {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        if let Err(error) = self.shared.check_open("publish") {
            return MaybeReady::ready(Err(error));
        }
        if options.confirm != Confirm::Accepted {
            let text = "the server does not tell when groups have settled an event";
            return MaybeReady::ready(Err(Error::new(ErrorKind::Unsupported, "publish", text)));
        }
        let Some(first) = batch.first() else { return MaybeReady::ready(Ok(tickets(SmallVec::new()))) };
        let route = self.shared.routes.get(first.channel());
        let permits = u32::try_from(batch.len()).unwrap_or(u32::MAX).min(WINDOW);
        if let Some(route) = &route
            && let Ok(room) = self.shared.outbox.room.clone().try_acquire_many_owned(permits)
        {
            return MaybeReady::ready(send(&self.shared, route, &batch, options, room));
        }
        let options = *options;
        MaybeReady::boxed(async move {
            let deadline = Instant::now() + options.timeout;
            let shared = &self.shared;
            let channel = batch[0].channel();
            let route = match route {
                Some(route) => route,
                None => match timeout_at(deadline, shared.route("publish", channel)).await {
                    Ok(route) => route.map_err(|error| shared.or_closed("publish", error))?,
                    Err(_) => {
                        let text = "the channel could not be looked up in time";
                        return Err(Error::new(ErrorKind::Unavailable, "publish", text).on(channel));
                    }
                },
            };
            match timeout_at(deadline, shared.outbox.room.clone().acquire_many_owned(permits)).await {
                Ok(Ok(room)) => send(shared, &route, &batch, &options, room),
                Ok(Err(_)) => Err(error::closed("publish").on(channel)),
                Err(_) if !shared.link.borrow().up => {
                    let text = "there is no connection to the server";
                    Err(Error::new(ErrorKind::Unavailable, "publish", text).on(channel))
                }
                Err(_) => {
                    let text = format!("{WINDOW} events are on their way, and none was confirmed in time");
                    Err(Error::new(ErrorKind::Backpressure, "publish", text).on(channel))
                }
            }
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.shared.outbox.ledger.flush())
    }
}

/// Encodes one event after the other, and hands each over at once: the server has it while the next one is encoded.
fn send(
    shared: &Arc<Shared>,
    route: &Arc<Route>,
    batch: &Batch,
    options: &PublishOptions,
    mut room: OwnedSemaphorePermit,
) -> Result<Tickets> {
    let deadline = Instant::now() + options.timeout.min(Duration::from_secs(86_400 * 365));
    let mut receivers = SmallVec::with_capacity(batch.len());
    for message in batch {
        let encoded = match encode(shared, route, message, options) {
            // The first one tells it of all: it lies in what they have in common.
            Err(error) if error.kind() == ErrorKind::Unsupported && receivers.is_empty() => return Err(error),
            outcome => outcome,
        };
        let (sender, receiver) = oneshot::channel();
        receivers.push(receiver);
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                shared.outbox.ledger.fail(&error);
                let _ = sender.send(Err(error.on(message.channel())));
                continue;
            }
        };
        let confirmed = route.policy.durability == Durability::Durable;
        let post = Box::new(Post {
            route: route.clone(),
            message: message.clone(),
            options: *options,
            encoded: Some(encoded),
            confirmed,
            serial: shared.outbox.serial(),
            deadline,
            first_sent: None,
            last_sent: None,
            revived: false,
            stage: Stage::default(),
            done: Some(sender),
            open: shared.outbox.ledger.open(1),
            // A batch larger than the window shares what there is.
            room: room.split(1),
        });
        if shared.outbox.put(shared, post).is_err() && receivers.len() == 1 {
            return Err(error::closed("publish").on(message.channel())); // later ones tell it by their tickets
        }
    }
    Ok(tickets(receivers))
}

fn tickets(receivers: SmallVec<[oneshot::Receiver<Result<pubsub_core::driver::Receipt>>; 1]>) -> Tickets {
    if receivers.is_empty() {
        return MaybeReady::ready(Ok(Receipts::new()));
    }
    MaybeReady::boxed(async move {
        let mut receipts: Receipts = SmallVec::new();
        for receiver in receivers {
            let gone = |_| Err(error::closed("publish").perhaps_applied());
            // Outside of tokio's budget: what is there is there, however many tickets a task has looked at.
            receipts.push(tokio::task::unconstrained(receiver).await.unwrap_or_else(gone));
        }
        Ok(receipts)
    })
}
