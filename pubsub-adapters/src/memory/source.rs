//! The source of a subscription: it takes from each of its channels in turn.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use pubsub_core::{
    AckHandle, ChannelName, Delivery, Error, ErrorKind, Result, StartPosition, Timestamp,
    driver::{
        AckToken, BoxFuture, Chunk, Gap, GapReason, Item, Renewal, Settler, SlowConsumer, Source, SubscribeOptions,
    },
};

use super::{
    adapter::{Handle, Holding},
    broadcast::Broadcast,
    bus::Bus,
    channel::Channel,
    group::{Group, Member, Pulled, Want, Window},
    inlet::Inlet,
    settler::MemorySettler,
};

/// Deliveries per chunk: few enough to stay in cache.
const CHUNK: usize = 64;
/// How long a source that was busy lets other tasks run and looks again before it parks: being woken over a system call
/// costs as much.
const PATIENCE: Duration = Duration::from_micros(8);
/// How long it leaves the log alone between two looks: a reader at the heels of a publisher takes the cache lines that the
/// publisher writes, which costs both more than the wait.
const DISTANCE: Duration = Duration::from_micros(2);
/// How long a member may sleep although another was woken instead: that one may be busy elsewhere.
const FALLBACK_MS: i64 = 20;

/// The source of a subscription.
pub(super) struct MemorySource {
    bus: Arc<Bus>,
    handle: Arc<Handle>,
    options: SubscribeOptions,
    inlet: Arc<Inlet>,
    window: Arc<Window>,
    parts: Vec<Part>,
    turn: usize,
    timer: Option<(i64, BoxFuture<'static, ()>)>,
    inbox: Option<ChannelName>,
    /// When it last took something and when it last looked, until it parks.
    pace: Option<Pace>,
    ended: bool,
}

/// How a source goes on after it took something.
struct Pace {
    took: Instant,
    looked: Instant,
}

impl Pace {
    fn new() -> Self {
        let now = Instant::now();
        Self { took: now, looked: now }
    }
}

/// What a subscription has in one channel.
pub(super) enum Part {
    Member(MemberPart),
    Broadcast(BroadcastPart),
}

/// Membership in a group.
pub(super) struct MemberPart {
    channel: Arc<Channel>,
    group: Arc<Group>,
    member: Arc<Member>,
    settler: Arc<dyn Settler>,
    lease_ms: Option<i64>,
    /// The end of the log at the last look.
    seen: u64,
}

/// A cursor of its own.
pub(super) struct BroadcastPart {
    channel: Arc<Channel>,
    broadcast: Arc<Broadcast>,
    next: u64,
}

impl MemorySource {
    pub(super) fn new(bus: Arc<Bus>, handle: Arc<Handle>, options: SubscribeOptions) -> Self {
        let window = Arc::new(Window::new(options.max_in_flight));
        Self {
            bus,
            handle,
            options,
            inlet: Arc::default(),
            window,
            parts: Vec::new(),
            turn: 0,
            timer: None,
            inbox: None,
            pace: None,
            ended: false,
        }
    }

    pub(super) fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    pub(super) fn options(&self) -> &SubscribeOptions {
        &self.options
    }

    pub(super) fn window(&self) -> Arc<Window> {
        self.window.clone()
    }

    pub(super) fn inlet(&self) -> Arc<Inlet> {
        self.inlet.clone()
    }

    pub(super) fn push(&mut self, part: Part) {
        self.handle.hold(part.holding());
        self.parts.push(part);
    }

    /// Removes this inbox when the source goes.
    pub(super) fn own_inbox(&mut self, address: ChannelName) {
        self.inbox = Some(address);
    }

    /// Takes part in the channels that exist when a wildcard subscription is opened.
    pub(super) fn join_offered(&mut self) -> Result<()> {
        self.inlet.take().into_iter().try_for_each(|channel| self.join(channel, false))
    }

