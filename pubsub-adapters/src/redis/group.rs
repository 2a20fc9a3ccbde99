//! A member of a group: what it holds, and the parts that its tasks share.
//!
//! What is unsettled lies in the stream's list of pending entries. Its owner is the member that has it; `parked` owns what
//! was failed or given back, and a sorted set says when that is due. A member's name carries the length of its lease, so
//! that others know from when on they may take over.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pubsub_core::{
    EventId, GroupName, StartPosition,
    driver::{AckToken, BoxFuture, Lease, Renewal, SubscribeOptions, Subscription},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    channel::Channel,
    connection::Hub,
    follow::{Move, Mover},
    pull::Puller,
    settler::{GroupSettler, tell},
    wire::EntryId,
};
use crate::common::{
    desk::{Desk, Held},
    feed::{Control, Feed},
};

/// A delivery that is out.
#[derive(Debug)]
pub(super) struct Out {
    id: EventId,
    pub(super) attempt: u32,
    pub(super) part: usize,
    pub(super) entry: EntryId,
    /// Until when nobody else takes it over, unless it is renewed.
    pub(super) until: Instant,
    /// Until when its holder has asked for it to be renewed.
    pub(super) extended: Option<Instant>,
    /// The part's count of losses when it went out.
    pub(super) losses: u64,
}

impl Out {
    pub(super) fn new(id: EventId, attempt: u32, part: usize, entry: EntryId, until: Instant) -> Self {
        Self { id, attempt, part, entry, until, extended: None, losses: 0 }
    }
}

impl Held for Out {
    fn id(&self) -> &EventId {
        &self.id
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// One shard of one channel.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) channel: Arc<Channel>,
    pub(super) shard: usize,
    /// The set of what is due.
    pub(super) due: String,
    /// The hash of when events first failed.
    pub(super) failed: String,
    pub(super) ordered: bool,
    /// How often something of an ordered part was lost or given back. What went out before is taken back with it, for
    /// the part is read anew from its first unsettled event on.
    losses: AtomicU64,
    /// Until when an ordered part is this member's, in nanoseconds since it joined.
    held: AtomicU64,
    /// The call by which an ordered part became this member's, or 0: the server refuses what was asked before it.
    pub(super) fence: AtomicU64,
}

impl Part {
    pub(super) fn stream(&self) -> &str {
        &self.channel.streams[self.shard]
    }

    /// How often something of it was lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// Something was lost that went out after so many losses; the same loss is counted once.
    pub(super) fn lose(&self, after: u64) {
        let _ = self.losses.compare_exchange(after, after + 1, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// What the lock of an ordered part says while it is this member's.
    pub(super) fn lock_text(&self, member: &str) -> String {
        if self.ordered { format!("{member} {}", self.fence.load(Ordering::SeqCst)) } else { String::new() }
    }
}

/// One membership of a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) hub: Arc<Hub>,
    pub(super) group: GroupName,
    /// Its name on the server, the same on every channel.
    pub(super) name: String,
    pub(super) lease: Lease,
    joined: Instant,
    pub(super) window: usize,
    pub(super) parts: Vec<Part>,
    pub(super) desk: Desk<Out>,
    pub(super) feed: Feed,
    /// There is something to do for the reading task.
    pub(super) wake: Notify,
    /// When the next of what was failed here is due.
    due: Mutex<Option<Instant>>,
    /// Is cancelled when nothing is out any more, and nothing will be.
    pub(super) done: CancellationToken,
}

impl Member {
    /// Starts the tasks of a membership.
    pub(super) fn join(
        hub: &Arc<Hub>,
        group: GroupName,
        channels: Vec<Arc<Channel>>,
        options: SubscribeOptions,
    ) -> Subscription {
        let (moves, requests) = mpsc::unbounded_channel();
        let (feed, source) = Feed::new(GroupControl(Mover(moves)));
        let parts = channels.into_iter().flat_map(|channel| {
            let group = group.clone();
            (0..channel.streams.len()).map(move |shard| Part {
                due: channel.keys.due(&group, shard),
                failed: channel.keys.failed(&group, shard),
                ordered: channel.is_ordered(),
                channel: channel.clone(),
                shard,
                losses: AtomicU64::new(0),
                held: AtomicU64::new(0),
                fence: AtomicU64::new(0),
            })
        });
        let lease = Lease { duration: options.lease.duration.max(Duration::from_millis(10)), ..options.lease };
        let name = format!("c{}-{}-{}", lease.duration.as_millis(), EventId::random(), hub.next_member());
        let member = Arc::new(Self {
            hub: hub.clone(),
            name,
            lease,
            joined: Instant::now(),
            window: options.max_in_flight,
            parts: parts.collect(),
            group,
            desk: Desk::new(options.retry, options.drain),
            feed,
            wake: Notify::new(),
            due: Mutex::new(None),
            done: CancellationToken::new(),
        });
        let settler = Arc::new(GroupSettler(member.clone()));
        hub.work.spawn(tell(member.clone()));
        hub.work.spawn(Puller::new(member, settler, requests).pull());
        Subscription::new(source)
    }

