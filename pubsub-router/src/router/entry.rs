//! One handler of a router.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pubsub_core::{Event, EventDefinition, PubSub, Raw, Request, Result, Subscribe};

use super::{
    LayerFn,
    options::{ConsumerOptions, inherit},
};
use crate::{
    BatchArgs, Batching, Done, HandlerArgs, HandlerFn, IntoBatchOutcome, IntoOutcome, IntoReply, Route, Settle,
    Verdict, batch::Gather,
};

/// What a handler is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Events.
    Event,
    /// Events, several at a time.
    Batch,
    /// Requests, which it answers.
    Action,
}

impl Kind {
    /// Whether both would be given the same messages.
    pub(crate) fn rivals(self, other: Self) -> bool {
        (self == Self::Action) == (other == Self::Action)
    }
}

/// Makes the route of a handler, given the state and what the bus knows of its event.
type Make<S> = Arc<dyn Fn(&S, Arc<EventDefinition>) -> Route + Send + Sync>;

pub(crate) struct Entry<S> {
    /// The same for every copy of one registration.
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) event: &'static str,
    /// With all prefixes.
    pub(crate) channel: String,
    pub(crate) group: Option<String>,
    pub(crate) settle: Option<Settle>,
    pub(crate) options: ConsumerOptions,
    /// From the inside to the outside.
    pub(crate) layers: Vec<LayerFn>,
    pub(crate) define: fn(&PubSub) -> Result<Arc<EventDefinition>>,
    pub(crate) take: fn(Subscribe<Raw>, &str) -> Subscribe<Raw>,
    pub(crate) make: Make<S>,
}

impl<S: Clone + Send + Sync + 'static> Entry<S> {
    pub(crate) fn on<H, A>(handler: H) -> Self
    where
        H: HandlerFn<A> + Clone,
        A: HandlerArgs<S>,
        H::Out: IntoOutcome,
    {
        let verdict = |out: H::Out| out.into_outcome().map(|()| Done::default());
        Self::new::<A::Event>(Kind::Event, make(handler, verdict))
    }

    pub(crate) fn action<H, A>(handler: H) -> Self
    where
        H: HandlerFn<A> + Clone,
        A: HandlerArgs<S, Event: Request>,
        H::Out: IntoReply<<A::Event as Request>::Reply>,
    {
        let verdict = |out: H::Out| Ok(Done { reply: Some(out.into_reply()?) });
        Self::new::<A::Event>(Kind::Action, make(handler, verdict))
    }

    pub(crate) fn on_batch<H, A>(handler: H, batching: Batching) -> Self
    where
        H: HandlerFn<A> + Clone,
        A: BatchArgs<S>,
        H::Out: IntoBatchOutcome + Send,
    {
        let make: Make<S> = Arc::new(move |state, definition| {
            Route::new(Gather::new(handler.clone(), batching, state.clone(), definition))
        });
        Self::new::<A::Event>(Kind::Batch, make)
    }

    fn new<E: Event>(kind: Kind, make: Make<S>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            kind,
            event: E::NAME,
            channel: E::CHANNEL.to_owned(),
            group: None,
            settle: None,
            options: ConsumerOptions::default(),
            layers: Vec::new(),
            define: PubSub::definition::<E>,
            take: |subscribe, channel| subscribe.event_on::<E>(channel),
            make,
        }
    }

    /// Settles the state, for a router that has another one or none.
    pub(crate) fn with_state<T>(self, state: S) -> Entry<T> {
        let Self { id, kind, event, channel, group, settle, options, layers, define, take, make } = self;
        let make: Make<T> = Arc::new(move |_: &T, definition| make(&state, definition));
        Entry { id, kind, event, channel, group, settle, options, layers, define, take, make }
    }
}

fn make<H, A, S>(handler: H, verdict: fn(H::Out) -> Verdict) -> Make<S>
where
    H: HandlerFn<A> + Clone,
    A: HandlerArgs<S>,
    S: Clone + Send + Sync + 'static,
{
    Arc::new(move |state, definition| Route::handler(handler.clone(), verdict, state.clone(), definition))
}

impl<S> Entry<S> {
    /// Takes over what its router says.
    pub(crate) fn inherit(
        &mut self,
        group: Option<&str>,
        settle: Option<Settle>,
        options: &ConsumerOptions,
        layers: &[LayerFn],
    ) {
        inherit(&mut self.group, &group.map(str::to_owned));
        inherit(&mut self.settle, &settle);
        self.options.inherit(options);
        self.layers.extend(layers.iter().cloned());
    }

    pub(crate) fn nest(&mut self, prefix: &str) {
        self.channel = format!("{prefix}.{}", self.channel);
    }
}

impl<S> Clone for Entry<S> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            kind: self.kind,
            event: self.event,
            channel: self.channel.clone(),
            group: self.group.clone(),
            settle: self.settle,
            options: self.options.clone(),
            layers: self.layers.clone(),
            define: self.define,
            take: self.take,
            make: self.make.clone(),
        }
    }
}

impl<S> fmt::Debug for Entry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("event", &self.event)
            .field("channel", &self.channel)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}
