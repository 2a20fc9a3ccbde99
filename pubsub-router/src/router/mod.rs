//! `Router`: which handlers a program has, before it runs them.

mod entry;
mod options;
mod plan;

use std::{fmt, time::Duration};

use pubsub_core::{ChannelName, Error, GroupName, PubSub, Request, Result, StartPosition, Unknown};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    BatchArgs, Batching, BoxError, Done, HandlerArgs, HandlerFn, Incoming, IntoBatchOutcome, IntoOutcome, IntoReply,
    Route, Running, Settle,
    run::{DRAIN, drain_and_report},
};
pub(crate) use entry::{Entry, Kind};
pub(crate) use options::ConsumerOptions;
pub(crate) use plan::{Plan, Served};

/// Handlers, the group that they consume as, their layers and their state.
///
/// Group, layers, options and settlement hold for every handler of the router, whether it was added before or after, and
/// for routers inside it that do not say otherwise. Nothing is checked and nothing happens until [`Router::run`] or
/// [`Router::start`], which tell everything that is wrong at once.
///
/// ```
/// # use pubsub_core as pubsub;
/// # use pubsub_core::{Event, __private::{schemars, serde}};
/// # #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// # #[serde(crate = "pubsub_core::__private::serde")]
/// # #[schemars(crate = "pubsub_core::__private::schemars")]
/// # struct OrderCreated { total: f64 }
/// # impl Event for OrderCreated { const NAME: &'static str = "orders:created"; const CHANNEL: &'static str = "orders"; }
/// # #[derive(Clone)] struct Db;
/// # impl Db { async fn book(&self, _: f64) -> Result<(), std::io::Error> { Ok(()) } }
/// use pubsub_router::{HandlerError, Retry, Router, State};
///
/// async fn bill(order: OrderCreated, State(db): State<Db>) -> Result<(), HandlerError> {
///     if order.total < 0.0 {
///         return Err(HandlerError::reject("the total is negative"));
///     }
///     Ok(db.book(order.total).await?) // an error means: again
/// }
///
/// # async fn example(bus: pubsub::PubSub) -> pubsub::Result<()> {
/// Router::new()
///     .group("billing")
///     .on(bill)
///     .layer(Retry::exponential(5))
///     .with_state(Db)
///     .run(&bus, pubsub_router::terminated())
///     .await
/// # }
/// ```
pub struct Router<S = ()> {
    entries: Vec<Entry<S>>,
    group: Option<String>,
    settle: Option<Settle>,
    options: ConsumerOptions,
    layers: Vec<LayerFn>,
    drain: Duration,
    degraded: bool,
    /// What is wrong with the calls so far.
    problems: Vec<Error>,
}

