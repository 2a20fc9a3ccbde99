//! Reading what a channel retains, without subscribing.

use std::sync::Arc;

use crate::{ChannelName, Message, Position, StartPosition};

/// Which part of a channel's history to read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HistoryRange {
    /// The channel.
    pub channel: ChannelName,
    /// Where to start. `Stored` reads as `Earliest`, and `Latest` gives nothing but the present end.
    pub from: StartPosition,
    /// The most events to return; at most 10,000.
    pub limit: usize,
}

impl HistoryRange {
    /// The first 100 events of a channel.
    pub fn new(channel: ChannelName) -> Self {
        Self { channel, from: StartPosition::Earliest, limit: 100 }
    }

    /// Sets where to start.
    #[must_use]
    pub fn from(mut self, from: StartPosition) -> Self {
        self.from = from;
        self
    }

    /// Sets the most events to return.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.min(10_000);
        self
    }
}

/// An event of the past.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stored {
    /// The event.
    pub message: Arc<Message>,
    /// Where it lies.
    pub position: Position,
}

impl Stored {
    /// An event and its place.
    pub fn new(message: Arc<Message>, position: Position) -> Self {
        Self { message, position }
    }
}

/// A page of history.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct History {
    /// The events, oldest first.
    pub events: Vec<Stored>,
    /// Where to go on: start the next page after this position. Present even when nothing was found.
    pub next: Option<Position>,
    /// Whether the end of the channel was reached.
    pub at_end: bool,
    /// How many events of the channel retention has removed so far, where the adapter knows.
    pub dropped: Option<u64>,
}

impl History {
    /// A page.
    pub fn new(events: Vec<Stored>, next: Option<Position>, at_end: bool) -> Self {
        Self { events, next, at_end, dropped: None }
    }

    /// Sets how many events of the channel retention has removed so far.
    #[must_use]
    pub fn dropped(mut self, dropped: u64) -> Self {
        self.dropped = Some(dropped);
        self
    }
}
