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

use tokio::task::JoinSet;

use super::consumer::{Consumer, Job};

/// The workers of one subscription.
pub(super) struct Lanes {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
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
    /// Workers that have nothing to do, with the wakers by which they are told.
    parked: Vec<usize>,
    wakers: Vec<Option<Waker>>,
    /// Workers that were told and have not come yet.
    coming: usize,
    closed: bool,
}

impl Lanes {
    pub(super) fn start(consumer: &Arc<Consumer>, workers: usize) -> Self {
        let queue = Queue { wakers: vec![None; workers], ..Queue::default() };
        let shared = Arc::new(Shared { queue: Mutex::new(queue) });
        let mut tasks = JoinSet::new();
        for worker in 0..workers {
            tasks.spawn(work(shared.clone(), consumer.clone(), worker));
        }
        Self { shared, workers: tasks }
    }

    /// Hands a delivery over.
    pub(super) fn push(&self, job: Job) {
        let mut queue = self.shared.lock();
        if let Some(key) = job.lane {
            if let Some(waiting) = queue.keys.get_mut(&key) {
                waiting.push_back(job);
                return;
            }
            queue.keys.insert(key, VecDeque::new());
        }
        queue.ready.push_back(job);
        // One that is on its way takes one of those that are ready.
        let waker = if queue.ready.len() > queue.coming { queue.call_one() } else { None };
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives back what nobody has begun, and waits until what was begun is finished.
    pub(super) async fn finish(mut self) {
        let (queued, wakers) = self.shared.lock().close();
        queued.into_iter().for_each(Job::release);
        wakers.into_iter().for_each(Waker::wake);
        while self.workers.join_next().await.is_some() {}
    }
}

/// One worker, until the lanes are closed.
async fn work(shared: Arc<Shared>, consumer: Arc<Consumer>, worker: usize) {
    let mut finished = None;
    while let Some(job) = poll_fn(|cx| shared.lock().poll_take(worker, &mut finished, cx)).await {
        finished = job.lane;
        consumer.work(job).await;
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
    fn call_one(&mut self) -> Option<Waker> {
        let waker = self.wakers[self.parked.pop()?].take();
        self.coming += usize::from(waker.is_some());
        waker
    }

    /// The next job for a worker that has finished with a key. The key's next event is as good as any other.
    fn poll_take(&mut self, worker: usize, finished: &mut Option<u64>, cx: &mut Context<'_>) -> Poll<Option<Job>> {
        match self.parked.iter().position(|parked| *parked == worker) {
            // Woken by somebody else: it stays parked unless there is something.
            Some(place) => {
                self.parked.swap_remove(place);
            }
            None => self.coming = self.coming.saturating_sub(usize::from(self.wakers[worker].is_none())),
        }
        self.wakers[worker] = Some(cx.waker().clone());
        if let Some(key) = finished.take() {
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
        self.parked.push(worker);
        Poll::Pending
    }

    fn close(&mut self) -> (Vec<Job>, Vec<Waker>) {
        self.closed = true;
        let waiting = self.keys.values_mut().flat_map(std::mem::take);
        let queued = self.ready.drain(..).chain(waiting).collect();
        self.parked.clear();
        (queued, self.wakers.iter_mut().filter_map(Option::take).collect())
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
