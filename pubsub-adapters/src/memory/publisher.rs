//! Publishing: an append if there is room, else a wait for it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use pubsub_core::{
    ChannelName, Error, ErrorKind, Result,
    driver::{Batch, BoxFuture, Confirm, MaybeReady, PublishOptions, Publisher, Receipt, Receipts, Tickets},
};

use smallvec::smallvec;

use super::{
    adapter::{Handle, Memory},
    bus::Bus,
    channel::{Append, Channel, Stopped},
};

/// How often a publisher that waits looks by itself: for room that age makes, or a consumer that never runs dry.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A batch on its way into a channel.
struct Intake {
    bus: Arc<Bus>,
    handle: Arc<Handle>,
    channel: Arc<Channel>,
    rest: Batch,
    receipts: Receipts,
    seqs: Vec<u64>,
    options: PublishOptions,
    stopped: Stopped,
}

impl Publisher for Memory {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        if let Some(tickets) = self.append_one(&batch, options) {
            return MaybeReady::ready(Ok(tickets));
        }
        let mut intake = match Intake::new(self, batch, options) {
            Ok(Some(intake)) => intake,
            Ok(None) => return MaybeReady::ready(Ok(MaybeReady::ready(Ok(Receipts::new())))),
            Err(error) => return MaybeReady::ready(Err(error)),
        };
        if intake.channel.waiting_for_room.load(Ordering::SeqCst) == 0 && intake.append() {
            return MaybeReady::ready(Ok(intake.tickets()));
        }
        MaybeReady::boxed(intake.wait())
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            for channel in self.bus.all() {
                channel.confirms.flush().await;
            }
            self.shared.take_refusal().map_or(Ok(()), Err)
        })
    }
}

/// What a dead letter adds to an event: an event of the full size must still fit when it is given up.
const DEAD_LETTER_ROOM: usize = 64 * 1024;

/// The longest message on a channel.
fn max_len(bus: &Bus, channel: &ChannelName) -> usize {
    let room = if channel.is_internal() { DEAD_LETTER_ROOM } else { 0 };
    bus.options.max_payload.saturating_add(room)
}

impl Memory {
    /// The channel, found without a look into the table if it is the one of the last publish.
    fn with_channel<T>(&self, name: &ChannelName, then: impl FnOnce(&Arc<Channel>) -> T) -> Result<T> {
        if let Some(channel) = &*self.last.load()
            && channel.name == *name
        {
            return Ok(then(channel));
        }
        let channel = self.bus.channel(name)?;
        if !name.is_inbox() {
            self.last.store(Some(channel.clone()));
        }
        Ok(then(&channel))
    }

    /// The common case: one message, nothing special about it, and room. `None` leaves it to the general way.
    fn append_one(&self, batch: &Batch, options: &PublishOptions) -> Option<Tickets> {
        let [message] = batch.as_slice() else { return None };
        let plain = options.confirm == Confirm::Accepted && options.deliver_at.is_none() && !self.shared.is_closed();
        if !plain || message.wire_len() > max_len(&self.bus, message.channel()) {
            return None;
        }
        let ttl = options.ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        let mut receipt = None;
        let append = |channel: &Arc<Channel>| {
            if channel.waiting_for_room.load(Ordering::SeqCst) > 0 {
                return; // nobody overtakes those who wait
            }
            let mut one = std::iter::once_with(|| message.clone());
            channel.append(&mut one, 1, self.bus.now(), None, ttl, &mut |append| {
                receipt = Some(match append {
                    Append::At(seq) => Receipt::at(channel.position(seq)),
                    Append::Duplicate(seq) => duplicate(channel, seq),
                    Append::Scheduled => Receipt::default(),
                });
            });
        };
        // What is wrong with the channel is told by the general way.
        self.with_channel(message.channel(), append).ok()?;
        receipt.map(|receipt| MaybeReady::ready(Ok(smallvec![Ok(receipt)])))
    }
}

impl Intake {
    fn new(memory: &Memory, batch: Batch, options: &PublishOptions) -> Result<Option<Self>> {
        memory.shared.open("publish")?;
        let Some(first) = batch.first() else { return Ok(None) };
        let channel = memory.with_channel(first.channel(), Arc::clone)?;
        let bus = &memory.bus;
        if let Some(due) = options.deliver_at
            && due.since(bus.clock.now()) > bus.options.max_delay
        {
            let text = format!("field `deliver_at` is later than the limit of {:?} allows", bus.options.max_delay);
            return Err(Error::new(ErrorKind::Invalid, "publish", text).on(&channel.name));
        }
        if options.deliver_at.is_some() && options.confirm == Confirm::Settled {
            let text = "a scheduled event cannot be confirmed by settlement: nobody settles it before its time";
            return Err(Error::new(ErrorKind::Unsupported, "publish", text).on(&channel.name));
        }
        if options.confirm == Confirm::Settled {
            // Before anything is sent: the ticket has a deadline.
            bus.clock.check_timers("publish").map_err(|error| error.on(&channel.name))?;
        }
        if let Some(other) = batch.iter().find(|message| message.channel() != &channel.name) {
            let text = format!("a batch is for one channel, but holds an event for `{}` too", other.channel());
            return Err(Error::new(ErrorKind::Invalid, "publish", text).on(&channel.name));
        }
        Ok(Some(Self {
            bus: bus.clone(),
            handle: memory.shared.clone(),
            channel,
            rest: batch,
            receipts: Receipts::new(),
            seqs: Vec::new(),
            options: *options,
            stopped: Stopped::default(),
        }))
    }

