//! Positions: the offset of the last record per partition, and which life of the channel they are of.

use std::fmt::Write as _;

use pubsub_core::{Error, ErrorKind, Position, Result, StartPosition};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use super::{
    connection::{ANSWER, Context},
    error::{error, settled},
    topology::Topic,
};

pub(super) const SCHEME: &str = "kafka";
/// The longest text of a position.
const MAX_TEXT: usize = 1_000;

/// Makes the positions of one channel: a pair where there is one partition, else a list.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    pair: Position,
    single: bool,
    born: u64,
}

impl Marks {
    pub(super) fn new(partitions: i32, born: u64) -> Result<Self> {
        Ok(Self { pair: Position::pair(SCHEME, 0, born)?, single: partitions == 1, born })
    }

    /// The position of one record alone.
    pub(super) fn of_one(&self, partition: i32, offset: i64) -> Option<Position> {
        if self.single && partition == 0 {
            return Some(self.pair.with_pair(u64::try_from(offset).ok()?, self.born));
        }
        self.of(&[(partition, offset)])
    }

    /// The position of whoever has read so far in these partitions.
    pub(super) fn of(&self, read: &[(i32, i64)]) -> Option<Position> {
        if let (true, [(0, offset)]) = (self.single, read) {
            return self.of_one(0, *offset);
        }
        let mut text = String::with_capacity(16 * read.len());
        for (partition, offset) in read {
            let _ = write!(text, "{}{partition}:{offset}", if text.is_empty() { "" } else { "," });
        }
        if text.len() > MAX_TEXT || text.is_empty() {
            return None;
        }
        let _ = write!(text, ";{:x}", self.born);
        Position::text(SCHEME, &text).ok()
    }
}

/// A position taken apart: life, and the last offsets read.
fn parse(position: &Position) -> Result<(u64, Vec<(i32, i64)>)> {
    if let Ok((offset, born)) = position.as_pair(SCHEME) {
        let offset = i64::try_from(offset).map_err(|_| foreign(position))?;
        return Ok((born, vec![(0, offset)]));
    }
    let text = position.as_text(SCHEME)?;
    let (list, born) = text.split_once(';').ok_or_else(|| foreign(position))?;
    let born = u64::from_str_radix(born, 16).map_err(|_| foreign(position))?;
    let parts = list.split(',').map(|part| {
        let (partition, offset) = part.split_once(':')?;
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        (partition >= 0 && offset >= 0).then_some((partition, offset))
    });
    let parts = parts.collect::<Option<Vec<_>>>().ok_or_else(|| foreign(position))?;
    Ok((born, parts))
}

fn foreign(position: &Position) -> Error {
    Error::new(ErrorKind::Invalid, "start", format!("field `position` is not one of Kafka's: {position}"))
}

/// The first and the next offset of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) partition: i32,
    pub(super) low: i64,
    pub(super) high: i64,
}

/// What every partition has; waits for the broker.
pub(super) fn bounds(explorer: &BaseConsumer<Context>, topic: &Topic) -> Result<Vec<Bounds>> {
    (0..topic.partitions).map(|partition| bounds_of(explorer, &topic.name, partition)).collect()
}

pub(super) fn bounds_of<C: Consumer<T>, T: rdkafka::consumer::ConsumerContext>(
    explorer: &C,
    topic: &str,
    partition: i32,
) -> Result<Bounds> {
    // What is new, or has moved, is known to its leader before the others.
    let asked = settled(ANSWER, || explorer.fetch_watermarks(topic, partition, ANSWER));
    let (low, high) = asked.map_err(|cause| error("find offsets", cause))?;
    Ok(Bounds { partition, low, high })
}

