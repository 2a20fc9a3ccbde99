//! The latest events of a channel, which all its streams read with cursors of their own.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use pubsub_core::Position;

use super::frame::Run;
use crate::cursor::Mark;

/// How much a log keeps: so much a subscriber may lag behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) events: u64,
    pub(crate) bytes: usize,
}

/// Runs of events, numbered from 0 since the log was begun.
#[derive(Debug)]
pub(crate) struct Log {
    runs: VecDeque<(u64, usize, Arc<Run>)>,
    /// The number of the next event.
    end: u64,
    bytes: usize,
    /// The place before the first event that is still here.
    before: Mark,
    places: HashMap<Position, u64>,
    bounds: Bounds,
}

impl Log {
    pub(crate) fn new(before: Mark, bounds: Bounds) -> Self {
        Self { runs: VecDeque::new(), end: 0, bytes: 0, before, places: HashMap::new(), bounds }
    }

    /// The number of the first event that is still here.
    pub(crate) fn start(&self) -> u64 {
        self.runs.front().map_or(self.end, |(first, _, _)| *first)
    }

    /// The number of the next event.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The place after the last event.
    pub(crate) fn head(&self) -> Mark {
        let last = self.runs.back().and_then(|(_, _, run)| run.frames.last());
        last.map_or_else(|| self.before.clone(), |frame| Mark::At(frame.position.clone()))
    }

    /// The number of the first event after this place, if the place is here.
    pub(crate) fn after(&self, mark: &Mark) -> Option<u64> {
        match (mark, &self.before) {
            (Mark::Origin(_), Mark::Origin(_)) => Some(self.start()),
            (Mark::At(position), Mark::At(before)) if position == before => Some(self.start()),
            (Mark::At(position), _) => self.places.get(position).map(|seq| seq + 1),
            (Mark::Origin(_), _) => None,
        }
    }

    /// Adds a run, and lets go of the oldest beyond the bounds.
    pub(crate) fn push(&mut self, run: Run) {
        let size = run.frames.iter().map(|frame| frame.message.wire_len() + 128).sum();
        for (index, frame) in run.frames.iter().enumerate() {
            self.places.insert(frame.position.clone(), self.end + index as u64);
        }
        let first = self.end;
        self.end += run.frames.len() as u64;
        self.bytes += size;
        self.runs.push_back((first, size, Arc::new(run)));
        while let [Some((first, size, run)), Some((next, _, _))] = [self.runs.front(), self.runs.get(1)] {
            // Never fewer events than may be lagged behind.
            let enough = self.end - next >= self.bounds.events;
            if !enough && self.bytes <= self.bounds.bytes {
                return;
            }
            let first = *first;
            self.bytes -= size;
            for (index, frame) in run.frames.iter().enumerate() {
                // A place may have been given again to a later event, where an adapter counts so.
                if self.places.get(&frame.position) == Some(&(first + index as u64)) {
                    self.places.remove(&frame.position);
                }
            }
            if let Some(last) = run.frames.last() {
                self.before = Mark::At(last.position.clone());
            }
            self.runs.pop_front();
        }
    }

    /// The run that holds an event, and where in it the event is. `None` if it is no longer here, or not yet.
    pub(crate) fn read(&self, seq: u64) -> Option<(Arc<Run>, usize)> {
        let index = self.runs.partition_point(|(first, _, _)| *first <= seq).checked_sub(1)?;
        let (first, _, run) = self.runs.get(index)?;
        let offset = usize::try_from(seq - first).ok()?;
        (offset < run.frames.len()).then(|| (run.clone(), offset))
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::{ChannelName, EventName, Message, Payload};

    use super::{super::frame::Frame, *};
    use crate::cursor::ChannelKey;

    fn at(seq: u64) -> Mark {
        Mark::At(Position::pair("mem", seq, 1).unwrap())
    }

    fn run(from: u64, count: u64) -> Run {
        let channel = ChannelName::parse("a").unwrap();
        let frame = |seq| Frame {
            message: Arc::new(Message::new(EventName::parse("a:b").unwrap(), channel.clone(), Payload::json("1"))),
            position: Position::pair("mem", seq, 1).unwrap(),
            hidden: false,
        };
        Run::new(ChannelKey::of(&channel), (from..from + count).map(frame).collect())
    }

    #[test]
    fn a_log_keeps_what_may_be_lagged_behind_and_no_more() {
        let mut log = Log::new(Mark::Origin(0), Bounds { events: 10, bytes: usize::MAX });
        assert_eq!((log.after(&Mark::Origin(0)), log.head()), (Some(0), Mark::Origin(0)));
        for at in 0..20 {
            log.push(run(100 + at * 3, 3));
            assert!(log.end() - log.start() >= 10.min(log.end()) && log.end() - log.start() < 13);
            assert_eq!(log.places.len() as u64, log.end() - log.start());
        }
        let start = log.start();
        assert_eq!(log.after(&Mark::Origin(0)), None);
        assert_eq!(log.after(&at(100 + start - 1)), Some(start), "the place before the first is known");
        assert_eq!(log.after(&at(100 + start - 2)), None);
        assert_eq!((log.after(&at(159)), log.head()), (Some(60), at(159)));
        assert!(log.read(start - 1).is_none() && log.read(60).is_none());
        let (run, offset) = log.read(59).unwrap();
        assert_eq!(run.frames[offset].position, Position::pair("mem", 159, 1).unwrap());
    }

    #[test]
    fn bytes_bound_it_as_well_but_the_last_run_stays() {
        let mut log = Log::new(Mark::Origin(0), Bounds { events: 1_000, bytes: 300 });
        for at in 0..10 {
            log.push(run(at, 1));
            assert!(log.bytes <= 300 || log.runs.len() == 1);
        }
        log.push(run(10, 50));
        assert_eq!((log.runs.len(), log.end() - log.start()), (1, 50));
    }
}