/// Puts layers around a route.
pub(crate) type LayerFn = std::sync::Arc<dyn Fn(Route) -> Route + Send + Sync>;

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// A router without handlers.
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            group: None,
            settle: None,
            options: ConsumerOptions::default(),
            layers: Vec::new(),
            drain: DRAIN,
            degraded: false,
            problems: Vec::new(),
        }
    }

    /// Sets the group that the handlers consume as. A handler without one is an error when the router is run.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// Adds a handler of an event: a function whose first argument is the event or an `Arc` of it, and whose others
    /// implement [`FromDelivery`](crate::FromDelivery).
    ///
    /// Several events of one channel may each have their handler; one group has one handler for an event.
    #[must_use]
    pub fn on<H, A>(mut self, handler: H) -> Self
    where
        H: HandlerFn<A> + Clone,
        A: HandlerArgs<S>,
        H::Out: IntoOutcome,
    {
        self.entries.push(Entry::on(handler));
        self
    }

    /// Adds a handler that takes several events of one type in one call: a function whose first argument is a
    /// [`Batch`](crate::Batch), and whose others are [`State`](crate::State)s. Each event has its own outcome, and goes through
    /// the layers alone: a timeout around it counts the time in which the batch is gathered, too.
    ///
    /// One batch is handled at a time, in the order of the events, whatever [`Router::concurrency`] says. If one event of a
    /// key fails and a later one in the same batch does not, the failed one comes again after it.
    #[must_use]
    pub fn on_batch<H, A>(mut self, handler: H, batching: Batching) -> Self
    where
        H: HandlerFn<A> + Clone,
        A: BatchArgs<S>,
        H::Out: IntoBatchOutcome + Send,
    {
        self.entries.push(Entry::on_batch(handler, batching));
        self
    }

    /// Adds an action: a handler of a request whose result is the reply. It runs for requests only, never for an event that
    /// wants no reply, and not for a request whose deadline is over; at its deadline it is dropped.
    ///
    /// A failure is the reply, too: a [`Failure`](pubsub_core::rpc::Failure) as it is, a `reject` as `BAD_REQUEST` with its
    /// text, a `give_up` as `INTERNAL_SERVER_ERROR` with its text, and any other error as `INTERNAL_SERVER_ERROR` without it,
    /// for it may tell what is not the caller's business. The request is acknowledged once its reply is confirmed; an action is
    /// not retried by the broker, but [`Retry::inline`](crate::Retry::inline) may try it again. One request has one action,
    /// whatever the groups.
    #[must_use]
    pub fn action<H, A>(mut self, handler: H) -> Self
    where
        H: HandlerFn<A> + Clone,
        A: HandlerArgs<S, Event: Request>,
        H::Out: IntoReply<<A::Event as Request>::Reply>,
    {
        self.entries.push(Entry::action(handler));
        self
    }

    /// Puts a tower layer, or a tuple of them, around every handler of this router. Of several calls the later one is
    /// outside of the earlier, and the layers of a router around this one are outside of its own. In a tuple the first is
    /// outside.
    ///
    /// Each call costs a boxed future per delivery, a tuple only one for all.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Send + Sync + 'static,
        L::Service: Service<Incoming, Response = Done> + Clone + Send + Sync + 'static,
        <L::Service as Service<Incoming>>::Error: Into<BoxError>,
        <L::Service as Service<Incoming>>::Future: Send,
    {
        self.layers.push(std::sync::Arc::new(move |route| route.layered(&layer)));
        self
    }

    /// Sets how deliveries are settled by what handlers return.
    #[must_use]
    pub fn settle(mut self, settle: Settle) -> Self {
        self.settle = Some(settle);
        self
    }

    /// Sets how many handlers of one subscription run at the same time: events of one key still one after the other, those
    /// of other keys do not wait for them. The default is 1.
    #[must_use]
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.options.concurrency = Some(handlers);
        self
    }

    /// Sets how many events of one subscription may be unsettled at a time, those in buffers included. The default is 256.
    #[must_use]
    pub fn max_in_flight(mut self, events: usize) -> Self {
        self.options.max_in_flight = Some(events);
        self
    }

    /// Sets how often an event is delivered to the group at most, whatever its handler and its retry layer say: a net for
    /// events that end the process each time. The default is 64.
    #[must_use]
    pub fn max_deliveries(mut self, deliveries: u32) -> Self {
        self.options.max_deliveries = Some(deliveries);
        self
    }

    /// Sets where a fresh group starts.
    #[must_use]
    pub fn start_at(mut self, start: StartPosition) -> Self {
        self.options.start = Some(start);
        self
    }

    /// Sets how long a consumer that is gone keeps its events; leases of live ones are renewed.
    #[must_use]
    pub fn lease(mut self, duration: Duration) -> Self {
        self.options.lease = Some(duration);
        self
    }

    /// Sets what becomes of events that no handler of the group takes.
    #[must_use]
    pub fn unknown(mut self, unknown: Unknown) -> Self {
        self.options.unknown = Some(unknown);
        self
    }

    /// Sets how long handlers may take to finish once the router is drained. The default is 30 s.
    #[must_use]
    pub fn drain_within(mut self, deadline: Duration) -> Self {
        self.drain = deadline;
        self
    }

    /// Starts although the broker cannot be reached, as the address option `start=degraded` does for the bus: handlers whose
    /// subscription cannot be opened yet are [`Recovering`](crate::ConsumerState::Recovering) until it can, and only errors
    /// that do not heal by themselves are errors of [`Router::start`]. Actions run meanwhile for those who do not ask by the
    /// broker, such as the web edge.
    #[must_use]
    pub fn start_degraded(mut self) -> Self {
        self.degraded = true;
        self
    }

    /// Adds the handlers of another router as they are, with its group, layers and options where it has any. Adding the
    /// same handlers again changes nothing.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        let Self { entries, group, settle, options, layers, problems, drain: _, degraded: _ } = other;
        self.problems.extend(problems);
        for mut entry in entries {
            entry.inherit(group.as_deref(), settle, &options, &layers);
            self.entries.push(entry);
        }
        self
    }

    /// As [`Router::merge`], with the channels of the other router's handlers below `prefix`: what is on `orders` for them
    /// is taken from `eu.orders` for the prefix `eu`. Prefixes nest.
    #[must_use]
    pub fn nest(mut self, prefix: &str, mut other: Self) -> Self {
        if let Err(error) = ChannelName::parse(prefix) {
            self.problems.push(error);
        }
        other.entries.iter_mut().for_each(|entry| entry.nest(prefix));
        self.merge(other)
    }

    /// Gives the handlers their state.
    #[must_use]
    pub fn with_state<T: Clone + Send + Sync + 'static>(self, state: S) -> Router<T> {
        let Self { entries, group, settle, options, layers, drain, degraded, problems } = self;
        let entries = entries.into_iter().map(|entry| entry.with_state(state.clone())).collect();
        Router { entries, group, settle, options, layers, drain, degraded, problems }
    }
}