/// The offset at which each partition is read from; waits for the broker.
///
/// # Errors
/// `PositionExpired`, `Invalid`, `Unsupported`, and what the broker reports.
pub(super) fn resolve(
    explorer: &BaseConsumer<Context>,
    topic: &Topic,
    start: &StartPosition,
    broadcast: bool,
) -> Result<Vec<(i32, i64)>> {
    let bounds = bounds(explorer, topic)?;
    match start {
        StartPosition::Stored if broadcast => Ok(bounds.iter().map(|part| (part.partition, part.high)).collect()),
        StartPosition::Latest => Ok(bounds.iter().map(|part| (part.partition, part.high)).collect()),
        StartPosition::Stored | StartPosition::Earliest => {
            Ok(bounds.iter().map(|part| (part.partition, part.low)).collect())
        }
        StartPosition::After(position) => after(topic, position, &bounds),
        StartPosition::Time(time) => {
            let mut wanted = TopicPartitionList::new();
            for part in &bounds {
                let added =
                    wanted.add_partition_offset(&topic.name, part.partition, Offset::Offset(time.as_millis().max(0)));
                added.map_err(|cause| error("start", cause))?;
            }
            let found = explorer.offsets_for_times(wanted, ANSWER).map_err(|cause| error("start", cause))?;
            let offset =
                |part: &Bounds| match found.find_partition(&topic.name, part.partition).map(|found| found.offset()) {
                    Some(Offset::Offset(offset)) => offset,
                    _ => part.high,
                };
            Ok(bounds.iter().map(|part| (part.partition, offset(part))).collect())
        }
        _ => Err(Error::new(ErrorKind::Unsupported, "start", "this start position is unknown here")),
    }
}

/// What comes after a position. Partitions of which it says nothing are read from their start: nothing is passed over.
fn after(topic: &Topic, position: &Position, bounds: &[Bounds]) -> Result<Vec<(i32, i64)>> {
    let (born, read) = parse(position)?;
    let expired = |text: String| Err(Error::new(ErrorKind::PositionExpired, "start", text));
    if born != topic.born {
        return expired(format!("position {position} is of an earlier life of this channel, or of another one"));
    }
    if let Some((partition, _)) = read.iter().find(|(partition, _)| *partition >= topic.partitions) {
        let text = format!("field `position` names partition {partition}, which the channel does not have: {position}");
        return Err(Error::new(ErrorKind::Invalid, "start", text));
    }
    let mut offsets = Vec::with_capacity(bounds.len());
    for part in bounds {
        let next = read.iter().find(|(partition, _)| *partition == part.partition).map(|(_, offset)| offset + 1);
        let next = next.unwrap_or(part.low);
        if next > part.high {
            let text = format!("field `position` lies beyond the end of the channel: {position}");
            return Err(Error::new(ErrorKind::Invalid, "start", text));
        }
        if next < part.low {
            let lost = part.low - next;
            return expired(format!("{lost} events after position {position} are no longer retained"));
        }
        offsets.push((part.partition, next));
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back() {
        for (partitions, read) in [(1, vec![(0, 17)]), (4, vec![(0, 1), (3, 99)]), (4, vec![(2, 0)])] {
            let marks = Marks::new(partitions, 0xab).unwrap();
            let position: Position = marks.of(&read).unwrap().to_string().parse().unwrap();
            assert_eq!(parse(&position).unwrap(), (0xab, read));
        }
    }

    #[test]
    fn what_is_gone_or_foreign_is_refused() {
        let topic = Topic::new("a", 2, 7).unwrap();
        let bounds = [Bounds { partition: 0, low: 5, high: 9 }, Bounds { partition: 1, low: 0, high: 3 }];
        let start = |text: &str| after(&topic, &text.parse().unwrap(), &bounds);
        assert_eq!(start("kafka:0:4,1:2;7").unwrap(), [(0, 5), (1, 3)]);
        assert_eq!(start("kafka:1:0;7").unwrap(), [(0, 5), (1, 1)]);
        for (text, kind) in [
            ("kafka:0:3;7", ErrorKind::PositionExpired),
            ("kafka:0:4;8", ErrorKind::PositionExpired),
            ("kafka:0:9;7", ErrorKind::Invalid),
            ("kafka:9:1;7", ErrorKind::Invalid),
            ("kafka:x;7", ErrorKind::Invalid),
            ("kafka:0:-1;7", ErrorKind::Invalid),
            ("redis:1-2", ErrorKind::Invalid),
        ] {
            assert_eq!(start(text).unwrap_err().kind(), kind, "{text}");
        }
    }
}
