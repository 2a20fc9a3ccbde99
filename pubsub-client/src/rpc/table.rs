//! The calls that wait for a reply, and a memory of those that ended.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pubsub_core::{
    Error, ErrorKind, EventId, Message, Result,
    observe::{Level, Observer, Series, Tally, names},
    rpc::{Reply, ReplyBody, StreamControl},
};
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot};

use super::link::{Receive, Word};

/// What a waiting call gets.
pub(super) type Answer = Result<Reply>;

/// How many of what, since the [`EventRpc`](super::EventRpc) was made. No call and no reply is lost from these numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcStats {
    /// Calls that wait now.
    pub pending: usize,
    /// Calls whose deadline passed without a reply.
    pub timeouts: u64,
    /// Replies that came when nobody waited any more: after the deadline, or after the caller had gone.
    pub late: u64,
    /// Second replies to a call that had been answered.
    pub duplicate: u64,
    /// Messages in the inbox that belong to no call of this caller.
    pub foreign: u64,
    /// Replies to calls that waited and that broke the form of a reply; each failed its call.
    pub malformed: u64,
    /// How often the broker told that the inbox may have missed replies.
    pub gaps: u64,
    /// How often an inbox was lost.
    pub inboxes_lost: u64,
}

#[derive(Debug)]
struct Counts {
    timeouts: Tally,
    late: Tally,
    duplicate: Tally,
    foreign: Tally,
    malformed: Tally,
    gaps: Tally,
    inboxes_lost: Tally,
}

impl Counts {
    fn new(series: &Series) -> Self {
        Self {
            timeouts: series.tally(&names::RPC_TIMEOUTS),
            late: series.tally(&names::RPC_LATE),
            duplicate: series.tally(&names::RPC_DUPLICATE),
            foreign: series.tally(&names::RPC_FOREIGN),
            malformed: series.tally(&names::RPC_MALFORMED),
            gaps: series.tally(&names::RPC_GAPS),
            inboxes_lost: series.tally(&names::RPC_INBOXES_LOST),
        }
    }
}

