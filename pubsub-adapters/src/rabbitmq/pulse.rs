//! The pulse of an ephemeral broadcast: whether its bindings are still there.
//!
//! Bindings go with their exchange, the connection stays, and the broker says nothing; the queue is this connection's
//! alone, so that nobody else can bind it again. Hence a mark goes through the exchange to the queue every few seconds.

use std::{fmt, sync::Arc, time::Duration};

use pubsub_core::{ChannelName, ErrorKind, EventId, Result, driver::BoxFuture};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{group::mark, lane::Unrouted, names::short, topology::Topologist, wire::Raw};

/// How often a mark is sent, and so how long it may take to come.
const EVERY: Duration = Duration::from_secs(3);

/// The pulse of one queue.
pub(super) struct Pulse {
    topology: Arc<Topologist>,
    token: String,
    ticks: Interval,
    /// What is being published.
    sending: Option<BoxFuture<'static, Result<()>>>,
    /// Whether a mark was sent, and nothing has come since.
    awaited: bool,
}

impl Pulse {
    pub(super) fn new(topology: &Arc<Topologist>) -> Self {
        let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let token = EventId::random().to_string();
        Self { topology: topology.clone(), token, ticks, sending: None, awaited: false }
    }

    /// What binds the queue for its marks.
    pub(super) fn key(&self) -> String {
        format!("pulse.{}", self.token)
    }

    /// Something has come: a mark, or an event, which takes the same way.
    pub(super) fn beat(&mut self) {
        self.awaited = false;
    }

    /// Waits until the bindings are gone. Cancel safe.
    pub(super) async fn lost(&mut self) {
        loop {
            if let Some(sending) = &mut self.sending {
                let sent = sending.await;
                self.sending = None;
                match sent {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::Unroutable => return,
                    // The broker holds publishers back, or is not there: that says nothing about the bindings.
                    Err(_) => self.awaited = false,
                }
            }
            self.ticks.tick().await;
            if self.awaited {
                return;
            }
            let (topology, key, token) = (self.topology.clone(), self.key(), self.token.clone());
            self.awaited = true;
            self.sending = Some(Box::pin(async move {
                let (Some(sender), Ok(channel)) = (topology.sender(), ChannelName::inbox(&token)) else {
                    return Ok(());
                };
                let exchange = short(&topology.names.live());
                sender.put(mark(&token), exchange, short(&key), Unrouted::Refuse, &channel).await
            }));
        }
    }

    /// Whether this is one of the marks of a pulse.
    pub(super) fn is_mark(raw: &Raw) -> bool {
        raw.routing_key.as_str().starts_with("pulse.") && raw.mark().is_some()
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("awaited", &self.awaited).finish_non_exhaustive()
    }
}
