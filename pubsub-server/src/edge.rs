//! `Edge`: the state of a server, which all ways to ask share.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::extract::ConnectInfo;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use pubsub_core::{
    ChannelName, ChannelPolicy, ErrorKind, PubSub,
    rpc::{FailureCode, Forward},
    store::{Idempotency, Transactions},
};
use pubsub_router::Running;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    ApiError, Operation, Settings, User,
    auth::{Gate, Identity},
    hub::{Filter, Hub},
    policy::{WebPolicies, WebPolicy},
    procedure::ConnectionParams,
    procedures::Table,
    rates::Rates,
    ready::Checks,
};

/// How many channels a server remembers to have met below its patterns.
const MAX_MET: usize = 65_536;

/// The state of a server. Cloning it gives another handle to the same.
#[derive(Clone)]
pub(crate) struct Edge(pub(crate) Arc<Inner>);

impl std::ops::Deref for Edge {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

pub(crate) struct Inner {
    pub(crate) bus: PubSub,
    pub(crate) hub: Hub,
    pub(crate) gate: Gate,
    pub(crate) policies: WebPolicies,
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Idempotency>,
    pub(crate) transactions: Option<Arc<dyn Transactions>>,
    pub(crate) actions: Option<Running>,
    pub(crate) forward: Option<Arc<dyn Forward>>,
    pub(crate) table: Table,
    pub(crate) rates: Rates,
    pub(crate) checks: Checks,
    pub(crate) documents: Documents,
    /// What the application measures, as Prometheus text.
    pub(crate) metrics: Option<Metrics>,
    pub(crate) started: Instant,
    /// Calls that go on when their client goes away.
    pub(crate) tasks: TaskTracker,
    /// Channels below patterns that somebody has used at this node.
    pub(crate) met: Mutex<HashMap<ChannelName, ()>>,
}

/// Gives Prometheus text.
pub(crate) type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The documents of the service, as JSON text.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) openapi: Bytes,
    pub(crate) asyncapi: Bytes,
}

/// Who asks, for all calls of one request.
#[derive(Debug)]
pub(crate) struct Caller {
    identity: Identity,
    address: Option<IpAddr>,
    /// The header `Idempotency-Key`.
    pub(crate) key: Option<String>,
}

impl Caller {
    /// The user, if there are credentials.
    ///
    /// # Errors
    /// That the credentials are not valid.
    pub(crate) fn user(&self) -> Result<Option<&Arc<User>>, ApiError> {
        self.identity.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }
}

/// A channel that the caller may use.
pub(crate) struct Allowed<'a> {
    pub(crate) web: &'a WebPolicy,
    pub(crate) core: ChannelPolicy,
}

impl Inner {
    /// Who asks. `ticket` is given where one is taken.
    pub(crate) async fn identify(
        &self,
        parts: &Parts,
        params: Option<&ConnectionParams>,
        ticket: Option<&str>,
    ) -> Caller {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let key = parts.headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Caller { identity: self.gate.identify(parts, params, ticket).await, address, key }
    }

    /// Takes one call from the caller's rate.
    ///
    /// # Errors
    /// `TOO_MANY_REQUESTS`.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<(), ApiError> {
        let user = caller.identity.as_ref().ok().and_then(Option::as_deref);
        self.rates.take(user.map(|user| user.id.as_str()), caller.address)
    }

    /// The policies of a channel.
    ///
    /// # Errors
    /// `NOT_FOUND` for a channel that is not exposed.
    pub(crate) fn exposed(&self, channel: &ChannelName) -> Result<Allowed<'_>, ApiError> {
        let Some(web) = self.policies.of(channel) else {
            return Err(ApiError::not_found(format!("there is no channel `{channel}`")));
        };
        let core = self.bus.policy(channel).map_err(|error| match error.kind() {
            ErrorKind::Rejected => ApiError::new(FailureCode::TooManyRequests, "this server uses too many channels"),
            _ => ApiError::of(&error),
        })?;
        Ok(Allowed { web, core })
    }

    /// Whether a user may do this with a channel.
    ///
    /// # Errors
    /// That the application cannot decide it now.
    pub(crate) async fn may(
        &self,
        user: Option<&User>,
        channel: &ChannelName,
        operation: Operation,
        allowed: &Allowed<'_>,
    ) -> Result<bool, ApiError> {
        match &self.gate.authorize {
            Some(hook) => hook.authorize(user, channel, operation).await,
            None => Ok(allowed.web.access(operation, &allowed.core).admits(user)),
        }
    }

    /// The channel, if it is exposed and the user may do this with it.
    ///
    /// # Errors
    /// `NOT_FOUND`, `UNAUTHORIZED`, `FORBIDDEN`.
    pub(crate) async fn allow(
        &self,
        user: Option<&User>,
        channel: &ChannelName,
        operation: Operation,
    ) -> Result<Allowed<'_>, ApiError> {
        let allowed = self.exposed(channel)?;
        if self.may(user, channel, operation, &allowed).await? {
            self.meet(channel, &allowed);
            return Ok(allowed);
        }
        let text = format!("not allowed to {operation} channel `{channel}`");
        Err(if user.is_some() { ApiError::forbidden(text) } else { ApiError::unauthorized(text) })
    }

    /// Remembers a channel below a pattern, to list it.
    fn meet(&self, channel: &ChannelName, allowed: &Allowed<'_>) {
        if allowed.web.pattern == channel.as_str() {
            return;
        }
        // The table is whole at every point where a panic could come from.
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() < MAX_MET && !met.contains_key(channel) {
            met.insert(channel.clone(), ());
        }
    }

    /// What a user may see of events.
    pub(crate) fn filter_for(&self, user: Option<&Arc<User>>) -> Filter {
        Filter { names: Vec::new(), visible: self.gate.visible.clone(), user: user.cloned() }
    }

    /// Runs something to its end, also when whoever asked for it goes away.
    ///
    /// # Errors
    /// What it gives; `INTERNAL_SERVER_ERROR` if it panics.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.tasks.spawn(work).await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "a call broke");
            Err(ApiError::new(FailureCode::InternalServerError, "the server failed"))
        })
    }
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("bus", &self.bus).field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// A boxed answer, as procedures give it.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, ApiError>>;
