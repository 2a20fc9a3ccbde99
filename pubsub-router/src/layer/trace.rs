//! `Trace`: a span per delivery, within the trace that the event came with.

use pubsub_core::observe::Hop;

use super::{Inner, layer};
use crate::{Incoming, Verdict};

/// Runs the handler in a span, and carries W3C trace context on: the span belongs to the trace of the event's
/// `traceparent`, or begins one, and what the handler emits names it as its parent. What the handler logs by `tracing`
/// belongs to the span, and so do the settlement of the event and the reply to a request; a failure is logged with its text
/// and decision.
///
/// With the facade's feature `otel` it is a span of OpenTelemetry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace;

impl Trace {
    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        let observer = incoming.bus().observer();
        let hop = Hop::process(observer, incoming.group().as_str(), incoming.message(), incoming.attempt());
        incoming.set_hop(hop.clone());
        let parent = hop.clone();
        incoming.on_emit(move |emitted| parent.stamp(&mut emitted.meta));
        let verdict = hop.run(inner.run(incoming)).await;
        match &verdict {
            Ok(_) => hop.succeeded(),
            Err(error) => hop.complained(error.decision().as_str(), error),
        }
        verdict
    }
}

layer!(Trace, TraceService);
