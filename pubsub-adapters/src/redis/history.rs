//! Reading a channel's past, and finding positions in it.

use ::redis::cmd;
use pubsub_core::{
    Error, ErrorKind, Position, Result, StartPosition,
    driver::{History, HistoryRange, Stored},
};

use super::{
    channel::Channel,
    connection::Hub,
    error::unexpected,
    scripts,
    wire::{self, EntryId},
};

/// What a stream holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) exists: bool,
    pub(super) first: Option<EntryId>,
    /// The last id that was given, whether it is still there or not.
    pub(super) last: EntryId,
    pub(super) length: i64,
    /// How many were ever added.
    pub(super) added: i64,
}

impl Look {
    /// How many were removed.
    pub(super) fn dropped(&self) -> i64 {
        self.added - self.length
    }

    /// Whether events after this entry are perhaps no longer there.
    fn is_expired(&self, id: EntryId) -> bool {
        self.dropped() > 0 && self.first.map_or(id < self.last, |first| id < first)
    }
}

/// Looks at a stream.
///
/// # Errors
/// What the server says.
pub(super) async fn look(hub: &Hub, operation: &'static str, stream: &str) -> Result<Look> {
    let answer = hub.ask(operation, &scripts::LOOK.call(&[stream])).await?;
    parse_look(wire::list(answer).unwrap_or_default()).ok_or_else(|| unexpected(operation))
}

/// The answer of the script `look`.
pub(super) fn parse_look(parts: Vec<::redis::Value>) -> Option<Look> {
    if parts.is_empty() {
        return Some(Look::default());
    }
    let [first, last, length, added] = <[_; 4]>::try_from(parts).ok()?;
    Some(Look {
        exists: true,
        first: wire::entry_id(&first),
        last: wire::entry_id(&last)?,
        length: wire::int(&length)?,
        added: wire::int(&added)?,
    })
}

/// After which entry each shard begins: `0`, `$`, or an id.
///
/// # Errors
/// `PositionExpired`, `Invalid` for a foreign position, `Unsupported` where there is no history.
pub(super) async fn starts(
    hub: &Hub,
    operation: &'static str,
    channel: &Channel,
    start: &StartPosition,
) -> Result<Vec<String>> {
    let all = |text: &str| Ok(vec![text.to_owned(); channel.streams.len()]);
    match start {
        StartPosition::Stored | StartPosition::Earliest => all("0"),
        StartPosition::Latest => all("$"),
        StartPosition::Time(time) => {
            demand_history(operation, channel)?;
            all(&EntryId { ms: u64::try_from(time.as_millis()).unwrap_or(0), seq: 0 }.before().to_string())
        }
        StartPosition::After(position) => {
            demand_history(operation, channel)?;
            let (id, shard) = checked(hub, operation, channel, position).await?;
            // Other shards may have got events of the same millisecond since: those are taken again rather than missed.
            let loose = EntryId { ms: id.ms, seq: 0 }.before();
            let start = |other| if other == shard { id.to_string() } else { loose.to_string() };
            Ok((0..channel.streams.len()).map(start).collect())
        }
        _ => {
            let text = "this start position is unknown here";
            Err(Error::new(ErrorKind::Unsupported, operation, text).on(&channel.name))
        }
    }
}

fn demand_history(operation: &'static str, channel: &Channel) -> Result<()> {
    if channel.policy.retention.history {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, operation, "the channel's policy offers no history").on(&channel.name))
}

/// The entry and shard of a position whose successors are still there.
async fn checked(
    hub: &Hub,
    operation: &'static str,
    channel: &Channel,
    position: &Position,
) -> Result<(EntryId, usize)> {
    let refuse = |kind, text: String| Error::new(kind, operation, text).on(&channel.name);
    let (id, shard) = wire::parse_position(position).map_err(|error| error.on(&channel.name))?;
    let shards = channel.streams.len();
    let shard = match shard {
        Some(shard) if shards > 1 && shard < shards => shard,
        None if shards == 1 => 0,
        _ => return Err(refuse(ErrorKind::Invalid, format!("field `position` is not of this channel: {position}"))),
    };
    for (index, stream) in channel.streams.iter().enumerate() {
        let look = look(hub, operation, stream).await?;
        let own = index == shard;
        if own && look.added == 0 {
            let text = format!("position {position} is of an earlier life of this channel, or of another one");
            return Err(refuse(ErrorKind::PositionExpired, text));
        }
        if own && id > look.last {
            let text = format!("field `position` lies beyond the end of the channel: {position}");
            return Err(refuse(ErrorKind::Invalid, text));
        }
        if look.is_expired(id) {
            let text = format!("events after position {position} are no longer retained");
            return Err(refuse(ErrorKind::PositionExpired, text));
        }
    }
    Ok((id, shard))
}

/// One page of history.
///
/// # Errors
/// As [`Adapter::history`](pubsub_core::driver::Adapter::history).
pub(super) async fn read(hub: &Hub, range: &HistoryRange) -> Result<History> {
    const READ: &str = "read history";
    let channel = hub.channel(READ, &range.channel).await?;
    if channel.live.is_some() {
        return Err(Error::new(ErrorKind::Unsupported, READ, "an ephemeral channel has no history").on(&channel.name));
    }
    let mut looks = Vec::with_capacity(channel.streams.len());
    for stream in &channel.streams {
        looks.push(look(hub, READ, stream).await?);
    }
    if !channel.declared && looks.iter().all(|look| !look.exists) {
        return Err(Error::new(ErrorKind::NotFound, READ, "the channel does not exist").on(&channel.name));
    }
    demand_history(READ, &channel)?;
    let dropped = looks.iter().map(|look| u64::try_from(look.dropped()).unwrap_or(0)).sum();
    let shards = channel.streams.len();
    let end = looks.iter().enumerate().filter(|(_, look)| look.exists).map(|(shard, look)| (look.last, shard)).max();
    let end = end.and_then(|(id, shard)| wire::position(id, shard, shards));
    if range.from == StartPosition::Latest {
        return Ok(History::new(Vec::new(), end, true).dropped(dropped));
    }
    let begins = match &range.from {
        // Pages follow one another in the order of ids and then of shards, without a gap and without a repetition.
        StartPosition::After(position) => {
            let (id, shard) = checked(hub, READ, &channel, position).await?;
            (0..shards).map(|other| if other > shard { id.before() } else { id }).map(|id| id.to_string()).collect()
        }
        from => starts(hub, READ, &channel, from).await?,
    };
    let mut found = Vec::new();
    for (shard, (stream, begin)) in channel.streams.iter().zip(&begins).enumerate() {
        let mut get = cmd("XRANGE");
        get.arg(stream).arg(format!("({begin}")).arg("+").arg("COUNT").arg(range.limit + 1);
        let entries = wire::list(hub.ask(READ, &get).await?).ok_or_else(|| unexpected(READ))?;
        found.extend(entries.into_iter().filter_map(wire::entry).map(|entry| (entry.id, shard, entry)));
    }
    found.sort_unstable_by_key(|(id, shard, _)| (*id, *shard));
    let at_end = found.len() <= range.limit;
    found.truncate(range.limit);
    let mut events = Vec::with_capacity(found.len());
    for (id, shard, entry) in found {
        let Some(position) = wire::position(id, shard, shards) else { continue };
        events.push(Stored::new(wire::read(entry, &channel.name).0, position));
    }
    let next = match (events.last(), &range.from) {
        (Some(last), _) => Some(last.position.clone()),
        (None, StartPosition::After(position)) => Some(position.clone()),
        (None, _) => end,
    };
    Ok(History::new(events, next, at_end).dropped(dropped))
}
