//! A private inbox and the task that reads it, opened when they are needed and again when they are lost.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use pubsub_core::{
    ChannelName, Clock, Error, ErrorKind, EventId, Message, PubSub, Result,
    driver::{Inbox, Item, Subscription},
    rpc::StreamControl,
};
use tokio::{runtime::Handle, sync::mpsc};

use crate::task::Task;

/// Who gets what arrives in an inbox.
pub(super) trait Receive: Send + Sync + 'static {
    /// A message came. There may be something to say about it.
    fn receive(&self, message: &Message) -> Option<Word>;
    /// Some may have been lost.
    fn gap(&self);
    /// The inbox is gone, and with it whatever was still to come to its address.
    fn lost(&self, error: &Error);
}

/// How many words to responders may wait to be sent. One that finds no room is left out: the responder then stops at its
/// window or at the deadline.
const WORDS: usize = 1_024;

/// A word to a responder, sent by whoever cannot wait for it.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) to: ChannelName,
    pub(super) call: EventId,
    pub(super) control: StreamControl,
}

/// The inbox of one owner.
pub(super) struct Link<R> {
    bus: PubSub,
    receiver: Arc<R>,
    live: Mutex<State>,
    /// Set when the inbox is not lost but closed.
    closed: Arc<AtomicBool>,
    /// Held by whoever opens the inbox; all others wait for it to succeed.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum State {
    None,
    Live(Live),
    Closed,
}

/// An open inbox. Its tasks end with it.
#[derive(Debug)]
struct Live {
    address: ChannelName,
    words: mpsc::Sender<Word>,
    listener: Task,
    _courier: Task,
}

impl<R: Receive> Link<R> {
    pub(super) fn new(bus: PubSub, receiver: Arc<R>) -> Self {
        let (live, closed) = (Mutex::new(State::None), Arc::default());
        Self { bus, receiver, live, closed, opening: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could come from.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of the inbox if it is open.
    fn current(&self) -> Result<Option<ChannelName>> {
        match &*self.lock() {
            State::Closed => Err(Error::new(ErrorKind::Closed, "open inbox", "this end of the calls is closed")),
            State::Live(live) if !live.listener.is_finished() => Ok(Some(live.address.clone())),
            State::Live(_) | State::None => Ok(None),
        }
    }

    /// The address of the inbox, which is open when this returns. Cancel safe.
    ///
    /// # Errors
    /// As [`PubSub::open_inbox`]; `Invalid` outside of a tokio runtime.
    pub(super) async fn address(&self) -> Result<ChannelName> {
        if let Some(address) = self.current()? {
            return Ok(address);
        }
        let _turn = self.opening.lock().await;
        if let Some(address) = self.current()? {
            return Ok(address);
        }
        Clock::system().check_timers("open inbox")?;
        let runtime = Handle::current(); // there is one, as the line above has checked
        let Inbox { address, replies } = self.bus.open_inbox().await?;
        let (words, waiting) = mpsc::channel(WORDS);
        let reader = Reader(self.receiver.clone(), self.closed.clone());
        let listener = Task::spawn(&runtime, listen(replies, reader, words.clone()));
        let courier = Task::spawn(&runtime, carry(self.bus.clone(), waiting));
        let live = Live { address: address.clone(), words, listener, _courier: courier };
        let mut state = self.lock();
        if matches!(*state, State::Closed) {
            return Err(Error::new(ErrorKind::Closed, "open inbox", "this end of the calls is closed"));
        }
        let before = std::mem::replace(&mut *state, State::Live(live));
        drop(state);
        drop(before);
        Ok(address)
    }

    /// Sends a word without waiting.
    pub(super) fn say(&self, word: Word) {
        if let State::Live(live) = &*self.lock() {
            let _ = live.words.try_send(word); // see `WORDS`
        }
    }

    /// Hands a word over as soon as there is room for it. Cancel safe: it is handed over or not.
    pub(super) async fn say_when_possible(&self, word: Word) {
        let words = match &*self.lock() {
            State::Live(live) => live.words.clone(),
            State::None | State::Closed => return,
        };
        let _ = words.send(word).await; // without a courier the call has failed
    }

    /// Closes the inbox for good. Nobody is told; whoever waits is the owner's business.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let before = std::mem::replace(&mut *self.lock(), State::Closed);
        drop(before);
    }
}

impl<R> fmt::Debug for Link<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.live).finish()
    }
}

/// The receiver in the hands of the reading task: however the task ends, those who wait are told.
struct Reader<R: Receive>(Arc<R>, Arc<AtomicBool>);

impl<R: Receive> Drop for Reader<R> {
    fn drop(&mut self) {
        if self.1.load(Ordering::Acquire) {
            return;
        }
        let error = Error::new(ErrorKind::Unavailable, "receive reply", "the inbox is gone, and the reply with it");
        self.0.lost(&error.perhaps_applied());
    }
}

async fn listen<R: Receive>(mut replies: Subscription, reader: Reader<R>, words: mpsc::Sender<Word>) {
    while let Some(item) = replies.next().await {
        match item {
            Ok(Item::Delivery(delivery)) => {
                // What could not be read at all has no sender to whom it could be told.
                if let Some(word) = reader.0.receive(&delivery.message) {
                    let _ = words.try_send(word); // see `WORDS`
                }
                delivery.ack();
            }
            Ok(Item::Gap(_)) | Err(_) => reader.0.gap(),
            Ok(_) => {}
        }
    }
}

async fn carry(bus: PubSub, mut words: mpsc::Receiver<Word>) {
    while let Some(Word { to, call, control }) = words.recv().await {
        // A responder that cannot be reached stops at its window or at the deadline.
        let _ = bus.steer(&to, &call.to_string(), control).await;
    }
}
