//! Reading a channel's past, and finding positions in it.

use pubsub_core::{
    Error, ErrorKind, Position, Result, StartPosition,
    driver::{History, HistoryRange, Stored},
};

use super::{
    SCHEME,
    bus::Bus,
    channel::{Channel, State},
};

/// The sequence number at which `start` begins.
pub(super) fn resolve(channel: &Channel, state: &State, start: &StartPosition, broadcast: bool) -> Result<u64> {
    match start {
        StartPosition::Stored if broadcast => Ok(state.end()),
        StartPosition::Stored | StartPosition::Earliest => Ok(state.first()),
        StartPosition::Latest => Ok(state.end()),
        StartPosition::Time(time) => {
            demand_history(channel, state)?;
            Ok(state.seek_time(time.as_millis()))
        }
        StartPosition::After(position) => {
            demand_history(channel, state)?;
            after(channel, state, position)
        }
        _ => Err(Error::new(ErrorKind::Unsupported, "start", "this start position is unknown here").on(&channel.name)),
    }
}

fn demand_history(channel: &Channel, state: &State) -> Result<()> {
    if state.policy.retention.history {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "read history", "the channel's policy offers no history").on(&channel.name))
}

fn after(channel: &Channel, state: &State, position: &Position) -> Result<u64> {
    let (seq, epoch) = position.as_pair(SCHEME).map_err(|error| error.on(&channel.name))?;
    let expired = |text: String| Err(Error::new(ErrorKind::PositionExpired, "start", text).on(&channel.name));
    if epoch != channel.born() {
        return expired(format!("position {position} is of an earlier life of this channel, or of another one"));
    }
    if seq >= state.end() {
        let text = format!("field `position` lies beyond the end of the channel: {position}");
        return Err(Error::new(ErrorKind::Invalid, "start", text).on(&channel.name));
    }
    let next = seq + 1;
    if next < state.first() {
        let lost = state.first() - next;
        return expired(format!("{lost} events after position {position} are no longer retained"));
    }
    Ok(next)
}

/// One page of history.
pub(super) fn read(bus: &Bus, range: &HistoryRange) -> Result<History> {
    let missing = || Error::new(ErrorKind::NotFound, "read history", "the channel does not exist").on(&range.channel);
    let channel = bus.find(&range.channel).ok_or_else(missing)?;
    let now = bus.now();
    channel.touch(now);
    let state = channel.lock();
    demand_history(&channel, &state)?;
    let from = resolve(&channel, &state, &range.from, false)?;
    // Sequence numbers begin at zero, so the first that is left tells how many are gone.
    let (end, dropped, mut cursor) = (state.end(), state.first(), state.reader());
    drop(state);

    let mut events = Vec::new();
    let mut next = from;
    while next < end && events.len() < range.limit {
        let Some(entry) = cursor.get(next) else { break };
        if entry.expires > now {
            events.push(Stored::new(entry.message.clone(), channel.position(next)));
        }
        next += 1;
    }
    let position = match (&range.from, next.checked_sub(1)) {
        (_, Some(last)) => Some(channel.position(last)),
        (StartPosition::After(position), None) => Some(position.clone()),
        _ => None,
    };
    Ok(History::new(events, position, next >= end).dropped(dropped))
}
