//! Several handlers of one subscription at a time, in order per key.
//!
//! A key is worked on by one worker at a time, and its later events wait behind it, whichever worker takes them then: a
//! slow key occupies one worker, and nothing else waits for it. What is queued here is unsettled, so the subscription's
//! `max_in_flight` bounds it.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use smallvec::SmallVec;
use tokio::task::JoinSet;

use super::consumer::{Consumer, Job};
use crate::incoming::Site;

/// How many deliveries are handed over at once, if so many are there: each time costs a lock and wakes.
const TOGETHER: usize = 32;

/// The workers of one subscription.
pub(super) struct Lanes {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
    /// What is about to be handed over.
    gathered: Vec<Job>,
}

struct Shared {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// What may be worked on now, by anyone.
    ready: VecDeque<Job>,
    /// The keys that are worked on or ready, and what waits behind them.
    keys: HashMap<u64, VecDeque<Job>, BuildHasherDefault<Hashed>>,
    /// Workers that have nothing to do, and how they are told.
    parked: Vec<(usize, Waker)>,
    /// Workers that were told and have not come yet.
    coming: usize,
    closed: bool,
}

/// What a worker knows of itself.
#[derive(Default)]
struct Worker {
    number: usize,
    /// The key that it has just worked on.
    finished: Option<u64>,
    parked: bool,
}

impl Lanes {
    pub(super) fn start(consumer: &Arc<Consumer>, site: &Arc<Site>, workers: usize) -> Self {
        let shared = Arc::new(Shared { queue: Mutex::default() });
        let mut tasks = JoinSet::new();
        for number in 0..workers {
            tasks.spawn(work(shared.clone(), consumer.clone(), site.clone(), number));
        }
        Self { shared, workers: tasks, gathered: Vec::with_capacity(TOGETHER) }
    }

    /// Takes a delivery, to be handed over with others: by [`Lanes::hand_over`] at the latest.
    pub(super) fn push(&mut self, job: Job) {
        self.gathered.push(job);
        if self.gathered.len() >= TOGETHER {
            self.hand_over();
        }
    }

    /// Gives the workers what was gathered.
    pub(super) fn hand_over(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let mut queue = self.shared.lock();
        self.gathered.drain(..).for_each(|job| queue.push(job));
        let called = queue.call();
        drop(queue);
        called.into_iter().for_each(Waker::wake);
    }

    /// Gives back what nobody has begun, and waits until what was begun is finished.
    pub(super) async fn finish(mut self) {
        self.gathered.drain(..).for_each(Job::release);
        let (queued, wakers) = self.shared.lock().close();
        queued.into_iter().for_each(Job::release);
        wakers.into_iter().for_each(Waker::wake);
        while self.workers.join_next().await.is_some() {}
    }
}

/// One worker, until the lanes are closed.
async fn work(shared: Arc<Shared>, consumer: Arc<Consumer>, site: Arc<Site>, number: usize) {
    let mut worker = Worker { number, ..Worker::default() };
    while let Some(job) = poll_fn(|cx| shared.lock().poll_take(&mut worker, cx)).await {
        worker.finished = job.lane;
        if job.is_live() {
            consumer.work(job, &site).await;
        }
        // Handlers that never wait would keep the others from running.
        tokio::task::coop::consume_budget().await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, job: Job) {
        if let Some(key) = job.lane {
            if let Some(waiting) = self.keys.get_mut(&key) {
                waiting.push_back(job);
                return;
            }
            self.keys.insert(key, VecDeque::new());
        }
        self.ready.push_back(job);
    }

    /// Calls as many workers as there is work for. One that is on its way takes one of those that are ready.
    fn call(&mut self) -> SmallVec<[Waker; 8]> {
        let wanted = self.ready.len().saturating_sub(self.coming).min(self.parked.len());
        self.coming += wanted;
        self.parked.drain(self.parked.len() - wanted..).map(|(_, waker)| waker).collect()
    }

    /// The next job for a worker that has finished with a key. The key's next event is as good as any other.
    fn poll_take(&mut self, worker: &mut Worker, cx: &mut Context<'_>) -> Poll<Option<Job>> {
        if std::mem::take(&mut worker.parked) {
            match self.parked.iter().position(|(parked, _)| *parked == worker.number) {
                // Woken by somebody else.
                Some(place) => drop(self.parked.swap_remove(place)),
                None => self.coming = self.coming.saturating_sub(1),
            }
        }
        if let Some(key) = worker.finished.take() {
            match self.keys.get_mut(&key).and_then(VecDeque::pop_front) {
                Some(next) if self.ready.is_empty() => return Poll::Ready(Some(next)),
                Some(next) => self.ready.push_back(next),
                None => drop(self.keys.remove(&key)),
            }
        }
        if let Some(job) = self.ready.pop_front() {
            return Poll::Ready(Some(job));
        }
        if self.closed {
            return Poll::Ready(None);
        }
        self.parked.push((worker.number, cx.waker().clone()));
        worker.parked = true;
        Poll::Pending
    }

    fn close(&mut self) -> (Vec<Job>, Vec<Waker>) {
        self.closed = true;
        let waiting = self.keys.values_mut().flat_map(std::mem::take);
        let queued = self.ready.drain(..).chain(waiting).collect();
        (queued, self.parked.drain(..).map(|(_, waker)| waker).collect())
    }
}

/// A key's hash is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
