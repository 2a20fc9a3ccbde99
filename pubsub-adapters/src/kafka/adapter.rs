//! The adapter as a whole.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use pubsub_core::{
    ChannelName, GroupName, Result,
    driver::{
        Adapter, AdapterState, Capabilities, Health, History, HistoryRange, Inbox, States, Topology, TopologyReport,
        async_trait,
    },
};

use super::{
    connection::{ANSWER, Link},
    options::KafkaOptions,
};

/// The Kafka adapter: one connection to a cluster. See the module's documentation.
pub struct Kafka {
    pub(super) link: Arc<Link>,
}

impl Kafka {
    /// Opens the adapter, and waits for the cluster as far as the options ask for it.
    ///
    /// # Errors
    /// `Invalid` that names the option, `Unsupported` for a security that is not built in and for a broker
    /// that is too old, `Unavailable` if no broker
    /// answers in time, `Auth` if it refuses the credentials.
    pub async fn open(options: KafkaOptions) -> Result<Arc<Self>> {
        let link = Link::new(options)?;
        link.connect().await?;
        Ok(Arc::new(Self { link }))
    }
}

#[async_trait]
impl Adapter for Kafka {
    fn capabilities(&self) -> Capabilities {
        super::capabilities::capabilities(&self.link.options, &self.link.server)
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.link.open("ensure topology")?;
        self.link.ensure(topology).await
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        self.link.open("delete group")?;
        let topic = self.link.names.topic(channel)?;
        let deleted = self.link.delete_members(&self.link.names.group_on(&topic, group)).await;
        deleted.map_err(|error| error.on(channel))
    }

    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        self.link.open("read lag")?;
        self.link.lag(channel, group).await.map_err(|error| error.on(channel))
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.link.open("read history")?;
        self.link.history(range).await.map_err(|error| error.on(&range.channel))
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.link.open("open inbox")?;
        self.link.open_inbox().await
    }

    fn states(&self) -> States {
        self.link.states.watch()
    }

    async fn health(&self) -> Health {
        if self.link.open("health").is_err() {
            return Health::new(AdapterState::Closed, None);
        }
        match self.link.ping(ANSWER).await {
            Ok(round_trip) => Health::new(self.link.states.current(), Some(round_trip)),
            Err(error) => Health::new(AdapterState::Degraded(error.to_string()), None),
        }
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.link.close(deadline).await
    }

    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(self)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Tasks hold the link, not the adapter: they end with it.
        self.link.closing.cancel();
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("options", &self.link.options)
            .field("state", &self.link.states.current())
            .finish()
    }
}
