//! The adapter as a whole.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use ::redis::cmd;
use pubsub_core::{
    ChannelName, Error, ErrorKind, GroupName, Result,
    driver::{
        Adapter, AdapterState, Capabilities, Health, History, HistoryRange, Inbox, States, Topology, TopologyReport,
        async_trait,
    },
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    capabilities, connection::Hub, delay, history, inbox, options::RedisOptions, publisher::Outbox, scripts, topology,
    wire, writer,
};

/// How long the server may take to answer a question for its health.
const HEALTH: Duration = Duration::from_secs(3);

/// The Redis adapter. See the module's documentation.
pub struct Redis {
    pub(super) hub: Arc<Hub>,
    pub(super) outbox: Outbox,
}

impl Redis {
    /// Opens the adapter, and waits for the first connection unless the options say otherwise.
    ///
    /// # Errors
    /// `Invalid` that names the option, `Unsupported` for encryption without its feature and for a server that is too old,
    /// `Auth` for wrong credentials or certificates, `Unavailable` if there is no connection in time.
    pub async fn open(options: RedisOptions) -> Result<Arc<Self>> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(ErrorKind::Invalid, "connect", "there is no tokio runtime here"));
        }
        let (outbox, jobs) = Outbox::new(options.in_flight);
        let hub = Hub::new(options)?;
        // Dropped on the way, it ends its tasks.
        let redis = Arc::new(Self { hub: hub.clone(), outbox });
        hub.tasks.spawn(hub.clone().supervise());
        hub.tasks.spawn(writer::write(hub.clone(), jobs));
        hub.tasks.spawn(delay::move_due(hub.clone()));
        hub.first().await?;
        Ok(redis)
    }
}

#[async_trait]
impl Adapter for Redis {
    fn capabilities(&self) -> Capabilities {
        capabilities::capabilities(&self.hub.options)
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.hub.open("ensure topology")?;
        topology::ensure(&self.hub, topology).await
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        const DELETE: &str = "delete group";
        self.hub.open(DELETE)?;
        let channel = self.hub.channel(DELETE, channel).await?;
        let refuse = |kind, text: &'static str| Err(Error::new(kind, DELETE, text).on(&channel.name));
        let members = channel.keys.members(group);
        let mut keys = vec![members];
        for (shard, stream) in channel.streams.iter().enumerate() {
            keys.extend([stream.clone(), channel.keys.due(group, shard), channel.keys.lock(group, shard)]);
            keys.push(channel.keys.failed(group, shard));
        }
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let mut delete = scripts::DELETE.call(&keys);
        delete.arg(group.as_str());
        match wire::int(&self.hub.ask(DELETE, &delete).await?) {
            Some(1) => Ok(()),
            Some(-1) => refuse(ErrorKind::Conflict, "the group has members"),
            _ => refuse(ErrorKind::NotFound, "the channel has no such group"),
        }
    }

    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        const LAG: &str = "read lag";
        self.hub.open(LAG)?;
        let channel = self.hub.channel(LAG, channel).await?;
        topology::lag(&self.hub, LAG, &channel, group).await.map_err(|error| error.on(&channel.name))
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.hub.open("read history")?;
        history::read(&self.hub, range).await
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.hub.open("open inbox")?;
        inbox::open(&self.hub).await
    }

    fn states(&self) -> States {
        self.hub.states.watch()
    }

    async fn health(&self) -> Health {
        let state = self.hub.states.current();
        if state == AdapterState::Closed {
            return Health::new(state, None);
        }
        let started = Instant::now();
        let answered = match self.hub.link() {
            Some(link) => matches!(timeout(HEALTH, link.command(&cmd("PING"))).await, Ok(Ok(_))),
            None => false,
        };
        match (answered, self.hub.states.current()) {
            (true, state) => Health::new(state, Some(started.elapsed())),
            (false, AdapterState::Ready) => {
                Health::new(AdapterState::Degraded("the server gives no sign of life".to_owned()), None)
            }
            (false, state) => Health::new(state, None),
        }
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        let deadline = Instant::now() + deadline;
        self.hub.closing.cancel();
        self.hub.work.close();
        let flushed = timeout_at(deadline, self.hub.ledger.flush()).await;
        let left = timeout_at(deadline, self.hub.work.wait()).await;
        self.hub.token.cancel();
        self.hub.states.set(AdapterState::Closed);
        self.hub.tasks.close();
        // They wait for nothing but the token.
        let ended = timeout(Duration::from_secs(2), async {
            self.hub.work.wait().await;
            self.hub.tasks.wait().await;
        });
        let ended = ended.await;
        if flushed.is_err() || left.is_err() || ended.is_err() {
            let text = "not everything could be told to the server in time; it stays unsettled or unconfirmed";
            return Err(Error::new(ErrorKind::Timeout, "close", text));
        }
        Ok(())
    }

    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(self)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.hub.closing.cancel();
        self.hub.token.cancel();
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("options", &self.hub.options).finish_non_exhaustive()
    }
}
