//! What the hold's source and the deliveries in users' hands share: the table under its lock, and the settler.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

use super::{
    HoldOptions,
    slots::{Entry, Index},
    table::Table,
};
use crate::{
    AckHandle, Clock, Delivery, Error, ErrorKind, Mark, Result,
    driver::{AckToken, BoxFuture, Chunk, Drain, Item, Outcome, RetryPolicy, Settler},
};

/// How many waiting events one poll hands out at most.
const CHUNK: usize = 256;

pub(super) struct Shared {
    table: Mutex<Table>,
    retry: RetryPolicy,
    clock: Clock,
    drain: Drain,
    /// Times are counted from here, by the monotonic clock.
    start: Mark,
}

/// What is left to do once the lock is gone. Under it, nothing of the source inside is settled, and nothing dropped
/// that might run foreign code.
#[derive(Default)]
#[must_use]
struct After {
    settle: Option<(Entry, Outcome)>,
    release: Vec<Entry>,
    /// Lost its purpose.
    idle: Option<Waker>,
    waker: Option<Waker>,
}

impl After {
    /// False if the settlement was refused by the source inside.
    fn run(self) -> bool {
        let settled = self.settle.is_none_or(|(entry, outcome)| entry.ack.settle(outcome));
        for Entry { ack, .. } in self.release {
            // A lost one comes again by itself.
            if ack.is_live() {
                ack.settle(Outcome::Release);
            } else {
                ack.forget();
            }
        }
        if let Some(waker) = self.waker {
            waker.wake();
        }
        settled
    }
}

/// What a poll that found nothing does next.
pub(super) enum Park {
    /// Something came up in the meantime.
    Again,
    /// Wait for a wake-up, or until this time.
    Until(Option<Duration>),
}

impl Shared {
    pub(super) fn new(options: HoldOptions) -> Self {
        let HoldOptions { window, total, retry, clock, drain } = options;
        let start = clock.mark();
        Self { table: Mutex::new(Table::new(window, total)), retry, clock, drain, start }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds this lock, short of a defect in a foreign `is_live`, which changes nothing.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time since the hold began.
    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed(self.start)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_draining()
    }

    /// Hands out what waits and whose time has come. Says whether the window has room.
    pub(super) fn hand_out(self: &Arc<Self>, now: Duration, chunk: &mut Chunk) -> bool {
        let mut after = After::default();
        let mut table = self.table();
        after.idle = table.waker.take();
        if !self.is_draining() {
            table.ripen(now);
            let enough = chunk.len() + CHUNK;
            while chunk.len() < enough
                && let Some(index) = table.next_ready()
            {
                if table.is_lost(index) {
                    after.release.append(&mut table.give_back(index));
                    continue;
                }
                let token = table.lease(index);
                if let Some(entry) = table.entry(index) {
                    chunk.push(self.delivery(entry, token));
                }
            }
        }
        table.pulling = true;
        let room = !table.is_full();
        drop(table);
        after.run();
        room
    }

    fn delivery(self: &Arc<Self>, entry: &Entry, token: AckToken) -> Delivery {
        let settler: Arc<dyn Settler> = Arc::<Self>::clone(self);
        let mut delivery = Delivery::new(Arc::clone(&entry.message), AckHandle::new(settler, token));
        delivery.attempt = entry.attempt;
        delivery.shared = entry.shared;
        delivery.position.clone_from(&entry.position);
        delivery.first_seen = entry.first_seen;
        delivery.fault.clone_from(&entry.fault);
        delivery
    }

    /// Takes in what came from the source, as far as the window has room, and hands it on unless it has to wait.
    /// It is fresh if it was not there before this poll.
    pub(super) fn take_in(self: &Arc<Self>, incoming: &mut Chunk, fresh: bool, chunk: &mut Chunk) {
        let mut after = After::default();
        let (since, hand_out) = (self.clock.mark(), !self.is_draining());
        let mut table = self.table();
        while !table.is_full()
            && let Some(item) = incoming.pop()
        {
            let delivery = match item {
                Item::Delivery(delivery) => delivery,
                item => {
                    chunk.push_item(item);
                    continue;
                }
            };
            let key = table.lane_of(&delivery.message);
            if table.was_given_back(key.as_ref()) {
                after.release.push(Entry::new(0, delivery, since));
                continue;
            }
            if fresh {
                after.release.append(&mut table.forget_lost(key.as_ref()));
            }
            if let Some(token) = table.arrive(delivery, since, hand_out)
                && let Some(entry) = Index::try_from(token.index).ok().and_then(|index| table.entry(index))
            {
                chunk.push(self.delivery(entry, token));
            }
        }
        if incoming.is_empty() {
            table.pulled();
        }
        drop(table);
        after.run();
    }

