//! Events that the server confirms together: its batches for fast ingest, where the stream takes them.
//!
//! A confirmation for each event costs server and client more than the event itself. Events of a batch are confirmed up to
//! a number, and lie in the stream in the batch's order, whatever else arrives. They keep the ids by which the server drops
//! what it has already: a batch that fails is forgotten, and what it has not confirmed is sent again outside of it.
//!
//! There is one batch at a time, of one channel, and only while many events are on their way: a lone one is confirmed by
//! itself. The server tells of every so many events; once fewer than that are unconfirmed, nothing more would come, so the
//! batch is ended, and nothing else goes out until its end is confirmed: what is behind stays behind.

use std::{collections::VecDeque, fmt::Write as _, sync::Arc};

use async_nats::Message as NatsMessage;
use bytes::Bytes;
use pubsub_core::{Result, driver::Receipt};
use tokio::time::Instant;

use super::{
    confirm::{number, read_confirmation},
    connection::Shared,
    outbox::{AGAIN, State},
    post::Post,
    sending::at_once,
    topology::Route,
};

/// How many events the server confirms together, and how many are on their way before a batch is worth it.
const TOGETHER: usize = 64;
/// By what the server knows a reply subject of a batch.
const MARK: &str = ".$FI";
/// What a message of a batch is, in the server's numbers.
const START: u8 = 0;
const APPEND: u8 = 1;
const END: u8 = 3;
/// The server knows no batch of this id (any more): it takes others.
const UNKNOWN_BATCH: u64 = 10_208;
/// It takes none, for reasons that are no event's.
const NO_BATCHES: [u64; 4] = [10_205, 10_206, 10_207, 10_211];

/// A batch that is open.
pub(super) struct Batch {
    route: Arc<Route>,
    /// Replies come to `<this><sequence>.<operation>.$FI`.
    replies: String,
    /// So many are confirmed, from the first one on.
    confirmed: u64,
    /// The numbers of those behind.
    numbers: VecDeque<u64>,
    /// After how many the server tells more; not known before its first answer.
    every: usize,
    /// When its end was sent.
    ended: Option<Instant>,
}

impl Batch {
    fn new(route: Arc<Route>, private: &str, id: &str) -> Self {
        // A gap in it is an error: whatever follows one would be out of order.
        let replies = format!("{private}.{id}.{TOGETHER}.fail.");
        Self { route, replies, confirmed: 0, numbers: VecDeque::with_capacity(1024), every: 0, ended: None }
    }

    fn reply(&self, ending: bool) -> String {
        let mut reply = String::with_capacity(self.replies.len() + 24);
        let sequence = self.confirmed + self.numbers.len() as u64 + 1;
        let operation = if ending {
            END
        } else if sequence == 1 {
            START
        } else {
            APPEND
        };
        let _ = write!(reply, "{}{sequence}.{operation}{MARK}", self.replies); // a string takes whatever there is memory for
        reply
    }

    /// Whether the server has nothing more to tell unless it is given more, or an end.
    fn is_silent(&self) -> bool {
        self.ended.is_none() && self.numbers.len() < self.every
    }
}

impl State {
    /// Where the confirmation of an event is to come to, if it goes out within a batch.
    pub(super) fn reply_within(&mut self, shared: &Shared, post: &Post) -> Option<String> {
        if !post.route.batched || post.options.deliver_at.is_some() || self.unbatched {
            return None; // a schedule lies on a subject of its own
        }
        let begun = self.batch.as_ref().filter(|batch| batch.confirmed > 0 || !batch.numbers.is_empty());
        match begun {
            Some(batch) if batch.route.channel != post.route.channel => return None,
            Some(_) => {}
            None if self.sent.len() < TOGETHER => return None,
            None => {
                self.batches += 1;
                let id = format!("{:x}-{}", shared.outbox.session(), self.batches);
                self.batch = Some(Batch::new(post.route.clone(), &self.private, &id));
            }
        }
        self.batch.as_ref().map(|batch| batch.reply(false))
    }

