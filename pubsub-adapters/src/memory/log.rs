//! The log of a channel: linked segments that readers follow without a lock.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use pubsub_core::Message;

/// Messages per segment: large enough that following the links costs nothing, small enough to be freed soon.
const SEGMENT: usize = 256;

/// Whether a segment lies behind somebody who moves from one sequence number to the other.
pub(super) fn crosses_segment(from: u64, to: u64) -> bool {
    from / SEGMENT as u64 != to / SEGMENT as u64
}

/// A message in the log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Arc<Message>,
    /// When it arrived here, in milliseconds since 1970, by the bus's clock: foreign timestamps decide nothing.
    pub(super) arrival: i64,
    /// When it stops being delivered.
    pub(super) expires: i64,
}

/// A run of messages, written once each, and the run behind it.
#[derive(Debug)]
pub(super) struct Segment {
    base: u64,
    entries: Box<[OnceLock<Entry>]>,
    next: OnceLock<Arc<Segment>>,
}

impl Segment {
    pub(super) fn new(base: u64) -> Arc<Self> {
        let entries = (0..SEGMENT).map(|_| OnceLock::new()).collect();
        Arc::new(Self { base, entries, next: OnceLock::new() })
    }

    fn end(&self) -> u64 {
        self.base + SEGMENT as u64
    }

    /// The entry at `seq`, if it lies in this segment and is written.
    fn get(&self, seq: u64) -> Option<&Entry> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.entries.get(index)?.get()
    }
}

impl Drop for Segment {
    /// Links are followed by hand: a long chain freed at once must not recurse once per segment.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut segment) = next.and_then(Arc::into_inner) {
            next = segment.next.take();
        }
    }
}

/// A reader's place in the log.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    segment: Arc<Segment>,
}

impl Cursor {
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        Self { segment }
    }

    /// Moves on to the segment that holds `seq`, which must not lie before the present one.
    pub(super) fn advance(&mut self, seq: u64) {
        while seq >= self.segment.end() {
            let Some(next) = self.segment.next.get() else { return };
            self.segment = next.clone();
        }
    }

    /// The entry at `seq`, which must lie in the present segment or behind it.
    pub(super) fn get(&mut self, seq: u64) -> Option<&Entry> {
        self.advance(seq);
        self.segment.get(seq)
    }
}

/// A reader's place in the log, and the way from there to the last message it asked for: finding one in between costs
/// the same however far it is.
#[derive(Debug)]
pub(super) struct Trail {
    segments: VecDeque<Arc<Segment>>,
}

impl Trail {
    pub(super) fn new(start: Cursor) -> Self {
        Self { segments: VecDeque::from([start.segment]) }
    }

    /// Moves on to the segment that holds `seq`, which must not lie before the present one.
    pub(super) fn advance(&mut self, seq: u64) {
        while let Some(first) = self.segments.front().filter(|first| seq >= first.end()) {
            let Some(next) = first.next.get().cloned() else { return };
            self.segments.pop_front();
            if self.segments.is_empty() {
                self.segments.push_back(next);
            }
        }
    }

    /// The entry at `seq`, which must lie in the present segment or behind it.
    pub(super) fn look(&mut self, seq: u64) -> Option<&Entry> {
        while let Some(last) = self.segments.back().filter(|last| seq >= last.end()) {
            let next = last.next.get()?.clone();
            self.segments.push_back(next);
        }
        let offset = seq.checked_sub(self.segments.front()?.base)?;
        self.segments.get(usize::try_from(offset).ok()? / SEGMENT)?.get(seq)
    }
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Log {
    head: Cursor,
    tail: Arc<Segment>,
    /// The oldest message that is still to be read by newcomers.
    pub(super) first: u64,
    /// The sequence number of the next message.
    pub(super) end: u64,
    /// Bytes between `first` and `end`, while somebody wants to know: counting them means touching each message once
    /// more when it goes, when it is no longer in cache.
    bytes: Option<u64>,
    last_arrival: i64,
}

impl Log {
    pub(super) fn new() -> Self {
        let segment = Segment::new(0);
        Self {
            head: Cursor::new(segment.clone()),
            tail: segment,
            first: 0,
            end: 0,
            bytes: None,
            last_arrival: i64::MIN,
        }
    }

    /// Appends a message and returns its sequence number.
    pub(super) fn push(&mut self, mut entry: Entry) -> u64 {
        let seq = self.end;
        // The clock may be set back; arrival times in a log never go back, or they could not be searched.
        entry.arrival = entry.arrival.max(self.last_arrival);
        self.last_arrival = entry.arrival;
        if seq == self.tail.end() {
            let next = Segment::new(seq);
            // Only this writer links segments, under the channel's lock, so the cell is empty.
            let _ = self.tail.next.set(next.clone());
            self.tail = next;
        }
        if let Some(bytes) = &mut self.bytes {
            *bytes += entry.message.wire_len() as u64;
        }
        if let Some(cell) = self.tail.entries.get((seq - self.tail.base) as usize) {
            let _ = cell.set(entry);
        }
        self.end += 1;
        seq
    }

