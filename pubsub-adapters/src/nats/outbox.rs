//! The outbox: hands events to the client in their order, keeps those that are not confirmed, sends them again after a
//! broken connection, and tells their tickets.
//!
//! Whoever publishes hands its event to the client itself, as long as nothing is before it. Everything else is done by one
//! task: what has to wait, what goes out again, and answers.
//!
//! Confirmations come to one private subject, with a number as its last token. A durable event's confirmation is the
//! stream's, or that of the [batch](super::batch) in which it goes out. An ephemeral event has none of its own: behind each
//! bundle of them goes a message to ourselves, and once that is back, the server has seen what went before it. The same
//! message proves that settlements arrived.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, HeaderValue, Message as NatsMessage, Subscriber, connection::State as ConnectionState};
use futures_util::{FutureExt, StreamExt};
use pubsub_core::{Error, ErrorKind, Result, driver::Receipt};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    task::unconstrained,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    batch::Batch,
    confirm::read_confirmation,
    connection::{Link, Shared},
    history::position,
    post::{Need, Post, Stage},
    wire::HeaderNames,
};
use crate::common::ledger::Ledger;

/// How many events may be on their way.
pub(super) const WINDOW: u32 = 2048;
/// After so long without a confirmation on a living connection an event is sent again.
pub(super) const AGAIN: Duration = Duration::from_secs(3);
/// How long to wait for a client that takes nothing at the moment.
const PAUSE: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_millis(50);
pub(super) const BUNDLE: usize = 256;

pub(super) enum Job {
    Post(Box<Post>),
    Echo(oneshot::Sender<()>),
}

/// What is on its way, and what waits.
pub(super) struct Outbox {
    state: Mutex<State>,
    /// There is something for the task to do.
    work: Notify,
    pub(super) room: Arc<Semaphore>,
    pub(super) ledger: Ledger,
    pub(super) headers: HeaderNames,
    max_payload: AtomicUsize,
    /// Told apart from others for as long as the server remembers ids, which is short: so it is short.
    session: u64,
    count: AtomicU64,
}

impl Outbox {
    pub(super) fn new() -> Self {
        let binding =
            pubsub_core::wire::attributes::Binding::new("ce-", pubsub_core::wire::attributes::HeaderText::Ascii);
        Self {
            state: Mutex::new(State { first: 1, next_echo: 1, ..State::default() }),
            work: Notify::new(),
            room: Arc::new(Semaphore::new(WINDOW as usize)),
            ledger: Ledger::default(),
            headers: HeaderNames::new(&binding),
            max_payload: AtomicUsize::new(0),
            session: RandomState::new().build_hasher().finish(),
            count: AtomicU64::new(0),
        }
    }

