//! `DeadLetter`: where events go that are given up.

use pubsub_core::{ChannelName, Error, Result, driver::RetryPolicy};

use super::{Inner, layer};
use crate::{Decision, HandlerError, Incoming, Verdict, run::resolve};

/// Says where events go that are given up: rejected ones, unreadable ones, and those whose attempts are used up.
///
/// By default they lie with the library, in `_dlq.<group>.<channel>`, where
/// [`PubSub::dead_letters`](pubsub_core::PubSub::dead_letters) reads them; that is so without this layer, too.
/// [`DeadLetter::to`] puts them on a channel of your own. Either way the copy has the original id and bytes, the reason, the
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