    /// Removes the oldest message from view. Its segment is freed once no group needs it either, and the caller lets go
    /// of the place that is returned with the last message of one.
    pub(super) fn pop(&mut self) -> Option<Cursor> {
        if self.first == self.end {
            return None;
        }
        let first = self.first;
        if let Some(bytes) = &mut self.bytes
            && let Some(entry) = self.head.get(first)
        {
            *bytes = bytes.saturating_sub(entry.message.wire_len() as u64);
        }
        self.first += 1;
        let left = (self.first >= self.head.segment.end()).then(|| self.head.clone());
        self.head.advance(self.first);
        left
    }

    /// Begins or ends to count bytes.
    pub(super) fn count_bytes(&mut self, wanted: bool) {
        let mut cursor = self.head.clone();
        let mut sum =
            || (self.first..self.end).filter_map(|seq| Some(cursor.get(seq)?.message.wire_len() as u64)).sum();
        self.bytes = match self.bytes {
            Some(bytes) if wanted => Some(bytes),
            _ => wanted.then(&mut sum),
        };
    }

    /// Bytes between `first` and `end`, if they are counted.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.unwrap_or(0)
    }

    /// When the oldest message arrived.
    pub(super) fn oldest_arrival(&mut self) -> Option<i64> {
        let first = self.first;
        self.head.get(first).map(|entry| entry.arrival)
    }

    /// A reader at the oldest message.
    pub(super) fn reader(&self) -> Cursor {
        self.head.clone()
    }

    /// A reader for messages from `seq` on, which must not lie before the oldest one.
    pub(super) fn reader_at(&self, seq: u64) -> Cursor {
        let mut cursor = if seq >= self.tail.base { Cursor::new(self.tail.clone()) } else { self.head.clone() };
        cursor.advance(seq);
        cursor
    }

    /// The first message that arrived at `time` or later, or the end.
    pub(super) fn seek_time(&self, time: i64) -> u64 {
        // Arrival times never decrease, but segments are linked one way: walk segments, then bisect.
        let mut cursor = self.head.clone();
        let mut from = self.first;
        while cursor.segment.end() < self.end {
            match cursor.segment.next.get() {
                Some(next) if next.get(next.base).is_some_and(|entry| entry.arrival < time) => {
                    from = next.base;
                    cursor = Cursor::new(next.clone());
                }
                _ => break,
            }
        }
        let last = cursor.segment.end().min(self.end);
        let offset = (0..(last - from) as usize).collect::<Vec<_>>();
        let found = offset.partition_point(|offset| {
            cursor.segment.get(from + *offset as u64).is_some_and(|entry| entry.arrival < time)
        });
        from + found as u64
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::{ChannelName, EventName, Payload};

    use super::*;

    fn entry(arrival: i64) -> Entry {
        let name = EventName::parse("a:b").unwrap();
        let message = Message::new(name, ChannelName::parse("a").unwrap(), Payload::json("12"));
        Entry { message: Arc::new(message), arrival, expires: i64::MAX }
    }

    #[test]
    fn readers_follow_over_segments_and_old_ones_are_freed() {
        let mut log = Log::new();
        log.count_bytes(true);
        let mut reader = log.reader();
        let first = Arc::downgrade(&log.tail);
        for seq in 0..1_000 {
            assert_eq!(log.push(entry(seq)), seq as u64);
        }
        assert!((0..1_000).all(|seq| reader.get(seq).is_some_and(|entry| entry.arrival == seq as i64)));
        assert!(reader.get(1_000).is_none());
        (0..300).for_each(|_| drop(log.pop()));
        assert_eq!((log.first, log.end, log.bytes()), (300, 1_000, 1_400));
        log.count_bytes(false);
        log.count_bytes(true);
        assert_eq!(log.bytes(), 1_400);
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn a_trail_finds_everything_behind_its_place_and_keeps_nothing_before_it() {
        let mut log = Log::new();
        let (mut trail, first) = (Trail::new(log.reader()), Arc::downgrade(&log.tail));
        (0..1_000).for_each(|n| assert_eq!(log.push(entry(n)), n as u64));
        let mut finds = |range: std::ops::Range<u64>| {
            range.rev().all(|seq| trail.look(seq).is_some_and(|entry| entry.arrival == seq as i64))
        };
        assert!(finds(0..1_000) && finds(0..1_000));
        assert!(trail.look(1_000).is_none());
        (0..1_000).for_each(|_| drop(log.pop()));
        trail.advance(300);
        assert!(first.upgrade().is_none() && trail.look(299).is_some() && trail.look(255).is_none());
        trail.advance(5_000);
        assert!((trail.segments.len(), trail.look(999).is_some()) == (1, true));
    }

    #[test]
    fn times_are_found_by_bisection() {
        let mut log = Log::new();
        for n in 0..1_000 {
            log.push(entry(n / 10));
        }
        for (time, seq) in [(-1, 0), (0, 0), (1, 10), (50, 500), (99, 990), (100, 1_000), (1_000, 1_000)] {
            assert_eq!(log.seek_time(time), seq, "{time}");
        }
    }

    #[test]
    fn a_long_chain_is_freed_without_recursion() {
        let mut log = Log::new();
        let reader = log.reader();
        for n in 0..200_000 {
            log.push(entry(n));
        }
        drop(log);
        drop(reader);
    }
}
