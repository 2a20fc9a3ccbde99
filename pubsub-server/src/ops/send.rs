//! `sendEvent`: an event that a client sends, and the action behind it.

use bytes::Bytes;
use pubsub_core::{
    Direction, Envelope, EventDefinition, EventName, Origin,
    rpc::{CallError, FailureCode},
    store::{ActionTransaction, Permit},
};
use pubsub_router::Performed;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{any::Any, sync::Arc};

use super::{
    action_id, input,
    publish::{PAYLOAD, fresh, of_publish, set_key, stamp, text_of, unreadable},
    write,
};
use crate::{
    ApiError, Operation, User,
    edge::{Caller, Edge},
    hub::envelope_text,
};

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SendInput {
    name: String,
    #[serde(default, deserialize_with = "input::given")]
    payload: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "input::given")]
    channel: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    client_event_id: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    correlation_id: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    options: Option<SendOptions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendOptions {
    #[serde(default, deserialize_with = "input::given")]
    client_event_id: Option<String>,
    #[serde(default, deserialize_with = "input::given")]
    correlation_id: Option<String>,
    // Everything is sent at once; the seed's clients may say so.
    #[serde(default, deserialize_with = "input::given")]
    #[allow(dead_code, reason = "its type is checked")]
    immediate: Option<bool>,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    success: bool,
    status: String,
    event_id: String,
    channel: String,
    request_id: String,
    pub(crate) result: Box<RawValue>,
    emitted_events: Vec<Box<RawValue>>,
    duplicate: bool,
    message: String,
}

/// An event to be sent, checked as far as that needs no payload.
pub(crate) struct Sending<'a> {
    pub(crate) definition: &'a Arc<EventDefinition>,
    pub(crate) payload: Option<&'a RawValue>,
    /// Where in the input the payload is, as a JSON pointer.
    pub(crate) at: &'static str,
    pub(crate) client_event_id: Option<String>,
    pub(crate) correlation_id: Option<String>,
}

impl Edge {
    /// Sends an event by its name.
    pub(crate) async fn send_event(&self, caller: &Caller, input: SendInput) -> Result<Sent, ApiError> {
        caller.user()?;
        let name = input::event_name(&input.name)?;
        let definition = self.bus.catalog().versions(&name).last();
        let definition = definition.ok_or_else(|| ApiError::not_found(format!("there is no event `{name}`")))?;
        if let Some(channel) = &input.channel
            && input::channel(channel)? != *definition.channel()
        {
            let text = format!("event `{name}` belongs on channel `{}`", definition.channel());
            return Err(input::fault("/channel", text));
        }
        let options = input.options.unwrap_or_default();
        let sending = Sending {
            definition,
            payload: input.payload.as_deref(),
            at: PAYLOAD,
            client_event_id: input.client_event_id.or(options.client_event_id),
            correlation_id: input.correlation_id.or(options.correlation_id),
        };
        self.send(caller, sending).await
    }

    /// Runs the action of an event and publishes it, and what the action emitted behind it: nothing if the action fails.
    pub(crate) async fn send(&self, caller: &Caller, sending: Sending<'_>) -> Result<Sent, ApiError> {
        let user = caller.user()?;
        let Sending { definition, payload, at, client_event_id, correlation_id } = sending;
        if !definition.direction().from_clients() {
            return Err(ApiError::forbidden(format!("event `{}` is not sent by clients", definition.name())));
        }
        let reads = definition.is_read_only();
        let operation = if reads { Operation::Read } else { Operation::Write };
        let allowed = self.allow(user.map(|user| &**user), definition.channel(), operation).await?;
        let payload = input::payload(payload, allowed.web.max_event_size)?;
        definition.validate(&payload).map_err(|error| of_publish(&error, &allowed.core, at))?;
        let client_event_id = client_event_id.or_else(|| caller.key.clone());
        let client_event_id = client_event_id.map(|id| input::id(&id, "/clientEventId")).transpose()?;

        let mut request = Envelope::new(definition.name().clone(), definition.channel().clone(), payload);
        request.version = definition.version();
        request.timestamp = self.bus.clock().now();
        set_key(&mut request, Some(definition))?;
        stamp(&mut request.meta, user.map(|user| &**user), Origin::Api);
        request.meta.correlation_id = correlation_id;
        request.meta.client_event_id = client_event_id.as_ref().map(ToString::to_string);
        let work = Work { edge: self.clone(), user: user.cloned(), definition: definition.clone(), request };
        let Some(id) = client_event_id.filter(|_| !reads) else {
            return self.to_the_end(async move { Ok(work.run(None).await?.0) }).await;
        };
        let scope = user.map_or_else(String::new, |user| format!("user {}", user.id));
        let action = action_id(scope, definition.name().clone(), id)?;
        let edge = self.clone();
        let once = async move {
            let input = work.request.payload.data().cloned().unwrap_or_default();
            let run = async |permit: Permit| {
                let (sent, completed) = work.run(Some(&permit)).await?;
                Ok((sent.answer()?, completed))
            };
            edge.once(&action, &input, run).await
        };
        let (answer, duplicate) = self.to_the_end(once).await?;
        let sent: Sent = serde_json::from_slice(&answer).map_err(|_| unreadable())?;
        Ok(Sent { duplicate, ..sent })
    }
}

/// What an action did.
struct Ran {
    result: Box<RawValue>,
    emitted: Vec<Envelope>,
    /// Whether the event itself is on its channel already.
    published: bool,
}

/// An event that is about to be sent, with all that is needed to do so when nobody waits any more.
struct Work {
    edge: Edge,
    user: Option<Arc<User>>,
    definition: Arc<EventDefinition>,
    request: Envelope,
}

