//! The state of an event bus: its feeds, and the tasks of its listeners.

use std::{
    collections::{HashMap, hash_map},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pubsub_core::{ChannelPattern, Clock, Error, ErrorKind, Message, NamePattern, PubSub, Result};
use tokio::{runtime::Handle as Runtime, sync::oneshot, task::JoinSet};

use super::{
    fault::Faults,
    feed::{Feed, Use},
    listener::{Entry, Handle, Listener, Wish},
    names::{self, Taken},
};

pub(super) struct Hub {
    pub(super) bus: PubSub,
    pub(super) faults: Arc<Faults>,
    /// How many events may wait for one listener.
    pub(super) capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    feeds: HashMap<String, Used>,
    /// The listeners' tasks. Each ends with its listener.
    tasks: JoinSet<()>,
    next: u64,
    closed: bool,
}

struct Used {
    feed: Arc<Feed>,
    users: usize,
}

impl Hub {
    pub(super) fn new(bus: PubSub, faults: Arc<Faults>, capacity: usize) -> Arc<Self> {
        Arc::new(Self { bus, faults, capacity, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could come from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a feed of these channels, or joins the one that is open.
    async fn join(self: &Arc<Self>, channels: &[ChannelPattern]) -> Result<(Arc<Feed>, Use)> {
        let key = key(channels);
        let (feed, before, using) = {
            let mut state = self.lock();
            if state.closed {
                return Err(closed());
            }
            state.next += 1;
            let number = state.next;
            let fresh = || Used { feed: Arc::new(Feed::new(number)), users: 0 };
            let mut before = None;
            let used = match state.feeds.entry(key.clone()) {
                hash_map::Entry::Vacant(place) => place.insert(fresh()),
                hash_map::Entry::Occupied(place) => {
                    let used = place.into_mut();
                    if used.feed.is_over() {
                        before = Some(std::mem::replace(used, fresh()));
                    }
                    used
                }
            };
            used.users += 1;
            let number = used.feed.number;
            (used.feed.clone(), before, Use { hub: Arc::downgrade(self), key, number })
        };
        drop(before); // without the lock: its listeners release it
        feed.open(&self.bus, channels, &self.faults).await?;
        Ok((feed, using))
    }

    /// A feed has one user less. The last one ends it.
    pub(super) fn release(&self, key: &str, number: u64) {
        let mut state = self.lock();
        let hash_map::Entry::Occupied(mut place) = state.feeds.entry(key.to_owned()) else { return };
        if place.get().feed.number != number {
            return;
        }
        place.get_mut().users -= 1;
        if place.get().users == 0 {
            let last = place.remove();
            drop(state);
            drop(last);
        }
    }

    /// Keeps the feed of a name open for as long as the result lives.
    pub(super) async fn keep(self: &Arc<Self>, name: &str) -> Result<Use> {
        Ok(self.join(&Taken::by_name(&self.bus, name)?.channels).await?.1)
    }

    /// Adds a listener. It hears what is published after this returns. Cancel safe.
    pub(super) async fn listen(self: &Arc<Self>, taken: Taken, once: bool, handle: Handle) -> Result<Listener> {
        let Taken { text, pattern, channels } = taken;
        Clock::system().check_timers("listen")?;
        let (feed, using) = self.join(&channels).await?;
        let (entry, task) = Entry::handler(Wish { text, pattern, once }, handle, self, using);
        let id = entry.id;
        self.spawn(task)?;
        feed.listeners.add(entry);
        Ok(id)
    }

    /// Waits for one event of the exact name `name`, on the channels of `base`.
    pub(super) async fn expect(
        self: &Arc<Self>,
        name: &str,
        base: &str,
    ) -> Result<(oneshot::Receiver<Arc<Message>>, Expecting)> {
        let pattern = NamePattern::Exact(names::event_name(name)?);
        let (feed, using) = self.join(&Taken::by_name(&self.bus, base)?.channels).await?;
        let (sender, event) = oneshot::channel();
        let entry = Entry::waiter(Wish { text: name.to_owned(), pattern, once: true }, sender, using);
        let expecting = Expecting { feed: feed.clone(), id: entry.id };
        feed.listeners.add(entry);
        Ok((event, expecting))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn_on(task, &Runtime::current()); // there is one: `listen` has checked
        Ok(())
    }

    /// Removes a listener; false if it is gone already.
    pub(super) fn off(&self, id: Listener) -> bool {
        let feeds: Vec<_> = self.lock().feeds.values().map(|used| used.feed.clone()).collect();
        feeds.iter().any(|feed| feed.listeners.remove(id).is_some())
    }

    pub(super) fn listeners(&self) -> usize {
        let feeds: Vec<_> = self.lock().feeds.values().map(|used| used.feed.clone()).collect();
        feeds.iter().map(|feed| feed.listeners.len()).sum()
    }

    /// Ends all feeds, and gives the tasks of the listeners, which end when their queues are empty.
    pub(super) fn close(&self) -> JoinSet<()> {
        let mut state = self.lock();
        state.closed = true;
        let feeds = std::mem::take(&mut state.feeds);
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        // Whoever waits for an event is told that it will not come.
        feeds.values().for_each(|used| used.feed.listeners.clear());
        tasks
    }
}

/// What tells one feed from another: its channels, in any order.
pub(super) fn key(channels: &[ChannelPattern]) -> String {
    let mut texts: Vec<_> = channels.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.join(" ")
}

#[cold]
fn closed() -> Error {
    Error::new(ErrorKind::Closed, "listen", "the event bus is closed")
}

/// Ends waiting when it is dropped.
pub(crate) struct Expecting {
    feed: Arc<Feed>,
    id: Listener,
}

impl Drop for Expecting {
    fn drop(&mut self) {
        drop(self.feed.listeners.remove(self.id));
    }
}