    /// Puts a poll to sleep that found nothing; `idle` if the source will wake it, too.
    pub(super) fn park(&self, cx: &Context<'_>, idle: bool) -> Park {
        let draining = self.is_draining();
        let mut table = self.table();
        if (!draining && table.next_ready().is_some()) || (!idle && !table.is_full()) {
            return Park::Again;
        }
        table.waker = Some(cx.waker().clone());
        Park::Until(if draining { None } else { table.next_due() })
    }

    /// Gives back what waits, or everything, to the source, in order of arrival.
    pub(super) fn give_back_all(&self, also_out: bool, closed: bool) {
        let mut table = self.table();
        table.closed = closed;
        let waker = table.waker.take();
        let release = table.give_back_all(also_out);
        drop(table);
        After { release, waker, ..After::default() }.run();
    }

    /// The event of a token, unless the token is stale; the settlement is counted then.
    fn find(table: &mut Table, token: AckToken, outcome: Outcome) -> Option<Index> {
        let found = table.find(token);
        // A release takes nothing from anybody: what was taken back is released as it should be.
        if found.is_none() && outcome != Outcome::Release {
            table.stale += 1;
        }
        found
    }

    /// Takes an event out for good.
    fn take(&self, token: AckToken, outcome: Outcome) -> Option<(Entry, Option<Waker>)> {
        let mut table = self.table();
        let was_full = table.is_full();
        let index = Self::find(&mut table, token, outcome)?;
        let entry = table.remove(index)?;
        // Polls sleep for want of room or for want of events; only the former is over now.
        let waker = if was_full { table.waker.take() } else { None };
        Some((entry, waker))
    }

    /// Keeps an event that failed or was released. Says whether its lease was there.
    fn keep(&self, token: AckToken, outcome: Outcome) -> bool {
        let mut table = self.table();
        let Some(index) = Self::find(&mut table, token, outcome) else { return false };
        let lost = table.is_lost(index);
        let mut release = Vec::new();
        if lost || table.closed || self.is_draining() {
            table.stale += u64::from(lost && outcome != Outcome::Release);
            release = table.give_back(index);
        } else {
            let delay = match (outcome, table.entry(index)) {
                (Outcome::Nack(delay), _) => Some(delay),
                (Outcome::Dropped, Some(entry)) => Some(self.retry.delay(entry.message.id(), entry.attempt)),
                _ => None,
            };
            let due =
                delay.filter(|delay| !delay.is_zero()).map(|delay| self.now().saturating_add(whole_millis(delay)));
            table.hold(index, due, delay.is_some().then(|| self.clock.now()));
        }
        let waker = table.waker.take();
        drop(table);
        After { release, waker, ..After::default() }.run();
        !lost
    }
}

fn stale(operation: &'static str) -> Error {
    let message = "the lease of this delivery is gone; the event was taken back, or is with another consumer";
    Error::new(ErrorKind::Conflict, operation, message)
}

/// Rounds up to what clocks can sleep for, so that a timer never fires before what it was set for.
fn whole_millis(delay: Duration) -> Duration {
    let millis = delay.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).map_or(Duration::MAX, Duration::from_millis)
}

impl Settler for Shared {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Ack | Outcome::Reject => self.take(token, outcome).is_some_and(|(entry, waker)| {
                After { settle: Some((entry, outcome)), waker, ..After::default() }.run()
            }),
            Outcome::Nack(_) | Outcome::Dropped | Outcome::Release => self.keep(token, outcome),
        }
    }

    fn is_live(&self, token: AckToken) -> bool {
        let mut table = self.table();
        let Some(index) = table.find(token) else { return false };
        if !table.is_lost(index) {
            return true;
        }
        // Whoever asks lets go of the delivery without a word, so this is the moment to give up its place.
        let after = After { release: table.give_back(index), waker: table.waker.take(), ..After::default() };
        drop(table);
        after.run();
        false
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let gone = || Err(stale("settle"));
            match outcome {
                Outcome::Ack | Outcome::Reject => {
                    let Some((entry, waker)) = self.take(token, outcome) else { return gone() };
                    After { waker, ..After::default() }.run();
                    entry.ack.confirm(outcome).await
                }
                Outcome::Nack(_) | Outcome::Dropped | Outcome::Release if self.keep(token, outcome) => Ok(()),
                Outcome::Nack(_) | Outcome::Dropped | Outcome::Release => gone(),
            }
        })
    }

    fn extend(&self, token: AckToken, duration: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let inside = {
                let table = self.table();
                let entry = table.find(token).and_then(|index| table.entry(index));
                entry.map(|entry| (entry.ack.settler().cloned(), entry.ack.token()))
            };
            match inside {
                Some((Some(settler), token)) => settler.extend(token, duration).await,
                Some((None, _)) => AckHandle::none().extend(duration).await,
                None => Err(stale("extend lease")),
            }
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        // What failed is held here, unsettled: of that the broker is not to know.
        Box::pin(async move {
            let settlers = self.table().settlers.alive();
            let mut outcome = Ok(());
            for settler in settlers {
                outcome = outcome.and(settler.flush().await);
            }
            outcome
        })
    }
}
