//! One subscription, and the listeners that it serves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use pubsub_core::{ChannelPattern, Clock, EventItem, Events, Message, PubSub, Raw, Result};
use tokio::{runtime::Handle, sync::OnceCell};

use super::{
    fault::Faults,
    hub::Hub,
    listener::{Entry, Listener},
};
use crate::task::Task;

/// The listeners of one feed, in the order in which they came.
#[derive(Default)]
pub(super) struct Listeners(Mutex<BTreeMap<u64, Arc<Entry>>>);

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        // The list is whole at every point where a panic could come from.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, entry: Arc<Entry>) {
        self.lock().insert(entry.id.0, entry);
    }

    /// Takes a listener out. The entry is to be dropped without any lock.
    pub(super) fn remove(&self, id: Listener) -> Option<Arc<Entry>> {
        let entry = self.lock().remove(&id.0)?;
        entry.take_off();
        Some(entry)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Gives an event to everyone who takes it. Who wants only one is taken out under the lock, and so gets only one.
    fn dispatch(&self, message: &Arc<Message>, faults: &Faults) {
        let mut list = self.lock();
        let takers: Vec<_> = list.values().filter(|entry| entry.pattern.matches(message.name())).cloned().collect();
        for entry in takers.iter().filter(|entry| entry.once) {
            list.remove(&entry.id.0);
        }
        drop(list);
        for entry in takers {
            entry.deliver(message, faults);
        }
    }

    pub(super) fn clear(&self) {
        let list = std::mem::take(&mut *self.lock());
        drop(list);
    }
}

/// One subscription. It ends when nobody uses it any more.
pub(super) struct Feed {
    pub(super) number: u64,
    pub(super) listeners: Arc<Listeners>,
    task: OnceCell<Task>,
}

impl Feed {
    pub(super) fn new(number: u64) -> Self {
        Self { number, listeners: Arc::default(), task: OnceCell::new() }
    }

    /// Whether it was open, and has ended.
    pub(super) fn is_over(&self) -> bool {
        self.task.get().is_some_and(Task::is_finished)
    }

    /// Subscribes, unless somebody has done so. Cancel safe.
    pub(super) async fn open(&self, bus: &PubSub, channels: &[ChannelPattern], faults: &Arc<Faults>) -> Result<()> {
        let open = || async {
            Clock::system().check_timers("subscribe")?;
            let mut subscribe = bus.subscribe_events();
            for channel in channels {
                subscribe = subscribe.channel(&channel.to_string());
            }
            let events = subscribe.await?;
            let listen = listen(events, self.listeners.clone(), faults.clone());
            Ok(Task::spawn(&Handle::current(), listen)) // there is a runtime, as the first line has checked
        };
        self.task.get_or_try_init(open).await.map(drop)
    }
}

async fn listen(mut events: Events<Raw>, listeners: Arc<Listeners>, faults: Arc<Faults>) {
    while let Some(item) = events.next_item().await {
        match item {
            Ok(EventItem::Event(event)) => {
                let (message, ack) = event.split();
                ack.ack();
                listeners.dispatch(&message, &faults);
            }
            Ok(EventItem::Gap(gap)) => faults.of_subscription(format!("events were lost: {gap:?}").into()),
            Ok(_) => {}
            Err(error) => faults.of_subscription(error.into()),
        }
    }
    // The bus is closed, and what listens to it hears nothing any more.
    listeners.clear();
}

/// Keeps a feed open.
pub(super) struct Use {
    pub(super) hub: Weak<Hub>,
    pub(super) key: String,
    pub(super) number: u64,
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.release(&self.key, self.number);
        }
    }
}
