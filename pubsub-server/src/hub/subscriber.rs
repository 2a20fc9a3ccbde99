//! `Subscriber`: what publishers and owners see of a stream.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;

/// Why a stream is ended by the server. Clients come back after any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It did not read what it was sent.
    Slow = 1,
    /// The server is being drained.
    Drained,
    /// The broker subscription behind it is gone.
    Lost,
}

/// One stream, as others see it: they wake it, and they end it.
#[derive(Debug, Default)]
pub(crate) struct Subscriber {
    waker: AtomicWaker,
    waiting: AtomicBool,
    ended: AtomicU8,
    /// What the stream has of the server, given back when either side ends it: a connection that nobody reads from may
    /// not be polled again, and keeps nothing.
    holdings: Mutex<Vec<Box<dyn Any + Send + Sync>>>,
}

impl Subscriber {
    /// Has the stream polled when something comes. Who waits looks once more afterwards.
    pub(crate) fn wait(&self, waker: &Waker) {
        self.waker.register(waker);
        self.waiting.store(true, Ordering::SeqCst);
    }

    pub(crate) fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) && self.waiting.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Ends the stream; whether it was not ended before. What it held goes now, so no lock of the hub may be held here.
    pub(crate) fn end(&self, why: End) -> bool {
        let first = self.ended.compare_exchange(0, why as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        self.release();
        self.waiting.store(false, Ordering::SeqCst);
        self.waker.wake();
        first
    }

    /// Gives the stream something that it holds until its end.
    pub(crate) fn hold(&self, holding: impl Any + Send + Sync) {
        self.holdings().push(Box::new(holding));
        if self.is_ended() {
            self.release();
        }
    }

    /// Gives back what the stream holds.
    pub(crate) fn release(&self) {
        let held = std::mem::take(&mut *self.holdings());
        drop(held);
    }

    fn holdings(&self) -> MutexGuard<'_, Vec<Box<dyn Any + Send + Sync>>> {
        // The list is whole at every point where a panic could come from.
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst) != 0
    }
}

/// A stream's place in one channel.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) subscriber: Arc<Subscriber>,
    /// The number of the event that it reads next; the most while it reads history, which nobody has to keep for it.
    pub(crate) next: AtomicU64,
}

impl Seat {
    /// The stream reads history.
    pub(crate) const APART: u64 = u64::MAX;

    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    pub(crate) fn move_to(&self, next: u64) {
        self.next.store(next, Ordering::Release);
    }
}

/// Who is at a channel.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    seats: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    seats: Vec<Option<Arc<Seat>>>,
    free: Vec<usize>,
}

impl Seats {
    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole at every point where a panic could come from.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> usize {
        let table = self.table();
        table.seats.len() - table.free.len()
    }

    /// Adds a seat unless so many are taken.
    pub(crate) fn add(&self, seat: Arc<Seat>, limit: Option<u32>) -> Option<usize> {
        let mut table = self.table();
        let taken = table.seats.len() - table.free.len();
        if limit.is_some_and(|limit| taken >= limit as usize) {
            return None;
        }
        Some(match table.free.pop() {
            Some(place) => {
                table.seats[place] = Some(seat);
                place
            }
            None => {
                table.seats.push(Some(seat));
                table.seats.len() - 1
            }
        })
    }

    /// Gives a seat back, unless that was done before.
    pub(crate) fn remove(&self, place: usize, seat: &Arc<Seat>) {
        let mut table = self.table();
        if let Some(taken) = table.seats.get_mut(place)
            && taken.as_ref().is_some_and(|taken| Arc::ptr_eq(taken, seat))
        {
            *taken = None;
            table.free.push(place);
        }
    }

    /// Tells of new events: wakes who waits, and ends who is behind `start`. Gives how many it ended.
    pub(crate) fn announce(&self, start: u64) -> u64 {
        let mut slow = Vec::new();
        for seat in self.table().seats.iter().flatten() {
            if seat.next() < start {
                slow.push(seat.subscriber.clone());
            } else {
                seat.subscriber.wake();
            }
        }
        // They give their seats back, which takes the lock.
        slow.iter().map(|subscriber| u64::from(subscriber.end(End::Slow))).sum()
    }

    pub(crate) fn end_all(&self, why: End) {
        let all: Vec<_> = self.table().seats.iter().flatten().map(|seat| seat.subscriber.clone()).collect();
        for subscriber in all {
            subscriber.end(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(next: u64) -> Arc<Seat> {
        Arc::new(Seat { subscriber: Arc::default(), next: next.into() })
    }

    struct Leave(Arc<Seats>, usize, Arc<Seat>);

    impl Drop for Leave {
        fn drop(&mut self) {
            self.0.remove(self.1, &self.2);
        }
    }

    #[test]
    fn who_is_behind_is_ended_once_and_its_seat_is_free() {
        let seats = Arc::new(Seats::default());
        let (slow, fast, apart) = (seat(3), seat(9), seat(Seat::APART));
        let place = seats.add(slow.clone(), Some(3)).unwrap();
        slow.subscriber.hold(Leave(seats.clone(), place, slow.clone()));
        seats.add(fast.clone(), Some(3)).unwrap();
        seats.add(apart.clone(), Some(3)).unwrap();
        assert_eq!(seats.add(seat(0), Some(3)), None);
        assert_eq!((seats.announce(3), seats.announce(4), seats.announce(5)), (0, 1, 0));
        assert!(slow.subscriber.is_ended() && !fast.subscriber.is_ended() && !apart.subscriber.is_ended());
        assert_eq!(seats.count(), 2);
        assert_eq!(seats.add(seat(9), Some(3)), Some(place));
        seats.remove(place, &slow);
        assert_eq!(seats.count(), 3, "what was given back already takes nothing from its successor");
    }

    #[test]
    fn what_comes_after_the_end_is_given_back_at_once() {
        let seats = Arc::new(Seats::default());
        let seat = seat(0);
        seat.subscriber.end(End::Drained);
        let place = seats.add(seat.clone(), None).unwrap();
        seat.subscriber.hold(Leave(seats.clone(), place, seat.clone()));
        assert_eq!(seats.count(), 0);
    }
}