    /// The server's limit, once it is known.
    pub(super) fn max_payload(&self) -> Option<usize> {
        Some(self.max_payload.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// By what the server knows an event that it has already. Where the channel does not drop second events of an id,
    /// only what we send again ourselves is dropped.
    pub(super) fn dedup_id(&self, post: &Post) -> HeaderValue {
        if post.route.policy.dedup_window.is_some() {
            return post.message.id().to_string().into();
        }
        let mut id = String::with_capacity(32);
        let _ = write!(id, "{:016x}{:x}", self.session, post.serial); // a string takes whatever there is memory for
        id.into()
    }

    /// Tells what this adapter sends from what others send.
    pub(super) fn session(&self) -> u64 {
        self.session
    }

    /// The number of the next event.
    pub(super) fn serial(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends an event, or lets it wait for its turn.
    ///
    /// # Errors
    /// The task has ended.
    pub(super) fn put(&self, shared: &Arc<Shared>, post: Box<Post>) -> Result<(), ()> {
        let mut state = self.lock();
        if state.ended {
            return Err(());
        }
        let left = if post.confirmed && state.is_clear(shared) { state.send(shared, post) } else { Some(post) };
        let Some(post) = left else { return Ok(()) };
        state.waiting.push_back(Job::Post(post));
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Says that a stream was made anew, or why it could not be.
    pub(super) fn tell_revived(&self, need: &Need, outcome: &Result<()>) {
        self.lock().revived(need, outcome);
        self.work.notify_one();
    }

    /// Waits until the server has seen everything that was sent before. False if the connection broke meanwhile.
    pub(super) async fn echo(&self, within: Duration) -> bool {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.ended {
                return false;
            }
            state.waiting.push_back(Job::Echo(sender));
        }
        self.work.notify_one();
        matches!(timeout(within, receiver).await, Ok(Ok(())))
    }

    /// Sends what is to be sent.
    fn send_all(&self, shared: &Arc<Shared>) -> Sent {
        loop {
            // Let go of in between: whoever publishes waits for it.
            match self.lock().send_some(shared) {
                Sent::Some => {}
                sent => return sent,
            }
        }
    }

    /// Takes these answers, and all that have come behind the first.
    fn hear_all(&self, shared: &Arc<Shared>, first: NatsMessage, answers: &mut Subscriber) {
        let mut heard = vec![first];
        while heard.len() < BUNDLE
            && let Some(Some(answer)) = unconstrained(answers.next()).now_or_never()
        {
            heard.push(answer);
        }
        let mut done = Vec::with_capacity(heard.len());
        {
            let mut state = self.lock();
            heard.iter().for_each(|answer| state.hear(shared, answer, &mut done));
            state.drop_done();
        }
        // Whoever waits for room is woken once for all of them, and before those who wait for their tickets: they publish
        // more.
        let mut room: Option<OwnedSemaphorePermit> = None;
        for one in done.iter_mut().filter_map(|(post, _)| post.room.take()) {
            match &mut room {
                Some(room) => room.merge(one),
                None => room = Some(one),
            }
        }
        drop(room);
        for (post, outcome) in done {
            post.finish(outcome);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could come from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits for a message to ourselves.
pub(super) struct Echo {
    pub(super) number: u64,
    #[allow(clippy::vec_box, reason = "they came in boxes")]
    pub(super) posts: Vec<Box<Post>>,
    pub(super) askers: Vec<oneshot::Sender<()>>,
    pub(super) sent: Instant,
}

/// How much of what is to be sent is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// There may be more.
    Some,
    /// The client takes no more now.
    NoMore,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) client: Option<Client>,
    pub(super) private: String,
    pub(super) waiting: VecDeque<Job>,
    /// Unconfirmed events by number; those that are through are taken out.
    pub(super) sent: VecDeque<Option<Box<Post>>>,
    pub(super) first: u64,
    /// None before this number is due.
    pub(super) due: Option<u64>,
    /// What goes out together.
    pub(super) batch: Option<Batch>,
    /// How many there were.
    pub(super) batches: u64,
    /// The server takes none on this connection.
    pub(super) unbatched: bool,
    /// What is being made anew.
    pub(super) reviving: Vec<Need>,
    pub(super) echoes: VecDeque<Echo>,
    pub(super) next_echo: u64,
    /// The message of the last echo is not sent yet.
    pub(super) echo_due: bool,
    pub(super) up: bool,
    /// Of the connection on which everything unconfirmed is sent, or due to be.
    epoch: u64,
    ended: bool,
}

/// Ends the outbox with its task, however that ends.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.outbox.lock().end();
    }
}

/// The task.
pub(super) async fn run(shared: Arc<Shared>) {
    let _end = End(shared.clone());
    let outbox = &shared.outbox;
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
            _ = tick.tick() => outbox.lock().expire_waiting(),
        }
    };
    let private = client.new_inbox();
    let Ok(mut answers) = client.subscribe(format!("{private}.>")).await else { return };
    outbox.max_payload.store(client.server_info().max_payload, Ordering::Relaxed);
    let (up, epoch) = up_and_epoch(&link.borrow_and_update());
    {
        let mut state = outbox.lock();
        (state.up, state.epoch) = (up, epoch);
        (state.client, state.private) = (Some(client.clone()), private);
    }
    loop {
        let sent = outbox.send_all(&shared);
        tokio::select! {
            biased;
            answer = answers.next() => match answer {
                Some(answer) => outbox.hear_all(&shared, answer, &mut answers),
                None => break,
            },
            changed = link.changed() => {
                if changed.is_err() {
                    break;
                }
                let (up, epoch) = up_and_epoch(&link.borrow_and_update());
                let again = outbox.lock().follow(up, epoch);
                if again {
                    // The client tells of it a moment before it is so.
                    while client.connection_state() != ConnectionState::Connected && shared.link.borrow().up {
                        sleep(Duration::from_millis(1)).await;
                    }
                    outbox.max_payload.store(client.server_info().max_payload, Ordering::Relaxed);
                    let mut state = outbox.lock();
                    state.make_due(|_, _| true);
                    state.epoch = epoch;
                }
            }
            () = outbox.work.notified() => {}
            () = sleep(PAUSE), if sent == Sent::NoMore => {}
            _ = tick.tick() => outbox.lock().look_at_clock(),
        }
    }
}

