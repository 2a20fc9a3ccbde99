//! `Publishing`: what is observed of one event on its way to the broker.

use std::sync::Arc;

use super::{Hop, Observer};
use crate::{Error, Message};

/// An event on its way, from the call to the broker's word. Without the features, and before it begins, it is empty.
#[derive(Debug, Default)]
pub(crate) struct Publishing {
    hop: Hop,
    #[cfg(feature = "metrics")]
    timing: Option<(super::Begun, Arc<super::metered::Outcomes>)>,
}

impl Observer {
    /// Begins a publish. The event then names the span of it, so that it must come before the event's size is looked at.
    pub(crate) fn publishing(&self, message: &mut Arc<Message>) -> Publishing {
        self.measured(Hop::publish(self, message), message)
    }

    /// Begins the publish of an event that is part of a batch. Its span is of its making; the batch has one of its own.
    pub(crate) fn publishing_in_batch(&self, message: &mut Arc<Message>) -> Publishing {
        self.measured(Hop::create(self, message), message)
    }

    fn measured(&self, hop: Hop, message: &Message) -> Publishing {
        #[cfg(not(feature = "metrics"))]
        let _ = message;
        Publishing {
            hop,
            #[cfg(feature = "metrics")]
            timing: Some((super::Begun::now(), self.outcomes(message.channel(), message.name()))),
        }
    }
}

impl Publishing {
    /// The broker has spoken, or it did not come to that. Only the first word counts.
    pub(crate) fn ended<T>(&mut self, outcome: &Result<T, Error>) {
        let hop = std::mem::take(&mut self.hop);
        #[cfg(feature = "metrics")]
        if let Some((begun, outcomes)) = self.timing.take() {
            match outcome {
                Ok(_) => outcomes.published(begun),
                Err(error) => outcomes.failed(error.kind()),
            }
        }
        if let Err(error) = outcome {
            hop.failed(error.kind().as_str(), error);
        }
    }
}
