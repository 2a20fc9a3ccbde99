//! Publishing: events become commands, commands go out in pipelines, answers become receipts.

use std::sync::Arc;

use ::redis::{Cmd, cmd};
use pubsub_core::{
    Error, ErrorKind, Message, Result, Timestamp,
    driver::{Batch, BoxFuture, Confirm, MaybeReady, PublishOptions, Publisher, Receipt, Receipts, Tickets},
};
use smallvec::SmallVec;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    adapter::Redis,
    channel::Channel,
    connection::Hub,
    error::closed,
    scripts, wire,
    writer::{Item, Job, Kind},
};

/// The way to the task that writes.
#[derive(Clone)]
pub(super) struct Outbox {
    jobs: mpsc::UnboundedSender<Job>,
    /// What bounds the jobs.
    room: Arc<Semaphore>,
    capacity: usize,
}

impl Outbox {
    pub(super) fn new(capacity: usize) -> (Self, mpsc::UnboundedReceiver<Job>) {
        let (jobs, receiver) = mpsc::unbounded_channel();
        (Self { jobs, room: Arc::new(Semaphore::new(capacity)), capacity }, receiver)
    }

    fn permits(&self, events: usize) -> u32 {
        u32::try_from(events.min(self.capacity)).unwrap_or(u32::MAX)
    }

    /// Hands a job to the writer.
    fn send(&self, hub: &Hub, draft: Draft, room: OwnedSemaphorePermit, deadline: Instant) -> Tickets {
        let (done, outcome) = oneshot::channel();
        let open = hub.ledger.open(draft.results.len());
        let job = Job { items: draft.items, results: draft.results, done, deadline, open, number: 0, _room: room };
        if self.jobs.send(job).is_err() {
            return MaybeReady::ready(Err(closed("publish")));
        }
        // A ticket that is resolved says so, however many were asked before it.
        MaybeReady::boxed(tokio::task::unconstrained(async move {
            match timeout_at(deadline, outcome).await {
                Ok(Ok(receipts)) => Ok(receipts),
                Ok(Err(_)) => Err(closed("publish").perhaps_applied()),
                Err(_) => {
                    let text = "the server has not confirmed in time";
                    Err(Error::new(ErrorKind::Timeout, "publish", text).perhaps_applied())
                }
            }
        }))
    }
}

/// The commands of a batch; what was refused already has its result.
struct Draft {
    items: SmallVec<[Item; 1]>,
    results: SmallVec<[Option<Result<Receipt>>; 1]>,
}

impl Publisher for Redis {
    /// Cancel safe: the batch goes to the writer as one, at the moment in which this resolves.
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        let Some(first) = batch.first() else { return MaybeReady::ready(Ok(MaybeReady::ready(Ok(Receipts::new())))) };
        if let Err(error) = self.hub.open("publish").and_then(|()| check(options)) {
            return MaybeReady::ready(Err(error.on(first.channel())));
        }
        let deadline = Instant::now() + options.timeout;
        let name = first.channel();
        let known = if name.is_inbox() { Some(self.hub.passing(name)) } else { self.hub.known(name) };
        let known = known.filter(|channel| channel.declared || !self.hub.options.broker.strict);
        if let Some(channel) = &known {
            let draft = match draft(&self.hub, channel, &batch, options) {
                Ok(draft) => draft,
                Err(error) => return MaybeReady::ready(Err(error)),
            };
            let permits = self.outbox.permits(batch.len());
            return match self.outbox.room.clone().try_acquire_many_owned(permits) {
                Ok(room) => MaybeReady::ready(Ok(self.outbox.send(&self.hub, draft, room, deadline))),
                Err(_) => MaybeReady::boxed(self.send_later(draft, permits, deadline)),
            };
        }
        let options = *options;
        MaybeReady::boxed(async move {
            let Some(first) = batch.first() else { return Ok(MaybeReady::ready(Ok(Receipts::new()))) };
            let late = || Err(self.hub.unavailable("publish").on(first.channel()));
            let channel = timeout_at(deadline, self.hub.channel("publish", first.channel())).await;
            let channel = channel.unwrap_or_else(|_| late())?;
            let draft = draft(&self.hub, &channel, &batch, &options)?;
            self.send_later(draft, self.outbox.permits(batch.len()), deadline).await
        })
    }

    /// Cancel safe.
    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            tokio::select! {
                flushed = self.hub.ledger.flush() => flushed,
                () = self.hub.token.cancelled() => Err(closed("flush")),
            }
        })
    }
}

