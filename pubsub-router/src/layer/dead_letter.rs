//! `DeadLetter`: where events go that are given up.

use pubsub_core::{ChannelName, Error, ErrorKind, Result, driver::RetryPolicy};

use super::{Inner, layer};
use crate::{Decision, HandlerError, Incoming, Verdict, run::resolve};

/// Says where events go that a handler has given up: rejected ones, those that it cannot read, and those whose attempts are used
/// up.
///
/// By default they lie with the library, in `_dlq.<group>.<channel>`, where
/// [`PubSub::dead_letters`](pubsub_core::PubSub::dead_letters) reads them; that is so without this layer, too.
/// [`DeadLetter::to`] puts them on a channel of your own, which is read like any other and has no list, redrive or drop; it
/// should have no deduplication window, for a letter keeps its event's id, and waits while the channel takes it for a
/// duplicate. What no handler gets to see goes to the library's place all the same: what the adapter cannot read, and what
/// reaches [`Router::max_deliveries`](crate::Router::max_deliveries). Either way the copy has the original id and bytes, the reason, the
/// attempts, the first and the last time and the source, and is confirmed before the original is settled. If it cannot be
/// written, the original stays unsettled and comes again.
///
/// Put it outside of retry layers.
#[derive(Clone, Debug, Default)]
pub struct DeadLetter {
    channel: Option<ChannelName>,
}

impl DeadLetter {
    /// On a channel of your own.
    ///
    /// # Errors
    /// `Invalid` for a bad name.
    pub fn to(channel: &str) -> Result<Self> {
        Ok(Self { channel: Some(ChannelName::parse(channel)?) })
    }

    async fn around(&self, incoming: Incoming, inner: impl Inner) -> Verdict {
        let verdict = inner.run(incoming.clone()).await;
        let (Some(channel), Err(error)) = (&self.channel, verdict.as_ref()) else { return verdict };
        let message = incoming.message();
        let resolved = matches!(error.decision(), Decision::Reject | Decision::GiveUp) || {
            // Without a retry layer inside, the attempts are counted here.
            !error.is_resolved() && RetryPolicy::default().is_exhausted(incoming.attempt())
        };
        if !resolved {
            let attempt = incoming.attempt();
            return verdict.map_err(|error| resolve(error, &RetryPolicy::default(), message.id(), attempt));
        }
        let bus = incoming.bus();
        let (attempt, first) = (incoming.attempt(), incoming.first_seen());
        let letter = message.dead_letter(channel.clone(), &error.to_string(), attempt, first, bus.clock().now());
        match Box::pin(bus.publish_envelope(letter.into_envelope())).await {
            // Another letter has taken the id: of another group, or of an earlier failure.
            Ok(receipt) if receipt.duplicate => {
                let text = "the channel of dead letters took it for a duplicate, so it is not there";
                let error = Error::new(ErrorKind::Conflict, "write dead letter", text).on(channel);
                Err(failed(error, message.id(), attempt))
            }
            Ok(_) => Ok(crate::Done::default()),
            Err(refused) => Err(failed(refused, message.id(), attempt)),
        }
    }
}

/// The letter is not written: again, however often it was tried.
fn failed(error: Error, id: &pubsub_core::EventId, attempt: u32) -> HandlerError {
    let delay = RetryPolicy::default().delay(id, attempt);
    HandlerError::from(error).resolve(Decision::RetryAfter(delay))
}

layer!(DeadLetter, DeadLetterService);