    /// Appends as much as there is room for; true once nothing is left.
    fn append(&mut self) -> bool {
        let now = self.bus.now();
        let limit = max_len(&self.bus, &self.channel.name);
        let settled = self.options.confirm == Confirm::Settled;
        let (channel, receipts, seqs) = (&self.channel, &mut self.receipts, &mut self.seqs);
        let mut taken = 0;
        // Refusals are per message, and take no room; they are answered in their place.
        while let Some(message) = self.rest.get(taken) {
            let size = message.wire_len();
            if size > limit {
                let refusal = too_large(channel, size, limit);
                self.handle.note_refusal(&refusal);
                receipts.push(Err(refusal));
                taken += 1;
                continue;
            }
            let run = self.rest[taken..].iter().take_while(|message| message.wire_len() <= limit).count();
            let mut appended = 0;
            let due = self.options.deliver_at.map(|due| due.as_millis());
            let ttl = self.options.ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
            let mut messages = self.rest[taken..taken + run].iter().cloned();
            self.stopped = channel.append(&mut messages, run, now, due, ttl, &mut |append| {
                appended += 1;
                receipts.push(Ok(match append {
                    Append::At(seq) => {
                        if settled {
                            seqs.push(seq);
                        }
                        Receipt::at(channel.position(seq))
                    }
                    Append::Duplicate(seq) => {
                        seqs.extend(seq.filter(|_| settled));
                        duplicate(channel, seq)
                    }
                    Append::Scheduled => Receipt::default(),
                }));
            });
            taken += appended;
            if appended < run {
                break;
            }
        }
        if taken == self.rest.len() {
            self.rest = Batch::new();
            return true;
        }
        self.rest.drain(..taken);
        false
    }

    /// What the caller waits for once everything is in.
    fn tickets(self) -> Tickets {
        if self.options.confirm != Confirm::Settled {
            return MaybeReady::ready(Ok(self.receipts));
        }
        // Registered at once: the groups are those of now, and a flush waits for the ticket although nobody polls it.
        let groups = self.channel.lock().groups.clone();
        let settled = self.channel.confirms.wait(self.seqs, groups);
        MaybeReady::boxed(async move {
            let timers = self.bus.clock.check_timers("publish");
            timers.map_err(|error| error.on(&self.channel.name).perhaps_applied())?;
            let deadline = self.bus.clock.sleep(self.options.timeout);
            match race(settled, deadline).await {
                Some(Ok(())) => Ok(self.receipts),
                _ => {
                    let text = format!("the groups did not settle the event within {:?}", self.options.timeout);
                    Err(Error::new(ErrorKind::Timeout, "publish", text).on(&self.channel.name).perhaps_applied())
                }
            }
        })
    }

    fn full(&self, channel: &Channel) -> Error {
        let text = match self.stopped {
            Stopped::ByRoom => format!("the channel stayed full for {:?}", self.options.timeout),
            Stopped::ByDedup => {
                let (ids, waited) = (channel.dedup_ids(), self.options.timeout);
                format!("the dedup window of {ids} ids is full, and stayed so for {waited:?}")
            }
        };
        Error::new(ErrorKind::Backpressure, "publish", text).on(&channel.name)
    }

    /// Waits for room, as long as the caller allows.
    async fn wait(mut self) -> Result<Tickets> {
        let clock = self.bus.clock.clone();
        let started = clock.mark();
        let channel = self.channel.clone();
        clock.check_timers("publish").map_err(|error| error.on(&channel.name))?;
        let _waiting = Waiting::new(&channel);
        // One after the other, in the order in which they came: a batch would never find room among single events.
        let turn = race(channel.turn.lock(), clock.sleep(self.options.timeout)).await;
        if turn.is_none() {
            return Err(self.full(&channel));
        }
        loop {
            let mut room = pin!(channel.room.notified());
            room.as_mut().enable();
            if self.append() {
                return Ok(self.tickets());
            }
            let error = if self.handle.is_closed() {
                Some(Error::new(ErrorKind::Closed, "publish", "the adapter is closed"))
            } else if clock.elapsed(started) >= self.options.timeout {
                Some(self.full(&channel))
            } else {
                None
            };
            if let Some(error) = error {
                let error = error.on(&channel.name);
                if self.receipts.iter().all(Result::is_err) {
                    return Err(error);
                }
                // Part of a batch larger than the channel is in: each of the rest is told.
                let rest = self.rest.len();
                self.receipts.extend((0..rest).map(|_| Err(error.clone())));
                return Ok(self.tickets());
            }
            let left = self.options.timeout.saturating_sub(clock.elapsed(started));
            race(room, clock.sleep(left.min(LOOK_AGAIN))).await;
        }
    }
}

fn duplicate(channel: &Channel, seq: Option<u64>) -> Receipt {
    seq.map_or_else(Receipt::default, |seq| Receipt::at(channel.position(seq))).duplicate()
}

#[cold]
fn too_large(channel: &Channel, size: usize, limit: usize) -> Error {
    let text = format!("the event has {size} bytes, the bus allows {limit}");
    Error::new(ErrorKind::TooLarge, "publish", text).on(&channel.name)
}

/// Counts a publisher that waits, so that settling costs nothing while there is none.
struct Waiting<'a>(&'a Channel);

impl<'a> Waiting<'a> {
    fn new(channel: &'a Channel) -> Self {
        channel.waiting_for_room.fetch_add(1, Ordering::SeqCst);
        Self(channel)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting_for_room.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The value of `future`, unless `deadline` comes first.
async fn race<T>(future: impl Future<Output = T>, mut deadline: BoxFuture<'static, ()>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        Pin::new(&mut deadline).poll(cx).map(|()| None)
    })
    .await
}
