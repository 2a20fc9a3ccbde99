//! The outbox: one task hands events to the client in their order, keeps those that are not confirmed, sends them again
//! after a broken connection, and tells their tickets.
//!
//! Confirmations come to one private subject, with a number as its last token. A durable event's confirmation is the
//! stream's. An ephemeral event has none of its own: behind each bundle of them goes a message to ourselves, and once
//! that is back, the server has seen what went before it. The same message proves that settlements arrived.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, HeaderValue, Message as NatsMessage, Subscriber, connection::State as ConnectionState,
    header::NATS_MESSAGE_ID,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, poll};
use pubsub_core::{Error, ErrorKind, Message, Result, driver::Receipt};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    confirm::read_confirmation,
    connection::Shared,
    error,
    history::position,
    post::{Need, Post, Stage},
    publisher::{Encoded, encode},
    topology::Route,
    wire::HeaderNames,
};
use crate::common::ledger::Ledger;

/// How many events may be on their way.
pub(super) const WINDOW: u32 = 2048;
/// After so long without a confirmation on a living connection an event is sent again.
const AGAIN: Duration = Duration::from_secs(3);
/// How long the client may take to accept a message before we look around.
const PATIENCE: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(50);
const BUNDLE: usize = 256;

enum Job {
    Post(Box<Post>),
    Echo(oneshot::Sender<()>),
    /// A stream was made anew, or could not be.
    Revived(Need, Result<()>),
}

/// The way into the task.
pub(super) struct Outbox {
    queue: mpsc::UnboundedSender<Job>,
    pub(super) room: Arc<Semaphore>,
    pub(super) ledger: Ledger,
    pub(super) headers: HeaderNames,
    max_payload: AtomicUsize,
    /// Told apart from others for as long as the server remembers ids, which is short: so it is short.
    session: u64,
    count: AtomicU64,
}

impl Outbox {
    pub(super) fn new() -> (Self, Jobs) {
        let (queue, jobs) = mpsc::unbounded_channel();
        let binding =
            pubsub_core::wire::attributes::Binding::new("ce-", pubsub_core::wire::attributes::HeaderText::Ascii);
        let outbox = Self {
            queue,
            room: Arc::new(Semaphore::new(WINDOW as usize)),
            ledger: Ledger::default(),
            headers: HeaderNames::new(&binding),
            max_payload: AtomicUsize::new(0),
            session: RandomState::new().build_hasher().finish(),
            count: AtomicU64::new(0),
        };
        (outbox, Jobs(jobs))
    }