/// The table of calls.
#[derive(Debug)]
pub(super) struct Table {
    calls: Mutex<Calls>,
    max_pending: usize,
    remembered: usize,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Calls {
    slots: HashMap<EventId, Slot>,
    /// The calls that ended, oldest first: what comes for one of them is late or second, not foreign.
    ended: VecDeque<EventId>,
    waiting: usize,
    /// As many, as a metric.
    pending: Level,
}

#[derive(Debug)]
enum Slot {
    /// Its reply has this correlation id, if not the request's own id.
    Waiting(Waiter, Option<String>),
    /// Answered, as far as the caller wanted.
    Answered,
    /// Given up.
    Gone,
}

/// Where the replies of a call go.
#[derive(Debug)]
pub(super) enum Waiter {
    /// The first reply, and no more.
    One(oneshot::Sender<Answer>),
    /// Several.
    Many(Many),
}

/// Where several replies go.
#[derive(Debug)]
pub(super) enum Many {
    /// One reply of each responder, up to the room in the queue.
    Each(mpsc::Sender<Answer>, Vec<SmolStr>),
    /// The items of a stream. One place of the queue is kept free for its end.
    Stream(mpsc::Sender<Answer>),
}

impl Table {
    pub(super) fn new(max_pending: usize, remembered: usize, observer: &Observer) -> Arc<Self> {
        let series = observer.series(&[]);
        let (counts, pending) = (Counts::new(&series), series.level(&names::RPC_PENDING));
        let calls = Calls { pending, ..Calls::default() };
        Arc::new(Self { calls: Mutex::new(calls), max_pending, remembered, counts })
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        // The table is whole at every point where a panic could come from.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call, until the entry is dropped.
    ///
    /// # Errors
    /// `Conflict` if a call with this id waits already, `Backpressure` if too many do.
    pub(super) fn enter(self: &Arc<Self>, id: EventId, conversation: Option<String>, waiter: Waiter) -> Result<Entry> {
        let mut calls = self.lock();
        if calls.waiting >= self.max_pending {
            let text = format!("{} requests wait for a reply already", self.max_pending);
            return Err(Error::new(ErrorKind::Backpressure, "request", text));
        }
        if let Some(Slot::Waiting(..)) = calls.slots.get(&id) {
            let text = format!("a request with the id {id} waits for a reply already");
            return Err(Error::new(ErrorKind::Conflict, "request", text));
        }
        calls.slots.insert(id.clone(), Slot::Waiting(waiter, conversation));
        calls.waiting += 1;
        calls.pending.up();
        Ok(Entry { table: self.clone(), id })
    }

    /// Ends a call if it still waits.
    fn leave(&self, id: &EventId) {
        let mut calls = self.lock();
        if let Some(Slot::Waiting(..)) = calls.slots.get(id) {
            let waiter = calls.end(id, Slot::Gone, self.remembered);
            drop(calls);
            drop(waiter); // wakes whoever it wakes without the lock
        }
    }

    /// Fails every call that waits.
    pub(super) fn fail_all(&self, error: &Error) {
        let mut calls = self.lock();
        let ids: Vec<_> = calls.waiting_ids().collect();
        let waiters: Vec<_> = ids.iter().filter_map(|id| calls.end(id, Slot::Gone, self.remembered)).collect();
        drop(calls);
        for waiter in waiters {
            waiter.finish(Err(error.clone()));
        }
    }

    /// Counts a call that ended at its deadline, if it did.
    pub(super) fn count_timeout(&self, late: bool) {
        self.counts.timeouts.add(u64::from(late));
    }

    fn read(&self, message: &Message) -> Answer {
        let answer = Reply::read(message);
        self.counts.malformed.add(u64::from(answer.is_err()));
        answer
    }

    /// Counts a reply that nobody waits for. The responder of a stream is told to stop.
    #[cold]
    fn refuse(&self, count: &Tally, call: Option<(EventId, &Message)>) -> Option<Word> {
        count.one();
        let (call, message) = call?;
        match Reply::read(message).ok()?.body {
            ReplyBody::Item { control, .. } => Some(Word { to: control?, call, control: StreamControl::Cancel }),
            _ => None,
        }
    }

    /// Counts a reply that a stream had already.
    pub(super) fn count_duplicate(&self) {
        self.counts.duplicate.one();
    }

    pub(super) fn stats(&self) -> RpcStats {
        let counts = &self.counts;
        RpcStats {
            pending: self.lock().waiting,
            timeouts: counts.timeouts.get(),
            late: counts.late.get(),
            duplicate: counts.duplicate.get(),
            foreign: counts.foreign.get(),
            malformed: counts.malformed.get(),
            gaps: counts.gaps.get(),
            inboxes_lost: counts.inboxes_lost.get(),
        }
    }
}

impl Calls {
    fn waiting_ids(&self) -> impl Iterator<Item = EventId> {
        self.slots.iter().filter(|(_, slot)| matches!(slot, Slot::Waiting(..))).map(|(id, _)| id.clone())
    }

