//! Positions, and reading a channel's past.

use std::time::Duration;

use async_nats::{
    datetime,
    jetstream::{
        consumer::{AckPolicy, DeliverPolicy, pull},
        stream::Info,
    },
};
use pubsub_core::{
    ChannelName, ChannelPolicy, Error, ErrorKind, Position, Result, StartPosition,
    driver::{History, HistoryRange, Stored},
};
use tokio::time::{Instant, timeout_at};

use super::{
    connection::Shared,
    puller::{Heard, Puller},
    topology::{born, policy_of},
};

const SCHEME: &str = "nats";
/// How long a page may take.
const PAGE: Duration = Duration::from_secs(10);

/// A place in a channel: the stream's sequence, and when the stream was made.
pub(super) fn position(sequence: u64, born: u64) -> Position {
    match Position::pair(SCHEME, sequence, born) {
        Ok(position) => position,
        Err(_) => unreachable!("the scheme of positions follows the grammar"),
    }
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    Sequence(u64),
    Time(i64),
}

impl From {
    pub(super) fn policy(self) -> DeliverPolicy {
        match self {
            Self::Sequence(sequence) => DeliverPolicy::ByStartSequence { start_sequence: sequence.max(1) },
            Self::Time(millis) => match datetime::from_nanos(i128::from(millis) * 1_000_000) {
                Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
                Err(_) => DeliverPolicy::All,
            },
        }
    }
}

/// Where to begin in a stream, for a fresh group or for a broadcast.
///
/// # Errors
/// `PositionExpired` if events after the position are gone, `Invalid` for a foreign one, `Unsupported` where no history
/// is offered.
pub(super) fn resolve(channel: &ChannelName, info: &Info, start: &StartPosition, broadcast: bool) -> Result<From> {
    let policy = policy_of(&info.config);
    let end = info.state.last_sequence + 1;
    // An empty stream's first sequence is that of the next event.
    let first = info.state.first_sequence.max(1);
    match start {
        StartPosition::Stored if broadcast => Ok(From::Sequence(end)),
        StartPosition::Stored | StartPosition::Earliest => Ok(From::Sequence(first)),
        StartPosition::Latest => Ok(From::Sequence(end)),
        StartPosition::Time(time) => {
            demand_history(channel, &policy)?;
            Ok(From::Time(time.as_millis()))
        }
        StartPosition::After(position) => {
            demand_history(channel, &policy)?;
            let (sequence, epoch) = position.as_pair(SCHEME).map_err(|error| error.on(channel))?;
            let expired = |text: String| Err(Error::new(ErrorKind::PositionExpired, "start", text).on(channel));
            if epoch != born(info) {
                return expired(format!(
                    "position {position} is of an earlier life of this channel, or of another one"
                ));
            }
            if sequence >= end {
                let text = format!("field `position` lies beyond the end of the channel: {position}");
                return Err(Error::new(ErrorKind::Invalid, "start", text).on(channel));
            }
            if sequence + 1 < first {
                let lost = first - sequence - 1;
                return expired(format!("{lost} events after position {position} are no longer retained"));
            }
            Ok(From::Sequence(sequence + 1))
        }
        _ => Err(Error::new(ErrorKind::Unsupported, "start", "this start position is unknown here").on(channel)),
    }
}

fn demand_history(channel: &ChannelName, policy: &ChannelPolicy) -> Result<()> {
    if policy.retention.history {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "read history", "the channel's policy offers no history").on(channel))
}

/// One page of history.
///
/// # Errors
/// As [`Adapter::history`](pubsub_core::driver::Adapter::history).
pub(super) async fn read(shared: &Shared, range: &HistoryRange) -> Result<History> {
    const OPERATION: &str = "read history";
    let channel = &range.channel;
    let missing = || Error::new(ErrorKind::NotFound, OPERATION, "the channel does not exist").on(channel);
    let info = shared.stream(OPERATION, channel).await?.ok_or_else(missing)?;
    demand_history(channel, &policy_of(&info.config))?;
    let from = resolve(channel, &info, &range.from, false)?;
    let (epoch, state) = (born(&info), &info.state);
    let dropped = state.first_sequence.saturating_sub(1);
    let before = match from {
        From::Sequence(sequence) => sequence.saturating_sub(1),
        From::Time(_) => state.last_sequence,
    };
    let nothing = || History::new(Vec::new(), Some(position(before, epoch)), true).dropped(dropped);
    if range.limit == 0
        || state.messages == 0
        || matches!(from, From::Sequence(sequence) if sequence > state.last_sequence)
    {
        return Ok(nothing());
    }
    let config = pull::Config {
        deliver_policy: from.policy(),
        ack_policy: AckPolicy::None,
        filter_subject: shared.names.durable(channel, "*"),
        inactive_threshold: Duration::from_secs(30),
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let context = shared.context(OPERATION).await?;
    let stream = &info.config.name;
    let made = context.create_consumer_on_stream(config, stream).await;
    let consumer = made.map_err(|cause| super::group::consumer_fault(OPERATION, cause).on(channel))?;
    let name = consumer.cached_info().name.clone();
    let mut puller = Puller::open(shared, stream, &name).await?;
    let page = collect(shared, &mut puller, range, epoch).await;
    drop(puller);
    context.delete_consumer_from_stream(&name, stream).await.ok(); // else it goes by itself
    let (events, last, at_end) = page?;
    let next = last.map_or(before, |last| last);
    Ok(History::new(events, Some(position(next, epoch)), at_end).dropped(dropped))
}

async fn collect(
    shared: &Shared,
    puller: &mut Puller,
    range: &HistoryRange,
    epoch: u64,
) -> Result<(Vec<Stored>, Option<u64>, bool)> {
    let deadline = Instant::now() + PAGE;
    let late = || {
        Error::new(ErrorKind::Timeout, "read history", "the server did not send the page in time").on(&range.channel)
    };
    let (mut events, mut last) = (Vec::new(), None);
    loop {
        puller.fetch(range.limit - events.len()).await?;
        loop {
            match timeout_at(deadline, puller.hear()).await.map_err(|_| late())? {
                Heard::Event(mut event) => {
                    last = Some(event.sequence);
                    let message = event.read(shared, &range.channel);
                    let (pending, sequence) = (event.pending, event.sequence);
                    if let Some((message, _)) = message {
                        events.push(Stored::new(message, position(sequence, epoch)));
                    }
                    if pending == 0 {
                        return Ok((events, last, true));
                    }
                }
                Heard::Nothing => {}
                Heard::Less => break,
                Heard::Gone(why) => {
                    let text = format!("the channel's stream went away: {why}");
                    return Err(Error::new(ErrorKind::Unavailable, "read history", text).on(&range.channel));
                }
            }
            if events.len() >= range.limit {
                return Ok((events, last, false));
            }
            if puller.outstanding() == 0 {
                break;
            }
        }
        if puller.is_drained() {
            return Ok((events, last, true));
        }
    }
}
