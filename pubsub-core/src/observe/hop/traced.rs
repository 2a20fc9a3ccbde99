//! Spans by `tracing`, named by the conventions of OpenTelemetry for messaging.

use std::{borrow::Cow, fmt, sync::Arc};

use tracing::{Instrument, Span, field::Empty};

use super::bridge;
use crate::{
    ChannelName, Message, Meta,
    observe::{Observer, w3c::TraceContext},
};

/// The span of one step of an event's way. Empty without the feature `trace`.
///
/// With the feature `otel` and a layer of `tracing-opentelemetry`, it is a span of OpenTelemetry, whose context travels in
/// `traceparent` and `tracestate` of the metadata.
#[derive(Clone, Debug, Default)]
pub struct Hop(Option<Arc<Step>>);

#[derive(Debug)]
struct Step {
    span: Span,
    /// As what the events that come of it name it.
    context: Option<TraceContext>,
}

/// How names of spans and attributes tell of a channel: inboxes are named after ids.
fn destination(channel: &ChannelName) -> &str {
    if channel.is_inbox() { "(inbox)" } else { channel.as_str() }
}

macro_rules! span {
    ($name:literal, $kind:literal, $operation:literal, $observer:expr, $channel:expr, { $($fields:tt)* }) => {
        tracing::info_span!(
            target: "pubsub",
            $name,
            otel.name = %format_args!(concat!($name, " {}"), $channel),
            otel.kind = $kind,
            otel.status_code = Empty,
            otel.status_description = Empty,
            error.type = Empty,
            messaging.system = $observer.system(),
            messaging.operation.name = $name,
            messaging.operation.type = $operation,
            messaging.destination.name = $channel,
            $($fields)*
        )
    };
}

/// A span of a step of one event.
macro_rules! span_of {
    ($name:literal, $kind:literal, $operation:literal, $observer:expr, $message:expr, { $($fields:tt)* }) => {
        span!($name, $kind, $operation, $observer, destination($message.channel()), {
            messaging.message.id = %$message.id(),
            messaging.message.body.size = $message.payload().len(),
            messaging.message.conversation_id = $message.meta().correlation_id.as_deref(),
            pubsub.event = %$message.name(),
            $($fields)*
        })
    };
}

impl Hop {
    /// The step in which the present task is.
    pub fn current() -> Self {
        Self::of(Span::current())
    }

    /// Without a subscriber there is nothing to keep.
    fn of(span: Span) -> Self {
        Self((!span.is_disabled()).then(|| Arc::new(Step { span, context: None })))
    }

    fn span(&self) -> Option<&Span> {
        self.0.as_deref().map(|step| &step.span)
    }

    /// The span in which an event is sent, and which it names from then on.
    pub(crate) fn publish(observer: &Observer, message: &mut Arc<Message>) -> Self {
        let span = span_of!("publish", "producer", "send", observer, message, {});
        Self::carried(span, message)
    }

    /// The span in which an event is made that is sent later, or with others.
    pub(crate) fn create(observer: &Observer, message: &mut Arc<Message>) -> Self {
        let span = span_of!("create", "producer", "create", observer, message, {});
        Self::carried(span, message)
    }

    /// A span whose context an event carries. Its parent is the span that the event names, where that is of another trace
    /// than the present one, as for events that waited in an outbox.
    fn carried(span: Span, message: &mut Arc<Message>) -> Self {
        if span.is_disabled() {
            return Self::default();
        }
        if let Some(named) = TraceContext::of(message.meta()) {
            let present = bridge::context_of(&Span::current());
            if present.as_ref().is_none_or(|present| present.trace != named.trace) {
                bridge::set_parent(&span, &named);
                present.into_iter().for_each(|present| bridge::link(&span, &present));
            }
        }
        if let Some(context) = bridge::context_of(&span) {
            context.write(&mut Arc::make_mut(message).envelope_mut().meta);
        }
        Self::of(span)
    }

