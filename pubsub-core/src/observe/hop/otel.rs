//! Between the spans of `tracing` and the contexts of OpenTelemetry. Nothing happens where no layer of
//! `tracing-opentelemetry` is installed.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::observe::w3c::TraceContext;

/// The span as others may name it.
pub(super) fn context_of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let span = context.span();
    let span = span.span_context();
    let state = span.trace_state().header();
    span.is_valid().then(|| TraceContext {
        trace: span.trace_id().to_string(),
        span: span.span_id().to_string(),
        flags: format!("{:02x}", span.trace_flags().to_u8()),
        state: (!state.is_empty()).then_some(state),
    })
}

/// Makes a span of elsewhere the parent of one that has just begun.
pub(super) fn set_parent(span: &Span, parent: &TraceContext) {
    if let Some(parent) = remote(parent) {
        // It fails where no layer of OpenTelemetry is installed: there is no trace to belong to.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Links a span with one of elsewhere.
pub(super) fn link(span: &Span, to: &TraceContext) {
    if let Some(to) = remote(to) {
        span.add_link(to);
    }
}

fn remote(context: &TraceContext) -> Option<SpanContext> {
    let TraceContext { trace, span, flags, state } = context;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    // What vendors add is theirs alone: a trace goes on without what is malformed.
    let state = state.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    Some(SpanContext::new(TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, flags, true, state))
}
