//! Settlements of a group's deliveries, and their leases.
//!
//! A lease is the server's `ack_wait`, which all members of a group share. What a member holds longer is renewed for it
//! at a third of that; what it may hold only shorter is given back when its time is over. After a broken connection the
//! leases go on until the server's own time is over; nothing is settled after that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::Subject;
use bytes::Bytes;
use pubsub_core::{
    EventId, GroupName, Result,
    driver::{AckToken, BoxFuture, Outcome, Renewal, Settler, SubscribeOptions, stale},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use super::{
    connection::Shared,
    error,
    gauge::Slot,
    renewal::renewing,
    telling::{Bundle, Telling, Told},
};
use crate::common::{
    desk::{Desk, Held},
    feed::Feed,
};

/// How long the server may take to apply settlements.
pub(super) const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// A delivery that is out.
pub(super) struct Item {
    pub(super) id: EventId,
    pub(super) attempt: u32,
    pub(super) sequence: u64,
    pub(super) reply: Subject,
    /// The consumer, in its present life.
    pub(super) consumer: Arc<str>,
    /// The server's lease, counted from `renewed`.
    pub(super) ack_wait: Duration,
    pub(super) renewed: Instant,
    /// When the member's own lease ends; never, where it is renewed automatically.
    pub(super) until: Option<Instant>,
    /// Which place of the group it was delivered at.
    pub(super) moves: u64,
    /// Its lease ran out; the server is told only if it would find out much later.
    pub(super) lapsed: bool,
    pub(super) slot: Option<Slot>,
}

impl Item {
    #[allow(clippy::too_many_arguments, reason = "the fields of one delivery")]
    pub(super) fn new(
        id: EventId,
        attempt: u32,
        sequence: u64,
        reply: Subject,
        consumer: Arc<str>,
        ack_wait: Duration,
        renewed: Instant,
        until: Option<Instant>,
        moves: u64,
        slot: Slot,
    ) -> Self {
        Self {
            id,
            attempt,
            sequence,
            reply,
            consumer,
            ack_wait,
            renewed,
            until,
            moves,
            lapsed: false,
            slot: Some(slot),
        }
    }

    /// When the server's lease is over; a little earlier, for it began when the server sent the event.
    pub(super) fn servers_end(&self) -> Instant {
        self.renewed + self.ack_wait - (self.ack_wait / 16).min(Duration::from_millis(50))
    }

    fn has_lapsed(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now) || self.servers_end() <= now
    }
}

