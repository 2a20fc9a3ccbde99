//! The adapter as a whole.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use pubsub_core::{
    ChannelName, Error, ErrorKind, GroupName, Result,
    driver::{
        Adapter, AdapterState, Capabilities, Health, History, HistoryRange, Inbox, States, Topology, TopologyReport,
        async_trait,
    },
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{capabilities, connection::Shared, history, inbox, options::NatsOptions};

/// The NATS adapter. See the module's documentation.
pub struct Nats {
    pub(super) shared: Arc<Shared>,
}

impl Nats {
    /// Connects to a server or cluster.
    ///
    /// # Errors
    /// `Invalid` that names the option, `Auth` if the server does not let us in, `Unavailable` if it cannot be reached
    /// in time.
    pub async fn open(options: NatsOptions) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { shared: Shared::open(options).await? }))
    }
}

#[async_trait]
impl Adapter for Nats {
    fn capabilities(&self) -> Capabilities {
        capabilities::capabilities(&self.shared)
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.shared.check_open("ensure topology")?;
        self.shared.ensure(topology).await.map_err(|error| self.shared.or_closed("ensure topology", error))
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        self.shared.check_open("delete group")?;
        let deleted = self.shared.delete_group(channel, group).await;
        deleted.map_err(|error| self.shared.or_closed("delete group", error))
    }

    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        self.shared.check_open("read lag")?;
        self.shared.lag(channel, group).await.map_err(|error| self.shared.or_closed("read lag", error))
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.shared.check_open("read history")?;
        history::read(&self.shared, range).await.map_err(|error| self.shared.or_closed("read history", error))
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.shared.check_open("open inbox")?;
        inbox::open(&self.shared).await.map_err(|error| self.shared.or_closed("open inbox", error))
    }

    fn states(&self) -> States {
        self.shared.states.watch()
    }

    async fn health(&self) -> Health {
        let state = self.shared.states.current();
        if state == AdapterState::Closed {
            return Health::new(state, None);
        }
        let begun = Instant::now();
        let answered = self.shared.link.borrow().up && self.shared.outbox.echo(Duration::from_secs(2)).await;
        match (answered, state) {
            (true, state) => Health::new(state, Some(begun.elapsed())),
            (false, AdapterState::Ready) => {
                Health::new(AdapterState::Degraded("the server does not answer".to_owned()), None)
            }
            (false, state) => Health::new(state, None),
        }
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        let shared = &self.shared;
        if !shared.shut() {
            return Ok(());
        }
        let end = Instant::now() + deadline;
        shared.closing.cancel();
        shared.readers.close();
        shared.tasks.close();
        // Settlements first: what publishers wait for has time-outs of its own.
        let settled = timeout_at(end, shared.readers.wait()).await.is_ok();
        let published = timeout_at(end, shared.outbox.ledger.flush()).await.is_ok();
        let client = shared.link.borrow().client().cloned();
        shared.outbox.room.close();
        shared.kill.cancel();
        timeout(Duration::from_millis(200), shared.tasks.wait()).await.ok();
        timeout(Duration::from_millis(200), shared.readers.wait()).await.ok();
        if let Some(client) = client {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
            timeout(left, client.drain()).await.ok();
        }
        shared.states.set(AdapterState::Closed);
        shared.forget_client();
        if settled && published {
            return Ok(());
        }
        let what = if settled { "events were not confirmed" } else { "settlements did not reach the server" };
        let text = format!("{what} within {deadline:?}; the adapter is closed nevertheless");
        Err(Error::new(ErrorKind::Timeout, "close", text))
    }

    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(self)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.shared.shut();
        self.shared.closing.cancel();
        self.shared.kill.cancel();
        self.shared.states.set(AdapterState::Closed);
        self.shared.forget_client();
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("options", &self.shared.options).finish_non_exhaustive()
    }
}