    /// Whether the adapter renews leases.
    pub(super) fn renews(&self) -> bool {
        self.lease.renewal == Renewal::Automatic
    }

    /// Until when a delivery that was asked for at this time is nobody else's.
    pub(super) fn until(&self, asked: Instant) -> Instant {
        asked + self.lease.duration
    }

    /// Notes that something is due at this time.
    pub(super) fn note_due(&self, time: Instant) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.is_none_or(|due| time < due) {
            *due = Some(time);
            drop(due);
            self.wake.notify_one();
        }
    }

    /// When the next is due.
    pub(super) fn peek_due(&self) -> Option<Instant> {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next is due; taken out if that is now.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let next = *due;
        if next.is_some_and(|next| next <= now) {
            *due = None;
        }
        next
    }

    /// Whether nobody else may have a delivery, whether that is known here or not.
    pub(super) fn is_held(&self, out: &Out, now: Instant) -> bool {
        let Some(part) = self.parts.get(out.part).filter(|_| out.until > now) else { return false };
        !part.ordered || part.losses() == out.losses && part.held.load(Ordering::SeqCst) > self.since(now)
    }

    /// Notes until when an ordered part is this member's.
    pub(super) fn hold_part(&self, part: &Part, until: Option<Instant>) {
        part.held.store(until.map_or(0, |until| self.since(until)), Ordering::SeqCst);
    }

    /// Whether an ordered part is this member's by the clock.
    pub(super) fn holds_part(&self, part: &Part, now: Instant) -> bool {
        part.held.load(Ordering::SeqCst) > self.since(now)
    }

    fn since(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.joined).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes a delivery back whose lease has run out.
    pub(super) fn expire(&self, token: AckToken) {
        if let Some(out) = self.desk.take(token) {
            self.expired(&out);
        }
    }

    /// Sees to it that what has run out comes again.
    pub(super) fn expired(&self, out: &Out) {
        if let Some(part) = self.parts.get(out.part).filter(|part| part.ordered) {
            part.lose(out.losses);
        }
        self.wake.notify_one();
    }

    /// Whether nothing more is handed out: the subscription is gone, or the adapter closes.
    pub(super) fn is_leaving(&self) -> bool {
        self.feed.gone().is_cancelled() || self.hub.closing.is_cancelled()
    }

    /// Waits until nothing more is handed out. Cancel safe.
    pub(super) async fn leaving(&self) {
        tokio::select! {
            () = self.feed.gone().cancelled() => {}
            () = self.hub.closing.cancelled() => {}
        }
    }
}

/// Moves the group.
struct GroupControl(Mover);

impl Control for GroupControl {
    fn seek(&mut self, to: StartPosition) -> BoxFuture<'_, pubsub_core::Result<()>> {
        self.0.seek(to)
    }
}

/// A request to move the group, for the reading task.
pub(super) type Request = Move;

/// Answers a request; whoever asked may be gone.
pub(super) fn answer(done: oneshot::Sender<pubsub_core::Result<()>>, outcome: pubsub_core::Result<()>) {
    let _ = done.send(outcome);
}
