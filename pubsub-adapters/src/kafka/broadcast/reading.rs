//! A channel that a broadcast reads, and how far.

use std::collections::BTreeMap;

use pubsub_core::{
    ChannelName, ChannelPolicy, Position, Result,
    driver::{Gap, GapReason},
};

use crate::{
    common::feed::Feed,
    kafka::{
        connection::Link,
        position::{Bounds, bounds},
        topology::Topic,
    },
};

/// How many events are missed, where that is known, and why.
type Missed = (Option<u64>, GapReason);

/// A channel that is read.
pub(super) struct Reading {
    pub(super) channel: ChannelName,
    pub(super) topic: Topic,
    /// The offset that comes next in each partition.
    pub(super) next: BTreeMap<i32, i64>,
    /// It is certain that events were lost.
    pub(super) lost: bool,
}

impl Reading {
    pub(super) fn new(channel: ChannelName, topic: Topic, offsets: Vec<(i32, i64)>) -> Self {
        Self { channel, topic, next: offsets.into_iter().collect(), lost: false }
    }

    /// Looks for the channel on the broker, which may have lost it, and says where to go on. Everything that a new one has
    /// is read: what nobody reads, a gap covers.
    pub(super) async fn find_again(&mut self, link: &Link, feed: &Feed) -> Result<Vec<(i32, i64)>> {
        let topic = match link.find(&self.channel).await? {
            Some(topic) => topic,
            // Nobody else would make it again, and who asks waits for its replies.
            None if self.channel.is_inbox() => {
                let name = link.names.topic(&self.channel)?;
                link.create(&self.channel, &name, &ChannelPolicy::new().ephemeral()).await?
            }
            None => link.demand(&self.channel, "receive").await?,
        };
        let wanted = topic.clone();
        let bounds = link.ask("receive", move |explorer| bounds(explorer, &wanted)).await?;
        let (offsets, gaps) = self.resume(&topic, &bounds);
        for (lost, reason) in gaps {
            feed.gap(Gap::new(self.channel.clone(), lost, reason));
        }
        self.topic = topic;
        self.next = offsets.iter().copied().collect();
        self.lost = false;
        Ok(offsets)
    }

    /// Where to go on, and what is missed.
    fn resume(&self, topic: &Topic, bounds: &[Bounds]) -> (Vec<(i32, i64)>, Vec<Missed>) {
        let beyond = |part: &Bounds| self.next.get(&part.partition).is_some_and(|next| *next > part.high);
        if self.lost || topic.born != self.topic.born || bounds.iter().any(beyond) {
            let all = bounds.iter().map(|part| (part.partition, part.low)).collect();
            return (all, vec![(None, GapReason::DataLoss)]);
        }
        let mut gaps = Vec::new();
        let mut offsets = Vec::with_capacity(bounds.len());
        for part in bounds {
            let next = self.next.get(&part.partition).copied().unwrap_or(0);
            if next < part.low {
                gaps.push((Some((part.low - next).unsigned_abs()), GapReason::Retention));
            }
            offsets.push((part.partition, next.max(part.low)));
        }
        (offsets, gaps)
    }

    /// The position of whoever has read so far.
    pub(super) fn position(&self) -> Option<Position> {
        if let (1, Some((partition, next))) = (self.next.len(), self.next.first_key_value()) {
            return self.topic.position(*partition, next - 1);
        }
        let read: Vec<_> =
            self.next.iter().filter(|(_, next)| **next > 0).map(|(partition, next)| (*partition, next - 1)).collect();
        self.topic.marks.of(&read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(partition: i32, low: i64, high: i64) -> Bounds {
        Bounds { partition, low, high }
    }

    #[test]
    fn a_new_client_goes_on_and_a_new_log_is_read_from_its_start() {
        let topic = |born| Topic::new("orders", 2, born).unwrap();
        let channel = ChannelName::parse("orders").unwrap();
        let mut reading = Reading::new(channel, topic(7), vec![(0, 5), (1, 9)]);
        assert_eq!(reading.resume(&topic(7), &[part(0, 0, 5), part(1, 0, 20)]), (vec![(0, 5), (1, 9)], vec![]));
        let grown = reading.resume(&topic(7), &[part(0, 0, 5), part(1, 0, 20), part(2, 0, 3)]);
        assert_eq!(grown, (vec![(0, 5), (1, 9), (2, 0)], vec![]));
        let retention = vec![(Some(3), GapReason::Retention)];
        assert_eq!(reading.resume(&topic(7), &[part(0, 8, 9), part(1, 0, 20)]), (vec![(0, 8), (1, 9)], retention));
        let loss = vec![(None, GapReason::DataLoss)];
        assert_eq!(reading.resume(&topic(8), &[part(0, 0, 50), part(1, 0, 50)]), (vec![(0, 0), (1, 0)], loss.clone()));
        assert_eq!(reading.resume(&topic(7), &[part(0, 0, 4), part(1, 0, 50)]), (vec![(0, 0), (1, 0)], loss.clone()));
        reading.lost = true;
        assert_eq!(reading.resume(&topic(7), &[part(0, 1, 50), part(1, 2, 50)]), (vec![(0, 1), (1, 2)], loss));
    }
}
