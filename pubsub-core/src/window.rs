//! `AckWindow`: up to which delivery everything is settled.

use std::{collections::VecDeque, error::Error as StdError, fmt, time::Duration};

use crate::{Clock, Error, ErrorKind, Mark};

/// Tracks deliveries that are settled in any order but acknowledged to the broker as one prefix, as Kafka's offsets
/// and RabbitMQ's `multiple` delivery tags are.
///
/// Ids are pushed in ascending order as events are delivered, holes allowed, and marked as done in any order. The
/// window is bounded: one event that is never settled makes it full, which stalls its partition visibly
/// ([`AckWindow::age`]) instead of growing without end. Pushing is O(1); marking is O(1) while ids have no holes and
/// O(log n) with them; every id is taken out once.
///
/// ```
/// # use pubsub_core::{AckWindow, Clock, Settled};
/// let clock = Clock::system();
/// let mut window = AckWindow::new(100);
/// for offset in [5, 6, 9] {
///     window.push(offset, clock.mark())?;
/// }
/// assert_eq!(window.done(6), Settled::Waits);
/// assert_eq!(window.done(5), Settled::Prefix(6));
/// assert_eq!(window.oldest(), Some(9));
/// # Ok::<(), pubsub_core::WindowRefusal>(())
/// ```
#[derive(Clone, Debug)]
pub struct AckWindow {
    /// Ascending by id. The front one is never done: it would have left with the prefix.
    entries: VecDeque<Entry>,
    capacity: usize,
    open: usize,
    first: Option<u64>,
    last: Option<u64>,
    prefix: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u64,
    done: bool,
    since: Mark,
}

/// What became of marking an id as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a prefix that moved has to be told to the broker"]
pub enum Settled {
    /// The prefix ends here now: this id and all delivered before it are done.
    Prefix(u64),
    /// Noted; an earlier one is not done yet.
    Waits,
    /// It was done already; nothing changed. A hole inside the finished prefix counts as done, too.
    Again,
    /// It was never pushed, or before the last [`AckWindow::clear`]; nothing changed.
    Unknown,
}

/// Why an id was not taken into an [`AckWindow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowRefusal {
    /// As many ids are in the window as fit.
    Full,
    /// The id is not larger than the last one, which is given here.
    NotAscending(u64),
}

impl fmt::Display for WindowRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the ack window is full"),
            Self::NotAscending(last) => write!(f, "the id is not larger than the last one, {last}"),
        }
    }
}

impl StdError for WindowRefusal {}

impl From<WindowRefusal> for Error {
    fn from(refusal: WindowRefusal) -> Self {
        let kind = match refusal {
            WindowRefusal::Full => ErrorKind::Backpressure,
            WindowRefusal::NotAscending(_) => ErrorKind::Invalid,
        };
        Self::new(kind, "track delivery", refusal.to_string())
    }
}

impl AckWindow {
    /// An empty window for `capacity` ids, at least one.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        // A huge bound is a promise, not a demand for memory.
        let entries = VecDeque::with_capacity(capacity.min(1024));
        Self { entries, capacity, open: 0, first: None, last: None, prefix: None }
    }

    /// Takes in the next delivered id; `since` is what its age counts from.
    ///
    /// # Errors
    /// `Full` until the prefix moves, `NotAscending` for an id that is not larger than the one before. Nothing was
    /// taken in then.
    pub fn push(&mut self, id: u64, since: Mark) -> Result<(), WindowRefusal> {
        match self.last {
            Some(last) if id <= last => return Err(WindowRefusal::NotAscending(last)),
            _ if self.is_full() => return Err(WindowRefusal::Full),
            _ => {}
        }
        self.first.get_or_insert(id);
        self.last = Some(id);
        self.open += 1;
        self.entries.push_back(Entry { id, done: false, since });
        Ok(())
    }

    /// Marks an id as done. Marking it twice, or one that was never pushed, changes nothing and is told apart.
    pub fn done(&mut self, id: u64) -> Settled {
        let Some(entry) = self.find(id) else {
            let passed = self.first.is_some_and(|first| first <= id) && self.prefix.is_some_and(|prefix| id <= prefix);
            return if passed { Settled::Again } else { Settled::Unknown };
        };
        if std::mem::replace(&mut entry.done, true) {
            return Settled::Again;
        }
        self.open -= 1;
        let mut moved = None;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.done) {
            moved = Some(entry.id);
        }
        match moved {
            Some(end) => {
                self.prefix = moved;
                Settled::Prefix(end)
            }
            None => Settled::Waits,
        }
    }

    fn find(&mut self, id: u64) -> Option<&mut Entry> {
        let distance = id.checked_sub(self.entries.front()?.id)?;
        // Without holes an id lies exactly as far from the front as the numbers say; with holes only closer.
        let guess = usize::try_from(distance).unwrap_or(usize::MAX).min(self.entries.len() - 1);
        let index = match self.entries.get(guess) {
            Some(entry) if entry.id == id => guess,
            _ => self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?,
        };
        self.entries.get_mut(index)
    }

    /// The end of the prefix: this id and all delivered before it are done; `None` until the first one is.
    pub fn prefix(&self) -> Option<u64> {
        self.prefix
    }

    /// Whether no more ids fit.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    /// How many ids are in the window: those not done, and those done behind them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything is done.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many ids are not done.
    pub fn in_flight(&self) -> usize {
        self.open
    }

    /// The first id that is not done.
    pub fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.id)
    }

    /// For how long the first id has not been done: the metric `ack_window_age`.
    pub fn age(&self, clock: &Clock) -> Option<Duration> {
        self.entries.front().map(|entry| clock.elapsed(entry.since))
    }

    /// Forgets everything, as on a new assignment; ids may start anywhere.
    ///
    /// An id of before may come again: whoever marks ids must tell apart those of the earlier assignment.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.open = 0;
        (self.first, self.last, self.prefix) = (None, None, None);
    }
}

#[cfg(test)]
mod tests;