    /// The span in which events are sent together. Each has a span of its making, which it names; this one is linked with
    /// them.
    pub(crate) fn send<'a>(observer: &Observer, messages: impl ExactSizeIterator<Item = &'a Message>) -> Self {
        Self::together(messages, |channel, count| {
            span!("send", "client", "send", observer, channel, { messaging.batch.message_count = count })
        })
    }

    /// The processing of one delivery, in the trace of its event.
    pub fn process(observer: &Observer, group: &str, message: &Message, attempt: u32) -> Self {
        let span = span_of!("process", "consumer", "process", observer, message, {
            messaging.consumer.group.name = group,
            pubsub.attempt = attempt,
            trace_id = Empty,
            span_id = Empty,
            outcome = Empty,
        });
        let named = TraceContext::of(message.meta());
        named.iter().for_each(|parent| bridge::set_parent(&span, parent));
        // Without OpenTelemetry the span has ids of ours, so that the trace goes on nevertheless.
        let own = || named.map_or_else(TraceContext::root, TraceContext::child);
        let context = bridge::context_of(&span).unwrap_or_else(own);
        span.record("trace_id", &*context.trace);
        span.record("span_id", &*context.span);
        Self(Some(Arc::new(Step { span, context: Some(context) })))
    }

    /// The processing of several events in one call, linked with all of them.
    pub fn process_batch<'a>(
        observer: &Observer,
        group: &str,
        messages: impl ExactSizeIterator<Item = &'a Message>,
    ) -> Self {
        Self::together(messages, |channel, count| {
            span!("process", "consumer", "process", observer, channel, {
                messaging.consumer.group.name = group,
                messaging.batch.message_count = count,
                outcome = Empty,
            })
        })
    }

    fn together<'a>(
        messages: impl ExactSizeIterator<Item = &'a Message>,
        begin: impl FnOnce(&str, usize) -> Span,
    ) -> Self {
        let (count, mut messages) = (messages.len(), messages.peekable());
        // Events that are sent together are for one channel, or nearly all of them are.
        let channel = messages.peek().map_or(Cow::Borrowed(""), |first| destination(first.channel()).to_owned().into());
        let span = begin(&channel, count);
        if !span.is_disabled() {
            messages.filter_map(|message| TraceContext::of(message.meta())).for_each(|made| bridge::link(&span, &made));
        }
        Self::of(span)
    }

    /// A call, from the question to the answer. The channel is that of the question, where it is known.
    pub fn request(observer: &Observer, channel: Option<&ChannelName>) -> Self {
        Self::of(span!("request", "client", "send", observer, channel.map_or("", destination), {}))
    }

    /// Lets an event that comes of this step say so, if it names no span yet.
    pub fn stamp(&self, meta: &mut Meta) {
        let context = self.0.as_deref().and_then(|step| step.context.as_ref());
        if let Some(context) = context.filter(|_| meta.traceparent.is_none()) {
            context.write(meta);
        }
    }

    /// Links the step with a span that is named as in `traceparent`.
    pub fn link(&self, traceparent: Option<&str>) {
        if let (Some(span), Some(named)) = (self.span(), traceparent.and_then(TraceContext::parse)) {
            bridge::link(span, &named);
        }
    }

    /// Runs something as part of the step.
    pub fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        match self.span() {
            Some(span) => span.in_scope(work),
            None => work(),
        }
    }

    /// Runs a future as part of the step.
    pub fn run<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        future.instrument(self.span().cloned().unwrap_or_else(Span::none))
    }

    /// The step succeeded.
    pub fn succeeded(&self) {
        if let Some(span) = self.span() {
            span.record("outcome", "success");
        }
    }

    /// The step failed: the kind of the error, from a small set, and its text.
    pub fn failed(&self, kind: &str, error: &dyn fmt::Display) {
        if let Some(span) = self.span() {
            span.record("outcome", "failure");
            span.record("error.type", kind);
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", tracing::field::display(error));
        }
    }

    /// As [`Hop::failed`], where nobody else tells of it: it is logged, too.
    pub fn complained(&self, kind: &str, error: &dyn fmt::Display) {
        self.failed(kind, error);
        self.in_scope(|| tracing::warn!(target: "pubsub", decision = kind, "{error}"));
    }
}
