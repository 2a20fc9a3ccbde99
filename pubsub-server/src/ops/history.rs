//! `fetchHistory`: what a channel retains.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use pubsub_core::{
    ChannelName, ErrorKind, Message, Position, StartPosition, Timestamp,
    driver::{Feature, History, HistoryRange},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::input::{self, fault};
use crate::{
    ApiError, Operation,
    cursor::{ChannelKey, Cursor, Mark},
    edge::{Caller, Edge, Inner},
    hub::{Filter, envelope_text},
};

/// How many events are read at a time.
const PAGE: usize = 1_000;
/// How far back the first look for the latest events goes; each further one goes eight times as far.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How many such looks there are before everything is read.
const LOOKS: u32 = 8;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryInput {
    pub(crate) channel: String,
    #[serde(default, deserialize_with = "input::given")]
    pub(crate) after: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    pub(crate) since: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    pub(crate) limit: Option<u64>,
}

/// A page of events.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryPage {
    channel: ChannelName,
    items: Vec<Item>,
    has_more: bool,
    latest: Option<String>,
}

/// An event and the place after it.
#[derive(Debug, Serialize)]
struct Item {
    id: String,
    data: Box<RawValue>,
}

/// An event that was found.
type Found = (Arc<Message>, Position);

impl Edge {
    pub(crate) async fn fetch_history(&self, caller: &Caller, input: HistoryInput) -> Result<HistoryPage, ApiError> {
        let user = caller.user()?;
        let channel = input::channel(&input.channel)?;
        let limit = match input.limit.unwrap_or(100) {
            limit @ 1..=1_000 => usize::try_from(limit).unwrap_or(1_000),
            _ => return Err(fault("/limit", "a page has 1 to 1000 events")),
        };
        let since = input.since.as_deref().map(Timestamp::parse).transpose();
        let since = since.map_err(|error| fault("/since", error.message()))?;
        self.allow(user.map(|user| &**user), &channel, Operation::Read).await?;
        let filter = self.filter_for(user);
        let key = ChannelKey::of(&channel);
        let after = input.after.as_deref().filter(|text| !text.is_empty());
        // Found first: what comes meanwhile lies after it.
        let latest = self.latest(&channel).await?;
        let (found, has_more) = match after {
            Some(text) => self.following(&channel, text, limit, &filter).await?,
            None => self.last_ones(&channel, since, limit, &filter).await?,
        };
        let item = |(message, position): Found| {
            let text = String::from_utf8(envelope_text(&message).into()).ok()?;
            let data = RawValue::from_string(text).ok()?;
            Some(Item { id: Cursor::one(key, Mark::At(position)).encode(), data })
        };
        Ok(HistoryPage { items: found.into_iter().filter_map(item).collect(), channel, has_more, latest })
    }
}

impl Inner {
    /// The place of the newest event of a channel.
    pub(super) async fn latest(&self, channel: &ChannelName) -> Result<Option<String>, ApiError> {
        let range = HistoryRange::new(channel.clone()).from(StartPosition::Latest).limit(0);
        let next = match self.bus.history(&range).await {
            Ok(page) => page.next,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => None,
            Err(error) => return Err(ApiError::of(&error)),
        };
        Ok(next.map(|position| Cursor::one(ChannelKey::of(channel), Mark::At(position)).encode()))
    }

    /// The first events after a place.
    async fn following(
        &self,
        channel: &ChannelName,
        after: &str,
        limit: usize,
        filter: &Filter,
    ) -> Result<(Vec<Found>, bool), ApiError> {
        let cursor = if after == crate::cursor::EARLIEST { None } else { Some(Cursor::parse(after)) };
        let mark = match &cursor {
            None => None,
            Some(None) => return Err(fault("/after", "`after` is not a cursor of this service")),
            Some(Some(cursor)) => match cursor.get(ChannelKey::of(channel)) {
                Some(Mark::At(position)) => Some(position),
                Some(Mark::Origin(_)) => None,
                None => return Err(gone()),
            },
        };
        let mut from = mark.map_or(StartPosition::Earliest, |position| StartPosition::After(position.clone()));
        let mut found = Vec::new();
        loop {
            let page = match self.page(channel, from).await {
                Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::PositionExpired) => {
                    return Err(gone());
                }
                Err(error) if error.kind() == ErrorKind::NotFound && mark.is_some() => return Err(gone()),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok((found, false)),
                page => page.map_err(|error| ApiError::of(&error))?,
            };
            for stored in page.events {
                if self.hub.shared().is_hidden(&stored.message) || !filter.shows(&stored.message) {
                    continue;
                }
                if found.len() == limit {
                    return Ok((found, true));
                }
                found.push((stored.message, stored.position));
            }
            match page.next {
                Some(next) if !page.at_end => from = StartPosition::After(next),
                _ => return Ok((found, false)),
            }
        }
    }

    /// The last events, oldest first.
    async fn last_ones(
        &self,
        channel: &ChannelName,
        since: Option<Timestamp>,
        limit: usize,
        filter: &Filter,
    ) -> Result<(Vec<Found>, bool), ApiError> {
        // Adapters read forwards only. Looks that go further and further back find the end without reading everything.
        let by_time = self.bus.capabilities().has(Feature::ReplayByTime);
        let now = self.bus.clock().now();
        let looks = (0..LOOKS).filter(|_| by_time).map(|look| now.saturating_sub(FIRST_LOOK * 8_u32.pow(look)));
        for start in looks.map(StartPosition::Time).chain([StartPosition::Earliest]) {
            let everything = start == StartPosition::Earliest;
            let (found, more) = self.last_from(channel, start, since, limit, filter).await?;
            if everything || more {
                return Ok((found, more));
            }
        }
        Ok((Vec::new(), false))
    }

    /// The last events from a start on, and whether there were others before them.
    async fn last_from(
        &self,
        channel: &ChannelName,
        mut from: StartPosition,
        since: Option<Timestamp>,
        limit: usize,
        filter: &Filter,
    ) -> Result<(Vec<Found>, bool), ApiError> {
        let mut found = VecDeque::with_capacity(limit + 1);
        let mut more = false;
        loop {
            let page = match self.page(channel, from).await {
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                // Retention overtook the reader: what is left is further on.
                Err(error) if error.kind() == ErrorKind::PositionExpired => {
                    from = StartPosition::Earliest;
                    found.clear();
                    continue;
                }
                page => page.map_err(|error| ApiError::of(&error))?,
            };
            for stored in page.events {
                let early = since.is_some_and(|since| stored.message.timestamp() <= since);
                if early || self.hub.shared().is_hidden(&stored.message) || !filter.shows(&stored.message) {
                    continue;
                }
                found.push_back((stored.message, stored.position));
                if found.len() > limit {
                    found.pop_front();
                    more = true;
                }
            }
            match page.next {
                Some(next) if !page.at_end => from = StartPosition::After(next),
                _ => break,
            }
        }
        Ok((found.into(), more))
    }

    async fn page(&self, channel: &ChannelName, from: StartPosition) -> pubsub_core::Result<History> {
        self.bus.history(&HistoryRange::new(channel.clone()).from(from).limit(PAGE)).await
    }
}

fn gone() -> ApiError {
    ApiError::new(
        pubsub_core::rpc::FailureCode::PreconditionFailed,
        "events after this position are no longer there, or it is of another channel",
    )
}
