//! Reading what a channel retains, without a group.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use pubsub_core::{
    Error, ErrorKind, Result, StartPosition,
    driver::{History, HistoryRange, Stored},
};
use rdkafka::{
    Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Message,
};

use super::{
    connection::{Context, Link, blocking, reap},
    error::error,
    position::{Bounds, bounds, resolve},
    topology::Topic,
};

/// How long a page may take.
const PAGE: Duration = Duration::from_secs(15);

/// A record of the past: when it was stored, and what it is.
type Past = (i64, i32, i64, Arc<pubsub_core::Message>);

impl Link {
    /// A page of a channel's history.
    ///
    /// # Errors
    /// As [`Adapter::history`](pubsub_core::driver::Adapter::history).
    pub(super) async fn history(self: &Arc<Self>, range: &HistoryRange) -> Result<History> {
        let policy = self.policies.get(&range.channel);
        if policy.is_some_and(|policy| !policy.retention.history) {
            return Err(Error::new(ErrorKind::Unsupported, "read history", "the channel's policy offers no history"));
        }
        let missing = || Error::new(ErrorKind::NotFound, "read history", "the channel does not exist");
        let topic = self.find(&range.channel).await?.ok_or_else(missing)?;
        let (wanted, start) = (topic.clone(), range.from.clone());
        let asked = self.ask("read history", move |explorer| {
            let from = resolve(explorer, &wanted, &start, false)?;
            Ok((from, bounds(explorer, &wanted)?))
        });
        let (from, ends) = asked.await?;
        let open: Vec<_> =
            from.iter().zip(&ends).filter(|((_, offset), end)| *offset < end.high).map(|(from, _)| *from).collect();
        let past = if open.is_empty() || range.limit == 0 {
            Vec::new()
        } else {
            let (link, topic, range) = (self.clone(), topic.clone(), range.clone());
            let highs: BTreeMap<_, _> = ends.iter().map(|end| (end.partition, end.high)).collect();
            blocking("read history", move || link.read_page(&topic, &range, &open, &highs)).await??
        };
        Ok(page(&topic, range, &from, &ends, past))
    }

    /// Reads up to `limit` records of each partition; waits for the broker.
    fn read_page(
        &self,
        topic: &Topic,
        range: &HistoryRange,
        from: &[(i32, i64)],
        highs: &BTreeMap<i32, i64>,
    ) -> Result<Vec<Past>> {
        let mut config = self.options.client();
        config.set("group.id", self.names.group("_history", "_history"));
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
        config.set("fetch.wait.max.ms", "100").set("allow.auto.create.topics", "false");
        self.options.finish(&mut config);
        let reader = BaseConsumer::from_config_and_context(&config, Context(self.signals.clone()));
        let reader = reader.map_err(|cause| error("read history", cause))?;
        let read = self.read_with(&reader, topic, range, from, highs);
        reap(reader);
        read
    }

    fn read_with(
        &self,
        reader: &BaseConsumer<Context>,
        topic: &Topic,
        range: &HistoryRange,
        from: &[(i32, i64)],
        highs: &BTreeMap<i32, i64>,
    ) -> Result<Vec<Past>> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in from {
            let added = list.add_partition_offset(&topic.name, *partition, Offset::Offset(*offset));
            added.map_err(|cause| error("read history", cause))?;
        }
        reader.assign(&list).map_err(|cause| error("read history", cause))?;
        drop(list);
        let (mut past, until) = (Vec::<Past>::new(), Instant::now() + PAGE);
        let mut left: BTreeMap<i32, usize> = from.iter().map(|(partition, _)| (*partition, range.limit)).collect();
        while !left.is_empty() {
            if Instant::now() >= until {
                let text = format!("the broker did not hand out the page within {PAGE:?}");
                return Err(Error::new(ErrorKind::Timeout, "read history", text));
            }
            match reader.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    let (partition, offset) = (record.partition(), record.offset());
                    let Some(more) = left.get_mut(&partition) else { continue };
                    *more -= 1;
                    let high = highs.get(&partition).copied().unwrap_or(0);
                    if *more == 0 || offset + 1 >= high {
                        left.remove(&partition);
                    }
                    if offset < high {
                        let (message, _) = self.wire.read(&record, &range.channel, topic.born);
                        past.push((record.timestamp().to_millis().unwrap_or(0), partition, offset, message));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
                Some(Err(cause @ KafkaError::MessageConsumptionFatal(_))) => return Err(error("read history", cause)),
                // The client tries again by itself.
                Some(Err(_)) | None => {}
            }
        }
        Ok(past)
    }
}

/// Puts the oldest first. Timestamps are their publishers' and may run back, but a page begins where the one before it has
/// ended, so each partition keeps its order: a record counts as no older than those before it.
fn sort(past: &mut [Past]) {
    past.sort_by_key(|(_, partition, offset, _)| (*partition, *offset));
    let mut latest = (i32::MIN, i64::MIN);
    for (time, partition, ..) in past.iter_mut() {
        latest = if *partition == latest.0 { (*partition, latest.1.max(*time)) } else { (*partition, *time) };
        *time = latest.1;
    }
    past.sort_by_key(|(time, partition, offset, _)| (*time, *partition, *offset));
}

/// The oldest of what was read, and where to go on.
fn page(topic: &Topic, range: &HistoryRange, from: &[(i32, i64)], ends: &[Bounds], mut past: Vec<Past>) -> History {
    sort(&mut past);
    let whole = past.len() <= range.limit;
    past.truncate(range.limit);
    let mut next: BTreeMap<i32, i64> = from.iter().copied().collect();
    let mut events = Vec::with_capacity(past.len());
    let place = |next: &BTreeMap<i32, i64>| {
        let read: Vec<_> =
            next.iter().filter(|(_, next)| **next > 0).map(|(partition, next)| (*partition, next - 1)).collect();
        topic.marks.of(&read)
    };
    for (_, partition, offset, message) in past {
        next.insert(partition, offset + 1);
        if let Some(position) = place(&next) {
            events.push(Stored::new(message, position));
        }
    }
    let through = |end: &Bounds| next.get(&end.partition).is_none_or(|next| *next >= end.high);
    let at_end = whole && (events.len() < range.limit || ends.iter().all(through));
    let position = match (&range.from, events.is_empty()) {
        (StartPosition::After(position), true) => Some(position.clone()),
        _ => place(&next),
    };
    let dropped = ends.iter().map(|end| end.low.unsigned_abs()).sum();
    History::new(events, position, at_end).dropped(dropped)
}

#[cfg(test)]
mod tests {
    use pubsub_core::{ChannelName, EventName, Payload};

    use super::*;

    #[test]
    fn times_that_run_back_do_not_break_the_order_of_a_partition() {
        let (name, channel) = (EventName::parse("a:b").unwrap(), ChannelName::parse("a").unwrap());
        let message = Arc::new(pubsub_core::Message::new(name, channel, Payload::json("1")));
        let past = |list: &[(i64, i32, i64)]| {
            list.iter().map(|(time, part, offset)| (*time, *part, *offset, message.clone())).collect::<Vec<_>>()
        };
        let mut all = past(&[(50, 0, 6), (100, 0, 5), (70, 1, 0), (120, 1, 1), (10, 0, 7), (110, 0, 8)]);
        sort(&mut all);
        let order: Vec<_> = all.iter().map(|(_, partition, offset, _)| (*partition, *offset)).collect();
        assert_eq!(order, [(1, 0), (0, 5), (0, 6), (0, 7), (0, 8), (1, 1)]);
    }
}
