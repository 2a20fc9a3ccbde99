//! What the groups have given up, read from where the library keeps it.

use std::collections::HashSet;

use pubsub::{
    ChannelName, ErrorKind, Event, EventId, GroupName, HistoryRange, Message, PubSub, StartPosition, driver::Stored,
};
use serde::Serialize;

use super::{failure::Failure, order::OrderCreated, publish::LINE};

const PAGE: usize = 500;

/// An order that a group has given up.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeadLetter {
    pub(crate) group: &'static str,
    pub(crate) order_id: String,
    pub(crate) line: u64,
    pub(crate) attempts: u32,
    pub(crate) reason: String,
}

/// The dead letters of one group, as far as they are read.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    pub(crate) group: &'static str,
    pub(crate) letters: Vec<DeadLetter>,
    channel: ChannelName,
    from: StartPosition,
    /// A letter is written at least once, as everything is: after a fault the same event may lie there again.
    known: HashSet<EventId>,
}

impl DeadLetters {
    pub(crate) fn of(group: &'static str) -> pubsub::Result<Self> {
        let channel = ChannelName::from_static(OrderCreated::CHANNEL)?.dead_letter(&GroupName::parse(group)?);
        Ok(Self { group, letters: Vec::new(), channel, from: StartPosition::Earliest, known: HashSet::new() })
    }

    /// Reads what has come since the last time.
    pub(crate) async fn read_on(&mut self, bus: &PubSub, run: &str) -> Result<(), Failure> {
        loop {
            let range = HistoryRange::new(self.channel.clone()).from(self.from.clone()).limit(PAGE);
            let page = match bus.history(&range).await {
                // The channel comes into being with its first dead letter. What cannot be read now is read next time.
                Err(error) if error.kind() == ErrorKind::NotFound || error.is_retryable() => return Ok(()),
                page => page?,
            };
            for Stored { message, .. } in &page.events {
                if message.meta().correlation_id.as_deref() == Some(run) && self.known.insert(message.id().clone()) {
                    self.letters.push(self.read(message)?);
                }
            }
            if let Some(next) = page.next {
                self.from = StartPosition::After(next);
            }
            if page.at_end {
                return Ok(());
            }
        }
    }

    fn read(&self, message: &Message) -> Result<DeadLetter, Failure> {
        let order: OrderCreated =
            message.decode().map_err(|error| Failure::Run(format!("dead letter {}: {error}", message.id())))?;
        let meta = message.meta();
        Ok(DeadLetter {
            group: self.group,
            order_id: order.order_id,
            line: meta.extra.get(LINE).and_then(|line| line.as_u64()).unwrap_or(0),
            attempts: meta.dead_attempts.unwrap_or(0),
            reason: meta.dead_reason.clone().unwrap_or_default(),
        })
    }
}