    fn join(&mut self, channel: Arc<Channel>, late: bool) -> Result<()> {
        if self.parts.iter().any(|part| Arc::ptr_eq(part.channel(), &channel)) {
            return Ok(()); // overlapping patterns deliver once
        }
        self.add(channel, late)
    }

    /// Takes from one part that has something, beginning behind the one that had its turn last.
    fn take(&mut self, now: i64, chunk: &mut Chunk) -> Result<bool> {
        let count = self.parts.len();
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            if self.parts[index].take(&self.window, now, chunk)? {
                self.turn = (index + 1) % count;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Parks everywhere. Returns when to look again by itself.
    fn park(&self, waker: &Waker, now: i64, full: bool) -> Option<i64> {
        self.inlet.park(waker);
        if full {
            self.window.park(waker);
        }
        self.parts.iter().filter_map(|part| part.park(waker, now, full)).min()
    }

    /// Whether something came while parking.
    fn must_look(&self, full: bool, has_more: fn(&Part) -> bool) -> bool {
        self.handle.is_closed()
            || self.inlet.has_offers()
            || (full && self.window.room() > 0)
            || (!full && self.parts.iter().any(has_more))
    }

    /// Whether it is too early to look again, or a short look finds nothing: a whole one takes locks.
    fn keeps_distance(&mut self) -> bool {
        let Some(pace) = &mut self.pace else { return false };
        let now = Instant::now();
        if now - pace.looked < DISTANCE {
            return true;
        }
        pace.looked = now;
        let patient = now - pace.took < PATIENCE;
        patient && !self.must_look(false, Part::seems_ready)
    }

    fn seek_all(&mut self, to: &StartPosition) -> Result<()> {
        if let (StartPosition::After(position), true) = (to, self.parts.len() > 1) {
            let text =
                format!("field `position` is of one channel, the subscription has {}: {position}", self.parts.len());
            return Err(Error::new(ErrorKind::Invalid, "seek", text));
        }
        self.parts.iter_mut().try_for_each(|part| part.seek(to))
    }

    /// Waits for the time, if there is one; true if it has come. Fails where there are no timers.
    fn poll_timer(&mut self, cx: &mut Context<'_>, due: Option<i64>) -> Result<bool> {
        let Some(due) = due else {
            self.timer = None;
            return Ok(false);
        };
        if self.timer.as_ref().is_none_or(|(known, _)| *known != due) {
            // Times outside the calendar never come.
            let time = Timestamp::from_millis(due).unwrap_or(Timestamp::MAX);
            self.bus.clock.check_timers("receive")?;
            self.timer = Some((due, self.bus.clock.sleep_until(time)));
        }
        Ok(match &mut self.timer {
            Some((_, timer)) => Pin::new(timer).poll(cx).is_ready(),
            None => false,
        })
    }
}

impl Source for MemorySource {
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        if self.keeps_distance() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if self.ended || self.handle.is_closed() {
                return Poll::Ready(None);
            }
            if self.inlet.has_offers() {
                // One that cannot be joined is told of; the others are joined all the same.
                let mut failed = None;
                for channel in self.inlet.take() {
                    failed = self.join(channel, true).err().or(failed);
                }
                if let Some(error) = failed {
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let (now, before) = (self.bus.now(), chunk.len());
            match self.take(now, chunk) {
                Ok(true) => {
                    // Whoever awaits a reply sends nothing meanwhile: there is no stream to keep a distance from.
                    let alone = self.inbox.is_some() || chunk.len() == before + 1 && is_request(chunk.last());
                    self.pace = (!alone).then(Pace::new);
                    budget.made_progress();
                    return Poll::Ready(Some(Ok(())));
                }
                Ok(false) => {}
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            self.pace = None;
            let full = self.window.room() == 0;
            let due = self.park(cx.waker(), now, full);
            if self.must_look(full, Part::has_more) {
                continue;
            }
            match self.poll_timer(cx, due) {
                Ok(true) => self.timer = None,
                Ok(false) => return Poll::Pending,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, Result<()>> {
        let result = self.seek_all(&to);
        Box::pin(async move { result })
    }
}

/// Whether this is an event whose publisher waits for a reply.
fn is_request(item: Option<&Item>) -> bool {
    matches!(item, Some(Item::Delivery(delivery)) if delivery.message.meta().reply_to.is_some())
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        for part in self.parts.drain(..) {
            match part {
                Part::Member(part) => part.group.leave(&part.member),
                Part::Broadcast(part) => part.channel.remove_broadcast(&part.broadcast),
            }
        }
        if let Some(inbox) = &self.inbox {
            self.bus.remove(inbox);
        }
    }
}

impl Part {
    fn holding(&self) -> Holding {
        match self {
            Self::Member(part) => Holding::Member(Arc::downgrade(&part.group), Arc::downgrade(&part.member)),
            Self::Broadcast(part) => Holding::Broadcast(Arc::downgrade(&part.channel), Arc::downgrade(&part.broadcast)),
        }
    }

    fn channel(&self) -> &Arc<Channel> {
        match self {
            Self::Member(part) => &part.channel,
            Self::Broadcast(part) => &part.channel,
        }
    }

    fn take(&mut self, window: &Window, now: i64, chunk: &mut Chunk) -> Result<bool> {
        self.channel().touch(now);
        match self {
            Self::Member(part) => Ok(part.take(window.room(), now, chunk)),
            Self::Broadcast(part) => part.take(chunk, now),
        }
    }

    fn park(&self, waker: &Waker, now: i64, full: bool) -> Option<i64> {
        let own = match self {
            // A member that has no room must not be woken in place of one that has, nor for what it cannot take.
            Self::Member(part) if full => part.group.next_deadline(),
            Self::Member(part) => {
                if part.channel.waiting_for_room.load(Ordering::SeqCst) > 0 {
                    part.group.reap();
                    part.channel.announce_room();
                }
                let (due, alone) = part.group.park(&part.member, waker);
                due.into_iter().chain((!alone).then_some(now + FALLBACK_MS)).min()
            }
            Self::Broadcast(part) => {
                part.broadcast.park(waker);
                None
            }
        };
        // Read only now: whoever schedules an event from here on finds somebody parked, and wakes it.
        let scheduled = Some(self.channel().next_due.load(Ordering::SeqCst)).filter(|due| *due != i64::MAX);
        own.into_iter().chain(scheduled).min()
    }

    /// Whether something came since the last look, as far as one load tells.
    fn seems_ready(&self) -> bool {
        match self {
            Self::Member(part) => part.channel.end() != part.seen || part.group.is_dirty(),
            Self::Broadcast(part) => part.channel.end() > part.next,
        }
    }

    fn has_more(&self) -> bool {
        match self {
            Self::Member(part) => part.group.has_more(part.channel.end()),
            Self::Broadcast(part) => part.channel.end() > part.next,
        }
    }

    fn seek(&mut self, to: &StartPosition) -> Result<()> {
        match self {
            Self::Member(part) => part.channel.seek(to, false, |base, cursor| part.group.seek(base, cursor))?,
            Self::Broadcast(part) => part.channel.seek(to, true, |base, cursor| {
                part.next = base;
                part.broadcast.cursor.store(base, Ordering::Release);
                *part.broadcast.place() = Some(cursor);
            })?,
        }
        Ok(())
    }
}

impl MemberPart {
    pub(super) fn new(source: &MemorySource, channel: Arc<Channel>, group: Arc<Group>, member: Arc<Member>) -> Self {
        let options = &source.options;
        let settler = Arc::new(MemorySettler {
            bus: source.bus.clone(),
            channel: channel.clone(),
            group: group.clone(),
            member: member.clone(),
            retry: options.retry,
            lease: options.lease,
            drain: options.drain.clone(),
        });
        let lease_ms = match options.lease.renewal {
            Renewal::Automatic => None,
            _ => Some(i64::try_from(options.lease.duration.as_millis()).unwrap_or(i64::MAX)),
        };
        Self { channel, group, member, settler, lease_ms, seen: 0 }
    }

    fn take(&mut self, room: usize, now: i64, chunk: &mut Chunk) -> bool {
        if room == 0 {
            // Leases that ran out give room; nobody else may be there to notice.
            self.group.expire(now);
            return false;
        }
        // A lease that runs out by itself begins when the event is handed out, so none waits in the buffer.
        let limit = if self.lease_ms.is_some() { 1 } else { CHUNK.min(room) };
        let (end, first) = (self.channel.end(), self.channel.first());
        self.seen = end;
        let want = Want { limit, now, lease_ms: self.lease_ms, end, first };
        let shared = self.channel.readers.load(Ordering::Relaxed) > 1;
        let (taken, lost) = self.group.pull(&self.member, want, &mut |pulled: Pulled| {
            let token = AckToken { index: pulled.seq, generation: pulled.generation };
            let ack = AckHandle::new(self.settler.clone(), token);
            let mut delivery = Delivery::new(pulled.message, ack)
                .attempt(pulled.attempt)
                .at(self.channel.position(pulled.seq))
                .shared(shared);
            delivery.first_seen = pulled.first_seen.and_then(|millis| Timestamp::from_millis(millis).ok());
            chunk.push(delivery);
        });
        if lost > 0 {
            chunk.push_gap(Gap::new(self.channel.name.clone(), Some(lost), GapReason::Retention));
        }
        // What expired or was lost is settled too.
        self.channel.confirms.check();
        taken > 0 || lost > 0
    }
}

impl BroadcastPart {
    pub(super) fn new(channel: Arc<Channel>, broadcast: Arc<Broadcast>) -> Self {
        let next = broadcast.cursor.load(Ordering::Acquire);
        Self { channel, broadcast, next }
    }

    fn take(&mut self, chunk: &mut Chunk, now: i64) -> Result<bool> {
        let end = self.channel.end();
        let before = self.next;
        let buffer = self.broadcast.buffer;
        if self.broadcast.slow == SlowConsumer::Disconnect && end - self.next > buffer {
            let text = format!("disconnected as a slow consumer: {} events behind, {buffer} allowed", end - self.next);
            return Err(Error::new(ErrorKind::Backpressure, "receive", text).on(&self.channel.name));
        }
        let oldest = self.channel.first();
        let wanted = if self.broadcast.slow == SlowConsumer::DropOldest { end.saturating_sub(buffer) } else { 0 };
        let from = oldest.max(wanted).min(end);
        if self.next < from {
            let reason = if wanted >= oldest { GapReason::SlowConsumer } else { GapReason::Retention };
            chunk.push_gap(Gap::new(self.channel.name.clone(), Some(from - self.next), reason));
            self.next = from;
        }
        if self.next == before && self.next == end {
            return Ok(false);
        }
        let limit = CHUNK.min(usize::try_from(buffer).unwrap_or(CHUNK));
        let shared = self.channel.readers.load(Ordering::Relaxed) > 1;
        let mut taken = 0;
        let place = self.broadcast.place().take();
        let mut cursor = place.unwrap_or_else(|| self.channel.reader_at(self.next));
        while taken < limit && self.next < end {
            let Some(entry) = cursor.get(self.next) else { break };
            if entry.expires > now {
                let position = self.channel.position(self.next);
                chunk.push(Delivery::new(entry.message.clone(), AckHandle::none()).at(position).shared(shared));
                taken += 1;
            }
            self.next += 1;
        }
        *self.broadcast.place() = Some(cursor);
        self.broadcast.cursor.store(self.next, Ordering::Release);
        if self.broadcast.slow == SlowConsumer::Block && self.next > before {
            self.channel.announce_room();
        }
        Ok(self.next > before)
    }
}