    /// The event of this number has gone out within the batch.
    pub(super) fn went_within(&mut self, number: u64) {
        if let Some(batch) = &mut self.batch {
            batch.numbers.push_back(number);
        }
    }

    /// Whether an event has to wait for the end of a batch.
    pub(super) fn is_ending(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.ended.is_some())
    }

    /// Ends the batch if the server would be silent otherwise. False if the client does not take it now.
    pub(super) fn end_batch(&mut self) -> bool {
        let (Some(client), Some(batch)) = (&self.client, &mut self.batch) else { return true };
        if !batch.is_silent() {
            return true;
        }
        let subject = batch.route.any_subject();
        match at_once(client.publish_with_reply(subject, batch.reply(true), Bytes::new())) {
            None => return false,
            Some(Ok(())) => batch.ended = Some(Instant::now()),
            Some(Err(_)) => self.break_batch(),
        }
        true
    }

    /// Takes what came to a reply subject of a batch; false if it is none.
    pub(super) fn hear_batch(
        &mut self,
        shared: &Arc<Shared>,
        answer: &NatsMessage,
        done: &mut Vec<(Box<Post>, Result<Receipt>)>,
    ) -> bool {
        let Some(subject) = answer.subject.strip_suffix(MARK) else { return false };
        let Some(batch) = &mut self.batch else { return true };
        // Of one that is forgotten already.
        let Some(place) = subject.strip_prefix(&*batch.replies) else { return true };
        let sequence = place.split('.').next().and_then(|sequence| sequence.parse::<u64>().ok()).unwrap_or(0);
        let text = std::str::from_utf8(&answer.payload).unwrap_or_default();
        let told = |name: &str| number(text, name);
        let ends = told("\"count\":");
        if let Some(confirmed) = ends.or_else(|| told("\"seq\":").filter(|_| text.contains("\"type\":\"ack\""))) {
            batch.every = told("\"msgs\":").and_then(|every| usize::try_from(every).ok()).unwrap_or(batch.every);
            while batch.confirmed < confirmed
                && let Some(number) = batch.numbers.pop_front()
            {
                batch.confirmed += 1;
                let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
                let post = index.and_then(|index| self.sent.get_mut(index)?.take());
                done.extend(post.map(|post| (post, Ok(Receipt::default()))));
            }
            if ends.is_some() {
                self.break_batch();
            }
            return true;
        }
        let code = told("\"err_code\":").unwrap_or(0);
        let blamed = sequence.checked_sub(batch.confirmed + 1).and_then(|index| usize::try_from(index).ok());
        let blamed = blamed.and_then(|index| batch.numbers.get(index).copied());
        self.break_batch();
        self.unbatched |= NO_BATCHES.contains(&code);
        let is_events = !self.unbatched && code != UNKNOWN_BATCH && !text.contains("\"type\":\"gap\"");
        if is_events
            && let Some(number) = blamed
            && let Err(error) = read_confirmation(answer)
        {
            self.refused(shared, number, error, done);
        }
        true
    }

    /// Forgets the batch. What it has not confirmed is sent again, alone.
    pub(super) fn break_batch(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        let mut numbers = batch.numbers.into_iter().peekable();
        self.make_due(|number, _| numbers.next_if_eq(&number).is_some());
    }

    /// Gives up a batch of which nothing was heard for too long.
    pub(super) fn look_at_batch(&mut self, now: Instant) {
        let Some(batch) = &self.batch else { return };
        let late = |since: Instant| now.duration_since(since) > AGAIN;
        let post = |number: &u64| self.sent.get(usize::try_from(number.checked_sub(self.first)?).ok()?)?.as_ref();
        let oldest = batch.numbers.iter().find_map(post).and_then(|post| post.last_sent);
        if batch.ended.is_some_and(late) || oldest.is_some_and(late) {
            self.break_batch();
        }
    }
}