/// Taken out before the outbox is locked: whoever publishes looks at the link while it holds the lock.
fn up_and_epoch(link: &Link) -> (bool, u64) {
    (link.up, link.epoch)
}

impl State {
    /// Whether an event may go out now: nothing is to be sent before it.
    fn is_clear(&self, shared: &Shared) -> bool {
        self.up && self.due.is_none() && self.waiting.is_empty() && !self.echo_due && !self.is_ending() && {
            // The task may not have seen yet that the connection is another.
            let link = shared.link.borrow();
            link.up && link.epoch == self.epoch
        }
    }

    /// Takes note of the connection; says whether everything unconfirmed is to be sent again on it.
    fn follow(&mut self, up: bool, epoch: u64) -> bool {
        self.up = up;
        if !up || epoch != self.epoch {
            // All that it has not confirmed goes out again.
            (self.batch, self.unbatched) = (None, false);
            self.lost_connection();
        }
        up && epoch != self.epoch
    }

    fn expire_waiting(&mut self) {
        let now = Instant::now();
        let due = |job: &Job| matches!(job, Job::Post(post) if post.deadline <= now);
        if !self.waiting.iter().any(due) {
            return;
        }
        for job in std::mem::take(&mut self.waiting) {
            match job {
                Job::Post(post) if post.deadline <= now => {
                    post.give_up(ErrorKind::Unavailable, "there was no connection to the server in time");
                }
                job => self.waiting.push_back(job),
            }
        }
    }

    fn drop_done(&mut self) {
        while matches!(self.sent.front(), Some(None)) {
            self.sent.pop_front();
            self.first += 1;
        }
    }

    /// Takes an answer; what is over with it goes to `done`.
    fn hear(&mut self, shared: &Arc<Shared>, answer: &NatsMessage, done: &mut Vec<(Box<Post>, Result<Receipt>)>) {
        if self.hear_batch(shared, answer, done) {
            return;
        }
        let Some(token) = answer.subject.as_str().rsplit('.').next() else { return };
        if let Some(number) = token.strip_prefix('e') {
            let Ok(number) = number.parse::<u64>() else { return };
            while self.echoes.front().is_some_and(|echo| echo.number <= number) {
                let Some(echo) = self.echoes.pop_front() else { break };
                done.extend(echo.posts.into_iter().map(|post| (post, Ok(Receipt::default()))));
                for asker in echo.askers {
                    let _ = asker.send(());
                }
            }
            return;
        }
        let Ok(number) = token.parse::<u64>() else { return };
        match read_confirmation(answer) {
            Ok((sequence, duplicate)) => {
                let Some(post) = self.slot(number).and_then(Option::take) else { return };
                let receipt = match post.route.born {
                    0 => Receipt::default(),
                    born => Receipt::at(position(sequence, born)),
                };
                done.push((post, Ok(if duplicate { receipt.duplicate() } else { receipt })));
            }
            Err(error) => self.refused(shared, number, error, done),
        }
    }

    /// Where an event lies that is not confirmed yet.
    pub(super) fn slot(&mut self, number: u64) -> Option<&mut Option<Box<Post>>> {
        self.sent.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Takes the server's refusal of an event.
    pub(super) fn refused(
        &mut self,
        shared: &Arc<Shared>,
        number: u64,
        error: Error,
        done: &mut Vec<(Box<Post>, Result<Receipt>)>,
    ) {
        let Some(slot) = self.slot(number) else { return };
        let Some(post) = slot.take() else { return };
        match error.kind() {
            // One that was sent twice is refused twice.
            ErrorKind::NotFound if post.stage != Stage::Sent => *slot = Some(post),
            ErrorKind::NotFound if !post.revived => {
                // It keeps its place.
                let post = slot.insert(post);
                post.revived = true;
                post.stage = Stage::Held;
                let (need, route) = (post.need(), post.route.clone());
                self.revive(shared, need, route);
            }
            // A server that has just started may not have its streams ready.
            ErrorKind::Unavailable if post.may_go_again() => *slot = Some(post),
            _ => done.push((post, Err(error))),
        }
    }

    /// What nothing confirms may or may not have arrived.
    pub(super) fn lost_connection(&mut self) {
        self.echo_due = false;
        for echo in self.echoes.drain(..) {
            for post in echo.posts {
                post.give_up(ErrorKind::Unavailable, "the connection broke before the server had confirmed the event");
            }
        }
    }

    fn look_at_clock(&mut self) {
        self.expire_waiting();
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
            self.look_at_batch(now);
            self.make_due(|_, post| post.last_sent.is_none_or(|last| now.duration_since(last) > AGAIN));
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.client = None;
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