    /// The server's limit, once it is known.
    pub(super) fn max_payload(&self) -> Option<usize> {
        Some(self.max_payload.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// By what the server knows an event that it has already. Where the channel does not drop second events of an id,
    /// only what we send again ourselves is dropped.
    pub(super) fn dedup_id(&self, route: &Route, message: &Message) -> HeaderValue {
        if route.policy.dedup_window.is_some() {
            return message.id().to_string().into();
        }
        format!("{:016x}{:x}", self.session, self.count.fetch_add(1, Ordering::Relaxed)).into()
    }

    pub(super) fn put(&self, post: Box<Post>) -> Result<(), ()> {
        self.queue.send(Job::Post(post)).map_err(|_| ())
    }

    /// Says that a stream was made anew, or why it could not be.
    pub(super) fn tell_revived(&self, need: Need, outcome: Result<()>) {
        // Without the task that takes it, nothing is held either.
        let _ = self.queue.send(Job::Revived(need, outcome));
    }

    /// Waits until the server has seen everything that was sent before. False if the connection broke meanwhile.
    pub(super) async fn echo(&self, within: Duration) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.queue.send(Job::Echo(sender)).is_ok() && matches!(timeout(within, receiver).await, Ok(Ok(())))
    }
}

/// The task's end of the queue.
pub(super) struct Jobs(mpsc::UnboundedReceiver<Job>);

/// What waits for a message to ourselves.
struct Echo {
    number: u64,
    #[allow(clippy::vec_box, reason = "they came in boxes")]
    posts: Vec<Box<Post>>,
    askers: Vec<oneshot::Sender<()>>,
    sent: Instant,
}

pub(super) struct State {
    pub(super) shared: Arc<Shared>,
    client: Client,
    private: String,
    waiting: VecDeque<Job>,
    /// Unconfirmed events by number; those that are through are taken out.
    pub(super) sent: VecDeque<Option<Box<Post>>>,
    pub(super) first: u64,
    /// None before this number is due.
    pub(super) due: Option<u64>,
    /// What is being made anew.
    pub(super) reviving: Vec<Need>,
    echoes: VecDeque<Echo>,
    next_echo: u64,
    pub(super) up: bool,
}

/// The task.
pub(super) async fn run(shared: Arc<Shared>, jobs: Jobs) {
    let Jobs(mut jobs) = jobs;
    let mut waiting = VecDeque::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut link = shared.link.subscribe();
    // Until there is a client, events wait for their time to be over.
    let client = loop {
        if let Some(client) = link.borrow_and_update().client().cloned() {
            break client;
        }
        tokio::select! {
            changed = link.changed() => if changed.is_err() { return },
            job = jobs.recv() => match job {
                Some(job) => waiting.push_back(job),
                None => return,
            },
            _ = tick.tick() => expire_waiting(&mut waiting),
        }
    };
    let private = client.new_inbox();
    let Ok(mut answers) = client.subscribe(format!("{private}.*")).await else { return };
    shared.outbox.max_payload.store(client.server_info().max_payload, Ordering::Relaxed);
    let (first, next_echo) = (1, 1);
    let up = link.borrow_and_update().up;
    let mut state = State {
        shared: shared.clone(),
        client,
        private,
        waiting,
        sent: VecDeque::new(),
        first,
        due: None,
        reviving: Vec::new(),
        echoes: VecDeque::new(),
        next_echo,
        up,
    };
    let mut epoch = link.borrow().epoch;
    let mut taken = Vec::with_capacity(BUNDLE);
    loop {
        // What is new comes behind what is to be sent again.
        if state.send_due().await {
            state.send_waiting().await;
        }
        tokio::select! {
            biased;
            answer = answers.next() => match answer {
                Some(answer) => state.hear_all(&answer, &mut answers),
                None => break,
            },
            changed = link.changed() => {
                if changed.is_err() {
                    break;
                }
                let now = link.borrow_and_update().clone();
                state.up = now.up;
                if !now.up || now.epoch != epoch {
                    state.lost_connection();
                }
                if now.up && now.epoch != epoch {
                    epoch = now.epoch;
                    // The client tells of it a moment before it is so.
                    while state.client.connection_state() != ConnectionState::Connected && shared.link.borrow().up {
                        sleep(Duration::from_millis(1)).await;
                    }
                    shared.outbox.max_payload.store(state.client.server_info().max_payload, Ordering::Relaxed);
                    state.make_due(|_| true);
                }
            }
            count = jobs.recv_many(&mut taken, BUNDLE) => {
                if count == 0 {
                    break;
                }
                for job in taken.drain(..) {
                    match job {
                        Job::Revived(need, outcome) => state.revived(&need, &outcome),
                        job => state.waiting.push_back(job),
                    }
                }
            }
            _ = tick.tick() => state.look_at_clock(),
        }
    }
    state.end();
}

fn expire_waiting(waiting: &mut VecDeque<Job>) {
    let now = Instant::now();
    let due = |job: &Job| matches!(job, Job::Post(post) if post.deadline <= now);
    if !waiting.iter().any(due) {
        return;
    }
    for job in std::mem::take(waiting) {
        match job {
            Job::Post(post) if post.deadline <= now => {
                post.give_up(ErrorKind::Unavailable, "there was no connection to the server in time");
            }
            job => waiting.push_back(job),
        }
    }
}

impl State {
    /// Hands over what waits, as far as the client takes it.
    async fn send_waiting(&mut self) {
        let mut bundle = Vec::new();
        let mut askers = Vec::new();
        let mut count = 0;
        while self.up && count < BUNDLE {
            count += 1;
            match self.waiting.pop_front() {
                Some(Job::Echo(asker)) => askers.push(asker),
                Some(Job::Revived(need, outcome)) => self.revived(&need, &outcome),
                Some(Job::Post(mut post)) if post.confirmed && self.is_reviving(&post) => {
                    post.stage = Stage::Held;
                    self.sent.push_back(Some(post));
                }
                Some(Job::Post(mut post)) => {
                    let number = self.first + self.sent.len() as u64;
                    match self.hand_over(&mut post, number).await {
                        Ok(true) if post.confirmed => self.sent.push_back(Some(post)),
                        Ok(true) => bundle.push(post),
                        Ok(false) => {
                            self.waiting.push_front(Job::Post(post));
                            break;
                        }
                        Err(error) => post.finish(Err(error)),
                    }
                }
                None => break,
            }
        }
        if bundle.is_empty() && askers.is_empty() {
            return;
        }
        let number = self.next_echo;
        self.next_echo += 1;
        let subject = format!("{}.e{number}", self.private);
        let sent = timeout(PATIENCE, self.client.publish(subject, Bytes::new())).await;
        self.echoes.push_back(Echo { number, posts: bundle, askers, sent: Instant::now() });
        if !matches!(sent, Ok(Ok(()))) {
            self.lost_connection();
        }
    }