impl Held for Item {
    fn id(&self) -> &EventId {
        &self.id
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// Whether a reader has let a lease run out. Events are asked for only when it has taken all that there are, so that a
/// reader that stands still does not get the same ones again and again.
#[derive(Default)]
pub(super) struct Behind(AtomicBool);

impl Behind {
    fn fall(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether to wait for a reader for whom so many events lie ready. One that has taken all has caught up.
    fn waits(&self, ready: usize) -> bool {
        if ready == 0 {
            self.0.store(false, Ordering::Release);
        }
        self.0.load(Ordering::Acquire)
    }
}

/// What the consumers of one subscription share.
pub(super) struct GroupSub {
    pub(super) shared: Arc<Shared>,
    pub(super) options: SubscribeOptions,
    pub(super) group: GroupName,
    pub(super) feed: Feed,
    pub(super) desk: Desk<Item>,
    /// The shortest `ack_wait` of its consumers, in milliseconds.
    pub(super) shortest: AtomicU64,
    /// Whether a lease that its reader holds has run out.
    pub(super) behind: Behind,
    /// How many consumers it reads.
    pub(super) parts: AtomicUsize,
    /// How many tasks may still give something back.
    pub(super) holders: AtomicUsize,
    /// How many of them are being restored.
    pub(super) recovering: AtomicUsize,
    /// Grows with each seek, twice: what was delivered before is void, and while it is odd, nothing is opened.
    pub(super) moves: AtomicU64,
    pub(super) moved: Notify,
}

impl GroupSub {
    pub(super) fn is_manual(&self) -> bool {
        self.options.lease.renewal != Renewal::Automatic
    }

    /// A delivery was not settled within its lease.
    pub(super) fn fall_behind(&self) {
        if self.is_manual() {
            self.behind.fall();
        }
    }

    /// Whether no events are asked for until its reader has taken what there is.
    pub(super) fn waits_for_reader(&self) -> bool {
        self.behind.waits(self.feed.len())
    }

    /// Whether the subscription is over.
    pub(super) fn is_over(&self) -> bool {
        self.feed.gone().is_cancelled() || self.shared.closing.is_cancelled()
    }

    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.feed.gone().cancelled() => {}
            () = self.shared.closing.cancelled() => {}
        }
    }

    /// The present place: how often the group was moved here.
    pub(super) fn place(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Begins to move the group, until what is returned is dropped.
    pub(super) fn begin_move(self: &Arc<Self>) -> Moving {
        self.moves.fetch_add(1, Ordering::AcqRel);
        Moving(self.clone())
    }

    /// How often leases are looked at.
    pub(super) fn period(&self) -> Duration {
        let shortest = Duration::from_millis(self.shortest.load(Ordering::Relaxed));
        (self.options.lease.duration.min(shortest) / 8).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Keeps the settling task there until what is returned is dropped.
    pub(super) fn hold(self: &Arc<Self>) -> Holder {
        self.holders.fetch_add(1, Ordering::AcqRel);
        Holder(self.clone())
    }

    /// What the server says of settlements, or that the adapter was closed before: nobody tells it of them after that.
    pub(super) async fn unless_killed(&self, told: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            biased;
            told = told => told,
            () = self.shared.kill.cancelled() => Err(error::closed("settle").perhaps_applied()),
        }
    }

    pub(super) fn is_live_at(&self, item: &Item, now: Instant) -> bool {
        let void = item.slot.as_ref().is_some_and(Slot::is_void);
        !void && item.moves == self.moves.load(Ordering::Acquire) && !item.has_lapsed(now)
    }

    /// Takes back a delivery whose lease is over.
    fn lapse(&self, token: AckToken) {
        if let Some(mut item) = self.desk.take(token) {
            item.lapsed = true;
            self.fall_behind();
            if item.moves == self.moves.load(Ordering::Acquire) {
                item.slot.iter().for_each(Slot::lose);
                // Of those that another one's loss voids, no handler has failed.
                let own = item.has_lapsed(Instant::now());
                self.desk.push(item, if own { Outcome::Nack(Duration::ZERO) } else { Outcome::Release });
            }
        }
    }
}

/// A group that is being moved.
pub(super) struct Moving(Arc<GroupSub>);

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.moves.fetch_add(1, Ordering::AcqRel);
        self.0.moved.notify_waiters();
    }
}

/// A task that may still give something back.
pub(super) struct Holder(Arc<GroupSub>);

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The settler of a subscription.
pub(super) struct GroupSettler(pub(super) Arc<GroupSub>);

impl Settler for GroupSettler {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        let now = Instant::now();
        let leaves = outcome == Outcome::Release && self.0.is_over();
        let settled = self.0.desk.settle_if(token, outcome, |item| {
            let live = self.0.is_live_at(item, now);
            if live && leaves {
                // Retention may remove it on its way back.
                self.0.shared.orphans.note(&item.consumer, item.sequence);
            }
            live
        });
        if settled == Some(false) {
            self.0.lapse(token);
        }
        settled == Some(true)
    }

    fn is_live(&self, token: AckToken) -> bool {
        let now = Instant::now();
        match self.0.desk.with(token, |item| self.0.is_live_at(item, now)) {
            Some(true) => true,
            Some(false) => {
                self.0.lapse(token);
                false
            }
            None => false,
        }
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.is_live(token);
            self.0.unless_killed(self.0.desk.confirm(token, outcome)).await
        })
    }

    fn extend(&self, token: AckToken, duration: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if !self.is_live(token) {
                return Err(stale("extend lease"));
            }
            let manual = self.0.is_manual();
            let reply = self.0.desk.with(token, |item| {
                if manual {
                    item.until = Some(Instant::now() + duration.min(Duration::from_secs(86_400 * 365)));
                }
                item.reply.clone()
            });
            let Some(reply) = reply else { return Err(stale("extend lease")) };
            let (client, _) = self.0.shared.connected("extend lease", SEEN_WITHIN).await?;
            let asked = Instant::now();
            client.publish(reply, PROGRESS).await.map_err(|cause| error::client("extend lease", cause))?;
            let renewed = self.0.desk.with(token, |item| item.renewed = item.renewed.max(asked));
            renewed.ok_or_else(|| stale("extend lease"))
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.0.unless_killed(self.0.desk.flush()))
    }
}

const PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// The task of a subscription that tells the server of settlements and renews leases.
pub(super) async fn run(sub: Arc<GroupSub>) {
    let mut next = Instant::now();
    let mut told = Telling::default();
    loop {
        tokio::select! {
            biased;
            answer = told.answer(), if !told.is_idle() => renewing(&sub, told.take(&sub, answer)).await,
            batch = sub.desk.next_batch(), if told.is_idle() => renewing(&sub, told.begin(&sub, batch)).await,
            // While answers are on their way, one question for many is enough.
            batch = sub.desk.next_bundle(), if told.has_room() => renewing(&sub, told.begin(&sub, batch)).await,
            () = sleep_until(next) => {}
            () = sub.over() => break,
        }
        // Asked here, so that settlements without a pause do not keep leases from being renewed.
        if next <= Instant::now() {
            renew(&sub).await;
            next = Instant::now() + sub.period();
        }
        if sub.is_over() {
            break;
        }
    }
    told.finish(&sub).await;
    // What is in somebody's hands may still be settled, unless the adapter closes.
    let mut looked = Instant::now();
    loop {
        let batch = sub.desk.take_batch();
        if !batch.is_empty() {
            tell(&sub, batch).await;
            continue;
        }
        let ended = sub.parts.load(Ordering::Acquire) == 0 && sub.holders.load(Ordering::Acquire) == 0;
        if ended && (sub.desk.len() == 0 || sub.shared.closing.is_cancelled()) {
            // One more look: what was pushed in between is in the queue by now.
            let batch = sub.desk.take_batch();
            if batch.is_empty() {
                return;
            }
            tell(&sub, batch).await;
            continue;
        }
        if looked.elapsed() > Duration::from_millis(20) {
            looked = Instant::now();
            renew(&sub).await;
        }
        sleep(Duration::from_millis(2)).await;
    }
}

async fn tell(sub: &GroupSub, batch: Vec<(Item, Outcome)>) {
    Bundle::new(batch).conclude(sub, Told::Again).await;
}

/// Renews what is held on, and takes back what is over.
pub(super) async fn renew(sub: &GroupSub) {
    let link = sub.shared.link.borrow().clone();
    let (up, now) = (link.up, Instant::now());
    let (mut due, mut over) = (Vec::new(), Vec::new());
    sub.desk.for_each(|token, item| {
        if !sub.is_live_at(item, now) {
            over.push(token);
        } else if up
            && now.duration_since(item.renewed) >= item.ack_wait / 3
            && item.until.is_none_or(|until| until > item.servers_end())
        {
            item.renewed = now;
            due.push(item.reply.clone());
        }
    });
    over.into_iter().for_each(|token| sub.lapse(token));
    let Some(client) = link.client() else { return };
    for reply in due {
        if client.publish(reply, PROGRESS).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_taken_all_has_caught_up() {
        let behind = Behind::default();
        assert!(!behind.waits(5));
        behind.fall();
        assert!(behind.waits(5) && behind.waits(1) && !behind.waits(0));
        assert!(!behind.waits(5), "only until it has caught up");
    }
}