    /// Ends a call that waits, remembers how, and forgets the oldest one.
    fn end(&mut self, id: &EventId, how: Slot, remembered: usize) -> Option<Waiter> {
        let Some(Slot::Waiting(waiter, _)) = self.slots.insert(id.clone(), how) else { return None };
        self.waiting -= 1;
        self.pending.down();
        self.ended.push_back(id.clone());
        while self.ended.len() > remembered {
            let Some(oldest) = self.ended.pop_front() else { break };
            // The same id may have been used for another call since.
            if !matches!(self.slots.get(&oldest), Some(Slot::Waiting(..))) {
                self.slots.remove(&oldest);
            }
        }
        Some(waiter)
    }
}

/// What a waiter makes of a reply.
enum Taken {
    /// It waits for more.
    Goes,
    /// It has what it wanted.
    Done,
    /// The same responder had answered.
    Again,
}

impl Many {
    fn take(&mut self, answer: Answer) -> Taken {
        match self {
            Self::Each(queue, seen) => {
                if let Ok(Reply { responder: Some(name), .. }) = &answer {
                    if seen.contains(name) {
                        return Taken::Again;
                    }
                    seen.push(name.clone());
                }
                // The queue has room for as many as are wanted, so what does not fit is not wanted.
                let last = queue.capacity() <= 1;
                let taken = queue.try_send(answer);
                if last || taken.is_err() { Taken::Done } else { Taken::Goes }
            }
            Self::Stream(queue) => {
                let goes_on = matches!(&answer, Ok(reply) if !reply.body.is_last());
                if goes_on && queue.capacity() > 1 {
                    // It has room: this is the only sender.
                    return if queue.try_send(answer).is_ok() { Taken::Goes } else { Taken::Done };
                }
                let end = if goes_on { Err(overrun()) } else { answer };
                let _ = queue.try_send(end); // a reader that is gone needs no end
                Taken::Done
            }
        }
    }
}

impl Waiter {
    /// Gives it its last answer.
    fn finish(self, answer: Answer) {
        match self {
            // A caller that goes at this moment needs no answer.
            Self::One(sender) => drop(sender.send(answer)),
            Self::Many(mut many) => {
                many.take(answer);
            }
        }
    }
}

#[cold]
fn overrun() -> Error {
    Error::new(ErrorKind::Backpressure, "request", "the responder sent more items than there was room for")
}

impl Receive for Table {
    fn receive(&self, message: &Message) -> Option<Word> {
        // What is not even an id is no id of ours.
        let Some(Ok(id)) = Reply::request(message).map(EventId::parse) else {
            return self.refuse(&self.counts.foreign, None);
        };
        let mut calls = self.lock();
        let waiter = match calls.slots.get_mut(&id) {
            None => return self.refuse(&self.counts.foreign, None),
            Some(Slot::Answered) => return self.refuse(&self.counts.duplicate, Some((id, message))),
            Some(Slot::Gone) => return self.refuse(&self.counts.late, Some((id, message))),
            // Whoever knows the id of the request alone does not know enough.
            Some(Slot::Waiting(_, Some(conversation)))
                if Reply::correlation_id(message) != Some(conversation.as_str()) =>
            {
                return self.refuse(&self.counts.foreign, None);
            }
            Some(Slot::Waiting(_, None)) if Reply::correlation_id(message) != Reply::request(message) => {
                return self.refuse(&self.counts.foreign, None);
            }
            Some(Slot::Waiting(Waiter::One(_), _)) => {
                let waiter = calls.end(&id, Slot::Answered, self.remembered);
                drop(calls); // whoever is woken wants it next
                if let Some(waiter) = waiter {
                    waiter.finish(self.read(message));
                }
                return None;
            }
            Some(Slot::Waiting(Waiter::Many(many), _)) => many,
        };
        match waiter.take(self.read(message)) {
            Taken::Goes => {}
            Taken::Again => self.count_duplicate(),
            Taken::Done => {
                let waiter = calls.end(&id, Slot::Answered, self.remembered);
                drop(calls);
                drop(waiter);
            }
        }
        None
    }

    fn gap(&self) {
        self.counts.gaps.one();
    }

    fn lost(&self, error: &Error) {
        self.counts.inboxes_lost.one();
        self.fail_all(error);
    }
}

/// A call in the table. It leaves when this is dropped, whatever became of it.
#[derive(Debug)]
pub(super) struct Entry {
    table: Arc<Table>,
    id: EventId,
}

impl Entry {
    pub(super) fn id(&self) -> &EventId {
        &self.id
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.leave(&self.id);
    }
}