    /// Gives an event to the client. False if it does not take it now.
    pub(super) async fn hand_over(&mut self, post: &mut Post, number: u64) -> Result<bool> {
        // What the client takes now it would send before those that are to be sent again.
        if self.client.connection_state() != ConnectionState::Connected {
            return Ok(false);
        }
        let encoded = match post.encoded.take() {
            Some(encoded) => encoded,
            None => encode(&self.shared, &post.route, &post.message, &post.options)?,
        };
        let Encoded { subject, mut headers, body } = encoded;
        let accepted = if post.confirmed {
            if let Some(id) = &post.dedup {
                headers.insert(NATS_MESSAGE_ID, id.clone());
            }
            let reply = format!("{}.{number}", self.private);
            accept(self.client.publish_with_reply_and_headers(subject, reply, headers, body)).await
        } else if headers.is_empty() {
            accept(self.client.publish(subject, body)).await
        } else {
            accept(self.client.publish_with_headers(subject, headers, body)).await
        };
        match accepted {
            None => Ok(false),
            Some(Ok(())) => {
                let now = Instant::now();
                post.first_sent.get_or_insert(now);
                post.last_sent = Some(now);
                Ok(true)
            }
            Some(Err(cause)) => Err(match cause.kind() {
                async_nats::PublishErrorKind::MaxPayloadExceeded => {
                    Error::new(ErrorKind::TooLarge, "publish", "the event is larger than the server allows")
                        .because(cause)
                }
                _ => error::client("publish", cause),
            }),
        }
    }

    fn hear_all(&mut self, first: &NatsMessage, answers: &mut Subscriber) {
        self.hear(first);
        for _ in 0..BUNDLE {
            match answers.next().now_or_never() {
                Some(Some(answer)) => self.hear(&answer),
                _ => break,
            }
        }
        self.drop_done();
    }

    fn drop_done(&mut self) {
        while matches!(self.sent.front(), Some(None)) {
            self.sent.pop_front();
            self.first += 1;
        }
    }

    fn hear(&mut self, answer: &NatsMessage) {
        let Some(token) = answer.subject.as_str().rsplit('.').next() else { return };
        if let Some(number) = token.strip_prefix('e') {
            let Ok(number) = number.parse::<u64>() else { return };
            while self.echoes.front().is_some_and(|echo| echo.number <= number) {
                let Some(echo) = self.echoes.pop_front() else { break };
                echo.posts.into_iter().for_each(|post| post.finish(Ok(Receipt::default())));
                for asker in echo.askers {
                    let _ = asker.send(());
                }
            }
            return;
        }
        let index = token.parse::<u64>().ok().and_then(|number| number.checked_sub(self.first));
        let Some(slot) = index.and_then(|index| self.sent.get_mut(usize::try_from(index).ok()?)) else { return };
        let Some(post) = slot.take() else { return };
        match read_confirmation(answer) {
            Ok((sequence, duplicate)) => {
                let receipt = match post.route.born {
                    0 => Receipt::default(),
                    born => Receipt::at(position(sequence, born)),
                };
                post.finish(Ok(if duplicate { receipt.duplicate() } else { receipt }));
            }
            // One that was sent twice is refused twice.
            Err(error) if error.kind() == ErrorKind::NotFound && post.stage != Stage::Sent => *slot = Some(post),
            Err(error) if error.kind() == ErrorKind::NotFound && !post.revived => {
                // It keeps its place.
                let post = slot.insert(post);
                post.revived = true;
                post.stage = Stage::Held;
                let (need, route) = (post.need(), post.route.clone());
                self.revive(need, route);
            }
            // A server that has just started may not have its streams ready.
            Err(error) if error.kind() == ErrorKind::Unavailable && post.may_go_again() => *slot = Some(post),
            Err(error) => post.finish(Err(error)),
        }
    }

    /// What nothing confirms may or may not have arrived.
    fn lost_connection(&mut self) {
        for echo in self.echoes.drain(..) {
            for post in echo.posts {
                post.give_up(ErrorKind::Unavailable, "the connection broke before the server had confirmed the event");
            }
        }
    }

    fn look_at_clock(&mut self) {
        expire_waiting(&mut self.waiting);
        let now = Instant::now();
        for slot in &mut self.sent {
            if let Some(post) = slot.take_if(|post| post.deadline <= now) {
                post.give_up(ErrorKind::Timeout, "the server did not confirm the event in time");
            }
        }
        // No answer may come any more that would do it.
        self.drop_done();
        let late = |echo: &Echo| {
            now.duration_since(echo.sent) > AGAIN * 2 || echo.posts.iter().any(|post| post.deadline <= now)
        };
        if self.echoes.front().is_some_and(late)
            && let Some(echo) = self.echoes.pop_front()
        {
            for post in echo.posts {
                post.give_up(ErrorKind::Timeout, "the server did not confirm the event in time");
            }
        }
        if self.up {
            self.make_due(|post| post.last_sent.is_none_or(|last| now.duration_since(last) > AGAIN));
        }
    }

    fn end(&mut self) {
        self.lost_connection();
        for post in self.sent.drain(..).flatten() {
            post.give_up(ErrorKind::Closed, "the adapter was closed before the server had confirmed the event");
        }
        for job in self.waiting.drain(..) {
            if let Job::Post(post) = job {
                post.give_up(ErrorKind::Closed, "the adapter is closed");
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits a moment for the client to take a message; `None` if it does not.
async fn accept<E>(publish: impl Future<Output = Result<(), E>>) -> Option<Result<(), E>> {
    tokio::pin!(publish);
    if let std::task::Poll::Ready(outcome) = poll!(publish.as_mut()) {
        return Some(outcome);
    }
    timeout(PATIENCE, publish).await.ok()
}