impl Work {
    /// What became of it, and whether the permit is completed by that.
    async fn run(self, permit: Option<&Permit>) -> Result<(Sent, bool), ApiError> {
        let transaction = self.edge.transactions.as_ref().map(|transactions| transactions.open());
        let done = self.run_in(transaction.as_ref(), permit).await;
        if let (Some(transaction), Err(_)) = (&transaction, &done) {
            transaction.roll_back().await;
        }
        done
    }

    async fn run_in(
        self,
        transaction: Option<&Arc<dyn ActionTransaction>>,
        permit: Option<&Permit>,
    ) -> Result<(Sent, bool), ApiError> {
        let Self { edge, user, definition, request } = self;
        let companion = transaction.map(|transaction| transaction.clone().companion());
        let Ran { result, emitted, published } = edge.act(&request, &definition, companion).await?;
        let mut events = Vec::new();
        if !definition.is_read_only() {
            events.push(request.clone());
        }
        for mut event in emitted {
            if event.meta.correlation_id.is_none() {
                event.meta.correlation_id.clone_from(&request.meta.correlation_id);
            }
            if event.meta.causation_id.is_none() {
                event.meta.causation_id = Some(request.id.to_string());
            }
            stamp(&mut event.meta, user.as_deref(), Origin::Action);
            events.push(event);
        }
        let event_id = events.first().map_or_else(|| request.id.clone(), |first| first.id.clone());
        let mut emitted_events = Vec::with_capacity(events.len());
        for event in &events {
            if edge.shows(user.as_ref(), event, &request.name).await? {
                let text = envelope_text(&event.clone().into());
                let text = String::from_utf8(text.into()).map_err(|_| unreadable())?;
                emitted_events.push(RawValue::from_string(text).map_err(|_| unreadable())?);
            }
        }
        let sent = Sent {
            success: true,
            status: "success".to_owned(),
            event_id: event_id.to_string(),
            channel: request.channel.to_string(),
            request_id: fresh().to_string(),
            result,
            emitted_events,
            duplicate: false,
            message: format!("`{}` was sent", request.name),
        };
        if let Some(transaction) = transaction {
            let answer = permit.map(|permit| sent.answer().map(|answer| (permit, answer))).transpose()?;
            let policy = edge.bus.policy(&request.channel).map_err(|error| ApiError::of(&error))?;
            let committed = transaction.commit(&events, answer).await;
            if committed.map_err(|error| of_publish(&error, &policy, PAYLOAD))? {
                return Ok((sent, permit.is_some()));
            }
        }
        // One after the other: they may be on several channels, and their order is promised.
        for event in events.iter().skip(usize::from(published)) {
            let policy = edge.bus.policy(&event.channel).map_err(|error| ApiError::of(&error))?;
            edge.send_out(event.clone(), &policy).await?;
        }
        Ok((sent, false))
    }
}

impl Edge {
    /// Has a request answered: by the action of this process, or by whoever it is passed on to. An event that is no request
    /// needs no answer.
    async fn act(
        &self,
        request: &Envelope,
        definition: &EventDefinition,
        companion: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Ran, ApiError> {
        if let Some(actions) = &self.actions
            && let Some(performed) = actions.perform(request.clone(), companion).await
        {
            let Performed { reply, emitted, .. } = performed?;
            return Ok(Ran { result: text_of(&reply), emitted, published: false });
        }
        if definition.reply_schema().is_none() {
            return Ok(Ran { result: RawValue::NULL.to_owned(), emitted: Vec::new(), published: false });
        }
        let Some(forward) = &self.forward else {
            let text = format!("nobody answers `{}` here", definition.name());
            return Err(ApiError::new(FailureCode::NotImplemented, text));
        };
        match forward.forward(request.clone(), self.settings.forward_timeout).await {
            // The request that was passed on is the event, and is on its channel by that.
            Ok(reply) => {
                Ok(Ran { result: text_of(&reply), emitted: Vec::new(), published: !definition.is_read_only() })
            }
            Err(CallError::Failed(failure)) => Err(failure.into()),
            Err(error) => {
                tracing::debug!(%error, event = %definition.name(), "a request was not answered");
                Err(ApiError::new(FailureCode::GatewayTimeout, "the request was not answered in time"))
            }
        }
    }

    /// Whether a caller may see an event that its own one led to.
    async fn shows(&self, user: Option<&Arc<User>>, event: &Envelope, sent: &EventName) -> Result<bool, ApiError> {
        let own = event.name == *sent;
        let public = match self.bus.catalog().versions(&event.name).last() {
            Some(definition) => definition.direction() != Direction::Internal,
            None => self.bus.policy(&event.channel).is_ok_and(|policy| policy.allow_undeclared),
        };
        if !own && !public {
            return Ok(false);
        }
        let user_ref = user.map(|user| &**user);
        if !own {
            let Ok(allowed) = self.exposed(&event.channel) else { return Ok(false) };
            if !self.may(user_ref, &event.channel, Operation::Read, &allowed).await? {
                return Ok(false);
            }
        }
        Ok(self.gate.visible.as_ref().is_none_or(|visible| visible(user_ref, event)))
    }
}

impl Sent {
    /// As it is remembered.
    fn answer(&self) -> Result<Bytes, ApiError> {
        Ok(Bytes::from(write(self)?.get().to_owned()))
    }

    /// The result of a generated procedure: what the action returns.
    pub(crate) fn into_result(self) -> Box<RawValue> {
        self.result
    }
}