impl Router {
    /// Subscribes every handler and returns when all of them are in place: what is published from then on reaches them.
    /// After [`Router::start_degraded`] some may still wait for the broker.
    ///
    /// # Errors
    /// Everything that is wrong with the router: `Invalid` for names, numbers, missing groups and a router without
    /// handlers; `Conflict` for two handlers of one event in a group, and for options that contradict each other;
    /// `Rejected` for an event that is not in the catalog on a channel that takes no others. Then the errors of
    /// [`Subscribe`](pubsub_core::Subscribe).
    pub async fn start(self, bus: &PubSub) -> Result<Running> {
        Running::start(bus, self).await
    }

    /// Runs the handlers until `shutdown` resolves, every subscription has ended, or the bus is closed; then drains: takes
    /// no more, lets handlers finish within [`Router::drain_within`], and leaves unsettled what is not finished by then.
    ///
    /// Cancel safety: dropping the future ends the handlers at once; what they did not finish stays unsettled.
    ///
    /// # Errors
    /// As [`Router::start`]; `Timeout` if deliveries were unfinished at the deadline.
    pub async fn run(self, bus: &PubSub, shutdown: impl Future<Output = ()>) -> Result<()> {
        let deadline = self.drain;
        drain_and_report(self.start(bus).await?, deadline, shutdown).await
    }

    /// Whether it starts without its broker.
    pub(crate) fn starts_degraded(&self) -> bool {
        self.degraded
    }

    /// What is to be subscribed, and with which routes.
    pub(crate) fn plan(mut self, bus: &PubSub) -> Result<Vec<Plan>> {
        let problems = std::mem::take(&mut self.problems);
        let merged = Self::new().merge(self);
        plan::plan(&merged.entries, bus, problems)
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Clone for Router<S> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            group: self.group.clone(),
            settle: self.settle,
            options: self.options.clone(),
            layers: self.layers.clone(),
            drain: self.drain,
            degraded: self.degraded,
            problems: self.problems.clone(),
        }
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("group", &self.group)
            .field("handlers", &self.entries)
            .field("layers", &self.layers.len())
            .finish_non_exhaustive()
    }
}

/// The group of a handler.
pub(crate) fn group_of(name: Option<&str>, event: &str) -> Result<GroupName> {
    match name {
        Some(name) => GroupName::parse(name),
        None => {
            let text = format!("the handler of `{event}` has no group: name one by `.group(…)`");
            Err(Error::new(pubsub_core::ErrorKind::Invalid, "build router", text))
        }
    }
}