impl Redis {
    async fn send_later(&self, draft: Draft, permits: u32, deadline: Instant) -> Result<Tickets> {
        let room = tokio::select! {
            room = timeout_at(deadline, self.outbox.room.clone().acquire_many_owned(permits)) => room,
            () = self.hub.closing.cancelled() => return Err(closed("publish")),
        };
        match room {
            Ok(Ok(room)) => Ok(self.outbox.send(&self.hub, draft, room, deadline)),
            Ok(Err(_)) => Err(closed("publish")),
            Err(_) => {
                let text = "too many events are on their way to the server";
                Err(Error::new(ErrorKind::Backpressure, "publish", text))
            }
        }
    }
}

fn check(options: &PublishOptions) -> Result<()> {
    let unsupported = |text| Err(Error::new(ErrorKind::Unsupported, "publish", text));
    if options.ttl.is_some() {
        return unsupported("the adapter `redis` does not offer a time to live per event");
    }
    if options.confirm == Confirm::Settled {
        return unsupported("the adapter `redis` does not offer confirmation by settlement");
    }
    Ok(())
}

fn draft(hub: &Hub, channel: &Channel, batch: &Batch, options: &PublishOptions) -> Result<Draft> {
    if channel.live.is_some() && options.deliver_at.is_some() {
        let text = "an ephemeral channel has no events for later";
        return Err(Error::new(ErrorKind::Unsupported, "publish", text).on(&channel.name));
    }
    let due = options.deliver_at.filter(|due| *due > Timestamp::now());
    let mut draft = Draft { items: SmallVec::new(), results: SmallVec::new() };
    let mark = || {
        let mut mark = cmd("SADD");
        mark.arg(hub.names.scheduled()).arg(channel.name.as_str());
        Item { index: usize::MAX, cmd: mark, kind: Kind::Mark, repeatable: true }
    };
    for (index, message) in batch.iter().enumerate() {
        match item(hub, channel, message, due, index) {
            Ok(item) => {
                // Before and after: whoever finds no event behind the mark and removes it, does so in between.
                draft.items.extend(due.map(|_| mark()));
                draft.items.push(item);
                draft.items.extend(due.map(|_| mark()));
                draft.results.push(None);
            }
            Err(error) => draft.results.push(Some(Err(error.on(&channel.name)))),
        }
    }
    Ok(draft)
}

fn item(hub: &Hub, channel: &Channel, message: &Message, due: Option<Timestamp>, index: usize) -> Result<Item> {
    if let Some(live) = &channel.live {
        let bytes = wire::encode_live(message, &hub.options.broker.source)?;
        check_size(hub, bytes.len())?;
        let mut publish = cmd("PUBLISH");
        publish.arg(live).arg(bytes.as_ref());
        return Ok(Item { index, cmd: publish, kind: Kind::Published, repeatable: false });
    }
    let shard = channel.shard_of(message);
    let stream = channel.streams[shard].as_str();
    let window = channel.policy.dedup_window.map(|window| window.as_millis().max(1).to_string());
    let mark = || channel.keys.dedup(message.id().encode(&mut [0; 36]));
    let mut cmd = match (due, &window) {
        (Some(due), window) => {
            let mark = mark();
            let keys = channel.keys.later();
            let mut cmd = scripts::SCHEDULE.call(&[&keys, &channel.keys.later_events(), &mark]);
            cmd.arg(due.as_millis()).arg(stream).arg(window.as_deref().unwrap_or("0"));
            cmd
        }
        (None, Some(window)) => {
            let mut cmd = scripts::DEDUP.call(&[stream, &mark()]);
            cmd.arg(window);
            must_exist(hub, &mut cmd);
            channel.trim(hub, &mut cmd);
            cmd.arg("*");
            cmd
        }
        (None, None) => {
            let mut cmd = Cmd::with_capacity(6, 640 + message.payload().len());
            cmd.arg("XADD").arg(stream);
            must_exist(hub, &mut cmd);
            channel.trim(hub, &mut cmd);
            cmd.arg("*");
            cmd
        }
    };
    let broker = &hub.options.broker;
    let size =
        wire::encode(message, &broker.source, broker.wire.unwrap_or_default(), hub.options.fields, |name, value| {
            cmd.arg(name).arg(value);
        })?;
    check_size(hub, size)?;
    let place = (shard, channel.streams.len());
    let kind = if due.is_some() || window.is_some() { Kind::Scripted(place) } else { Kind::Added(place) };
    Ok(Item { index, cmd, kind, repeatable: window.is_some() })
}

/// Where channels must be declared, one that somebody has deleted takes nothing.
fn must_exist(hub: &Hub, cmd: &mut Cmd) {
    if hub.options.broker.strict {
        cmd.arg("NOMKSTREAM");
    }
}

fn check_size(hub: &Hub, size: usize) -> Result<()> {
    let limit = hub.options.max_payload;
    if size <= limit {
        return Ok(());
    }
    let text = format!(
        "the event has {size} bytes on the wire, the adapter takes {limit}: publish where the data is instead, or raise \
         `max_payload` in the address"
    );
    Err(Error::new(ErrorKind::TooLarge, "publish", text))
}
