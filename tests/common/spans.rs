//! The spans that a test has exported.
#![allow(dead_code, reason = "each test uses some of it")]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use opentelemetry::{
    Value,
    trace::{SpanId, TracerProvider},
};
pub(crate) use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt;

/// One exporter for all tests of a process: tell their spans apart by channels.
static EXPORTER: LazyLock<InMemorySpanExporter> = LazyLock::new(|| {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    exporter
});

/// Begins to export.
pub(crate) fn export() {
    LazyLock::force(&EXPORTER);
}

/// Those spans that are done and of which this is true.
pub(crate) fn all(wanted: impl Fn(&SpanData) -> bool) -> Vec<SpanData> {
    EXPORTER.get_finished_spans().unwrap().into_iter().filter(wanted).collect()
}

/// The spans of this name, once there are so many of them.
pub(crate) async fn spans(name: &str, count: usize) -> Vec<SpanData> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let all = EXPORTER.get_finished_spans().unwrap();
        let found: Vec<_> = all.iter().filter(|span| span.name == name).cloned().collect();
        if found.len() >= count {
            assert_eq!(found.len(), count, "{name}");
            return found;
        }
        let names: Vec<_> = all.iter().map(|span| &span.name).collect();
        assert!(Instant::now() < deadline, "{} of {count} spans `{name}` among {names:?}", found.len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The one span of this name.
pub(crate) async fn span(name: &str) -> SpanData {
    spans(name, 1).await.remove(0)
}

pub(crate) fn id(span: &SpanData) -> SpanId {
    span.span_context.span_id()
}

/// An attribute as text.
pub(crate) fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|found| &found.value)?;
    Some(match value {
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    })
}

/// Whether `child` is a child of `parent`, in the same trace.
#[track_caller]
pub(crate) fn assert_child(child: &SpanData, parent: &SpanData) {
    assert_eq!(child.span_context.trace_id(), parent.span_context.trace_id(), "{} and {}", child.name, parent.name);
    assert_eq!(child.parent_span_id, id(parent), "{} is no child of {}", child.name, parent.name);
}

/// The spans that a span is linked with.
pub(crate) fn links(span: &SpanData) -> Vec<SpanId> {
    span.links.links.iter().map(|link| link.span_context.span_id()).collect()
}
