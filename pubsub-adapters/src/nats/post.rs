//! An event on its way to the server.

use std::sync::Arc;

use pubsub_core::{
    ChannelName, Error, ErrorKind, Message, Result,
    driver::{PublishOptions, Receipt},
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    publisher::Encoded,
    topology::{Route, remembered},
};
use crate::common::ledger::OpenTickets;

/// An event on its way.
pub(super) struct Post {
    pub(super) route: Arc<Route>,
    pub(super) message: Arc<Message>,
    pub(super) options: PublishOptions,
    pub(super) encoded: Option<Encoded>,
    /// Whether a stream confirms it.
    pub(super) confirmed: bool,
    /// Which event of this adapter it is.
    pub(super) serial: u64,
    pub(super) deadline: Instant,
    pub(super) first_sent: Option<Instant>,
    pub(super) last_sent: Option<Instant>,
    /// Whether its stream was made anew for it.
    pub(super) revived: bool,
    pub(super) stage: Stage,
    pub(super) done: Option<oneshot::Sender<Result<Receipt>>>,
    pub(super) open: OpenTickets,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Post {
    pub(super) fn finish(mut self: Box<Self>, outcome: Result<Receipt>) {
        let outcome = outcome.map_err(|error| error.on(self.message.channel()));
        if let Err(error) = &outcome {
            self.open.fail(error);
        }
        drop(self.room.take());
        if let Some(done) = self.done.take() {
            let _ = done.send(outcome);
        }
    }

    /// Ends because its time is over, or because there is nobody left to send it.
    pub(super) fn give_up(self: Box<Self>, kind: ErrorKind, text: &'static str) {
        let error = Error::new(kind, "publish", text);
        let sent = self.first_sent.is_some();
        self.finish(Err(if sent { error.perhaps_applied() } else { error }));
    }

    /// Whether the server still drops it if it has it already.
    pub(super) fn may_go_again(&self) -> bool {
        let window = remembered(&self.route.policy);
        self.confirmed && self.first_sent.is_none_or(|first| first.elapsed() < window)
    }

    /// What kind of stream it needs: its channel's, and whether that takes scheduled events.
    pub(super) fn need(&self) -> Need {
        (self.message.channel().clone(), self.options.deliver_at.is_some())
    }
}

/// A channel, and whether it takes scheduled events.
pub(super) type Need = (ChannelName, bool);

/// What becomes of an event next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is sent, and its confirmation is waited for.
    #[default]
    Sent,
    /// Its stream is being made anew.
    Held,
    /// It is to be sent, before whatever comes behind it.
    Due,
}
