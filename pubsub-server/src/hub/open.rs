//! Opening a stream: its channels, and where in each of them it begins.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use pubsub_core::{ChannelName, ErrorKind, rpc::FailureCode};

use super::{
    Holding, Hub, Inner,
    channel::{Channel, Page},
    stream::{EventStream, Filter, Part},
    subscriber::{Seat, Subscriber},
};
use crate::{
    ApiError,
    cursor::{Cursor, EARLIEST, MAX_CURSOR, Mark, longest},
};

/// Where a stream begins.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// With what comes from now on.
    Live,
    /// With everything that is retained.
    Earliest,
    /// After this place, which came as this text.
    After(Cursor, String),
}

impl Start {
    /// Reads a position as clients give it; an empty one counts as none.
    ///
    /// # Errors
    /// `BAD_REQUEST` for what no server of this library wrote.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        match text {
            None | Some("") => Ok(Self::Live),
            Some(EARLIEST) => Ok(Self::Earliest),
            Some(text) => match Cursor::parse(text) {
                Some(cursor) => Ok(Self::After(cursor, text.to_owned())),
                None => Err(ApiError::bad_request("the position is not a cursor of this service")),
            },
        }
    }
}

/// What a stream does where events after its position are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnGap {
    /// It says so, and goes on with what is retained.
    #[default]
    Replay,
    /// It is refused, or ended.
    Error,
}

/// A channel of a stream, and how many streams the channel may have.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) channel: ChannelName,
    pub(crate) max_subscribers: Option<u32>,
}

/// What a stream is to give.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) channels: Vec<Ask>,
    pub(crate) start: Start,
    pub(crate) on_gap: OnGap,
    pub(crate) filter: Filter,
}

/// A stream in the list of all streams.
struct Listed {
    inner: Arc<Inner>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.inner.streams().remove(&self.number);
    }
}

/// Gives back what an opening that fails has taken.
struct Opening(Option<Arc<Subscriber>>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(subscriber) = &self.0 {
            subscriber.release();
        }
    }
}

/// Where a part begins.
enum Begin {
    /// In the log, with this event.
    Log(u64, Mark),
    /// In history, with this page.
    History(Mark, Arc<Page>),
}

impl Hub {
    /// Opens a stream. When this returns, whatever is published from then on reaches it.
    ///
    /// Cancel safe: a stream that is not returned holds nothing.
    ///
    /// # Errors
    /// `TOO_MANY_REQUESTS` where a channel or the server has enough streams, `PRECONDITION_FAILED` for a gap that the
    /// caller does not want, `BAD_REQUEST` for more channels than a cursor can tell of, `SERVICE_UNAVAILABLE`.
    pub(crate) async fn open(&self, wanted: Wanted) -> Result<EventStream, ApiError> {
        let subscriber = Arc::new(Subscriber::default());
        self.list(&subscriber)?;
        let mut opening = Opening(Some(subscriber.clone()));
        let mut parts = Vec::with_capacity(wanted.channels.len());
        let mut missed = None;
        for ask in &wanted.channels {
            let (part, complete) = self.begin(ask, &wanted, &subscriber).await?;
            if !complete && missed.is_none() {
                missed = Some(parts.len());
            }
            parts.push(part);
        }
        if longest(parts.iter().map(|part: &Part| &part.mark)) > MAX_CURSOR {
            return Err(ApiError::bad_request("so many channels do not fit into one cursor: use several streams"));
        }
        opening.0 = None;
        Ok(EventStream::new(self.shared().clone(), subscriber, parts, wanted, missed))
    }

    fn list(&self, subscriber: &Arc<Subscriber>) -> Result<(), ApiError> {
        let number = self.inner.next_stream.fetch_add(1, Ordering::Relaxed);
        {
            let mut streams = self.inner.streams();
            if self.is_draining() {
                return Err(ApiError::unavailable("the server is being drained"));
            }
            if streams.len() >= self.inner.max_streams {
                return Err(ApiError::new(FailureCode::TooManyRequests, "this server has no room for more streams"));
            }
            streams.insert(number, subscriber.clone());
        }
        subscriber.hold(Listed { inner: self.inner.clone(), number });
        Ok(())
    }

    /// Takes a seat at a channel, and finds where to begin; false if events are missing before that.
    async fn begin(&self, ask: &Ask, wanted: &Wanted, subscriber: &Arc<Subscriber>) -> Result<(Part, bool), ApiError> {
        let (used, channel) = self.channel(&ask.channel).await?;
        let seat = Arc::new(Seat { subscriber: subscriber.clone(), next: AtomicU64::new(Seat::APART) });
        let Some(place) = channel.seats.add(seat.clone(), ask.max_subscribers) else {
            let text = format!("channel `{}` has no room for more subscribers", ask.channel);
            return Err(ApiError::new(FailureCode::TooManyRequests, text));
        };
        subscriber.hold(Holding { channel: channel.clone(), seat: seat.clone(), place, _used: used });
        let found = match &wanted.start {
            Start::Live => Some(at_head(&channel)),
            Start::Earliest => Some(self.begin_at_origin(&channel).await?),
            Start::After(cursor, _) => match cursor.get(channel.key) {
                Some(mark) => self.resume(&channel, mark).await?,
                None => None,
            },
        };
        let complete = found.is_some();
        if !complete && wanted.on_gap == OnGap::Error {
            let text = format!("events of channel `{}` after this position are no longer there", ask.channel);
            return Err(ApiError::new(FailureCode::PreconditionFailed, text));
        }
        let begin = match found {
            Some(begin) => begin,
            None => self.begin_at_origin(&channel).await?,
        };
        let part = match begin {
            Begin::Log(next, mark) => Part::in_log(channel, seat, next, mark),
            Begin::History(mark, page) => Part::in_history(channel, seat, mark, page),
        };
        Ok((part, complete))
    }

    /// With everything that is retained; with what comes, where nothing is.
    async fn begin_at_origin(&self, channel: &Arc<Channel>) -> Result<Begin, ApiError> {
        match channel.page(self.shared(), &Mark::Origin(0)).await {
            Ok(page) => Ok(Begin::History(Mark::Origin(page.dropped.unwrap_or(u64::MAX)), page)),
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(at_head(channel)),
            Err(error) => Err(ApiError::of(&error)),
        }
    }

    /// After a place; `None` if events after it are gone.
    async fn resume(&self, channel: &Arc<Channel>, mark: &Mark) -> Result<Option<Begin>, ApiError> {
        if let (Mark::At(_), Some(next)) = (mark, channel.resume(mark)) {
            return Ok(Some(Begin::Log(next, mark.clone())));
        }
        match channel.page(self.shared(), mark).await {
            Ok(page) => {
                let lost = match mark {
                    Mark::Origin(removed) => page.dropped.is_some_and(|dropped| dropped > *removed),
                    Mark::At(_) => false,
                };
                Ok((!lost).then(|| Begin::History(mark.clone(), page)))
            }
            Err(error) => match error.kind() {
                ErrorKind::PositionExpired | ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Unsupported => {
                    Ok(None)
                }
                _ => Err(ApiError::of(&error)),
            },
        }
    }
}

fn at_head(channel: &Channel) -> Begin {
    let log = channel.log();
    Begin::Log(log.end(), log.head())
}
