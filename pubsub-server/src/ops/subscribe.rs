//! What a subscription asks for, and whether it may.

use pubsub_core::{ChannelName, EventName};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::input::{self, OneOrMany, fault};
use crate::{
    ApiError, Operation,
    edge::{Caller, Edge},
    hub::{Ask, EventStream, OnGap, Start, Wanted},
};

/// How many channels one stream may have.
const MAX_CHANNELS: usize = 32;
/// How many event names one stream may select.
const MAX_NAMES: usize = 256;

/// The input of `pubsub.subscribe`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscribeInput {
    #[serde(default, deserialize_with = "input::given")]
    channel: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    channels: Option<Vec<String>>,
    #[serde(default, deserialize_with = "input::given")]
    event_types: Option<OneOrMany>,
    #[serde(default, deserialize_with = "input::given")]
    filters: Option<Filters>,
    #[serde(default, deserialize_with = "input::given")]
    last_event_id: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    cursor: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    on_gap: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Filters {
    #[serde(default, deserialize_with = "input::given")]
    name: Option<OneOrMany>,
}

/// The input of a generated subscription.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResumeInput {
    #[serde(default, deserialize_with = "input::given")]
    last_event_id: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    on_gap: Option<String>,
}

/// A subscription, however it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) channels: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) position: Option<String>,
    pub(crate) on_gap: Option<String>,
}

impl Plan {
    /// From the input of `pubsub.subscribe`; `position` is what header and query said, and wins.
    ///
    /// # Errors
    /// `BAD_REQUEST`.
    pub(crate) fn of(input: Option<&RawValue>, position: Option<&str>) -> Result<Self, ApiError> {
        let input: SubscribeInput = input::read(input)?;
        let channels = match (input.channel, input.channels) {
            (Some(channel), None) => vec![channel],
            (None, Some(channels)) => channels,
            _ => return Err(fault("", "give exactly one of `channel` and `channels`")),
        };
        let names = input.event_types.into_iter().chain(input.filters.and_then(|filters| filters.name));
        let filled = |text: &String| !text.is_empty();
        let own = input.last_event_id.filter(filled).or(input.cursor);
        Ok(Self {
            channels,
            names: names.flat_map(OneOrMany::into_vec).collect(),
            position: position.filter(|text| !text.is_empty()).map(str::to_owned).or(own),
            on_gap: input.on_gap,
        })
    }

    /// A subscription to one event.
    ///
    /// # Errors
    /// `BAD_REQUEST`.
    pub(crate) fn to_event(
        channel: &ChannelName,
        name: &EventName,
        input: Option<&RawValue>,
        position: Option<&str>,
    ) -> Result<Self, ApiError> {
        let input: ResumeInput = input::read(input)?;
        Ok(Self {
            channels: vec![channel.to_string()],
            names: vec![name.to_string()],
            position: position.filter(|text| !text.is_empty()).map(str::to_owned).or(input.last_event_id),
            on_gap: input.on_gap,
        })
    }
}

impl Edge {
    /// Opens a stream, if the caller may read all its channels.
    ///
    /// # Errors
    /// `BAD_REQUEST`, `NOT_FOUND`, `UNAUTHORIZED`, `FORBIDDEN`, and those of the hub.
    pub(crate) async fn subscribe_to(&self, caller: &Caller, plan: Plan) -> Result<EventStream, ApiError> {
        let user = caller.user()?;
        if plan.channels.is_empty() || plan.channels.len() > MAX_CHANNELS {
            return Err(fault("/channels", format!("a stream has 1 to {MAX_CHANNELS} channels")));
        }
        if plan.names.len() > MAX_NAMES {
            return Err(fault("/eventTypes", format!("a stream selects at most {MAX_NAMES} event names")));
        }
        let on_gap = match plan.on_gap.as_deref() {
            None | Some("replay") => OnGap::Replay,
            Some("error") => OnGap::Error,
            Some(_) => return Err(fault("/onGap", "`onGap` is `replay` or `error`")),
        };
        let names = plan.names.iter().map(|name| EventName::parse(name));
        let names =
            names.collect::<pubsub_core::Result<Vec<_>>>().map_err(|error| fault("/eventTypes", error.message()))?;
        let mut channels: Vec<ChannelName> = Vec::new();
        for text in &plan.channels {
            let channel = input::channel(text)?;
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        let mut asks = Vec::with_capacity(channels.len());
        for channel in channels {
            let allowed = self.allow(user.map(|user| &**user), &channel, Operation::Read).await?;
            asks.push(Ask { max_subscribers: allowed.web.subscribers(&allowed.core), channel });
        }
        let start = Start::parse(plan.position.as_deref())?;
        let mut filter = self.filter_for(user);
        filter.names = names;
        self.hub.open(Wanted { channels: asks, start, on_gap, filter }).await
    }
}
