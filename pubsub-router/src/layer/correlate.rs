//! `Correlate`: what a handler emits says which event led to it.

use super::{Inner, layer};
use crate::{Incoming, Verdict};

/// Gives every event that a handler emits the id of the event that led to it as `causation_id`, and the same
/// `correlation_id`, which is the first event's own id where it had none. What the handler has set itself stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Correlate;

impl Correlate {
    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        let cause = incoming.message().clone();
        incoming.on_emit(move |emitted| {
            let id = || cause.id().to_string();
            let correlation = || cause.meta().correlation_id.clone().unwrap_or_else(id);
            emitted.meta.correlation_id.get_or_insert_with(correlation);
            emitted.meta.causation_id.get_or_insert_with(id);
        });
        inner.run(incoming).await
    }
}

layer!(Correlate, CorrelateService);
