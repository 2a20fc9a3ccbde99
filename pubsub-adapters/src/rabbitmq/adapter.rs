//! The adapter as a whole.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use pubsub_core::{
    ChannelName, Error, ErrorKind, GroupName, Result,
    driver::{
        Adapter, AdapterState, Capabilities, Difference, Health, History, HistoryRange, Inbox, StateSender, States,
        Topology, TopologyMode, TopologyReport, async_trait,
    },
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    capabilities,
    connection::{Board, Link, check_certificates},
    error::closed,
    group::{Founder, Scope},
    history, inbox,
    options::RabbitMqOptions,
    publisher::Sender,
    topology::{Topologist, settled},
    wire::Wire,
};
use crate::common::{backoff::Backoff, options::StartMode};

/// The RabbitMQ adapter: two connections, one to publish and one to consume and declare. See the module's documentation.
pub struct RabbitMq {
    pub(super) options: Arc<RabbitMqOptions>,
    pub(super) consume: Arc<Link>,
    publish: Arc<Link>,
    pub(super) topology: Arc<Topologist>,
    pub(super) sender: Arc<Sender>,
    states: Arc<StateSender>,
    pub(super) tasks: TaskTracker,
    /// Ends the tasks of subscriptions.
    pub(super) closing: CancellationToken,
}

impl RabbitMq {
    /// Connects to a broker.
    ///
    /// # Errors
    /// `Invalid` that names the option; `Auth` at once where the broker refuses us; `Unavailable` when there is no
    /// connection in time, unless the options say to start degraded.
    pub async fn open(options: RabbitMqOptions) -> Result<Arc<Self>> {
        options.check()?;
        check_certificates(&options)?;
        let options = Arc::new(options);
        let states = Arc::new(StateSender::new(AdapterState::Connecting));
        let board = Board::new(states.clone(), &["publish", "consume"]);
        let publish = Link::start(&options, "publish", &board);
        let consume = Link::start(&options, "consume", &board);
        let topology = Topologist::new(consume.clone(), publish.clone(), options.clone());
        let sender = Sender::start(&options, &publish, &topology);
        topology.set_sender(&sender);
        let adapter = Arc::new(Self {
            consume,
            publish,
            topology,
            sender,
            states,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            options,
        });
        if adapter.options.broker.start == StartMode::Wait {
            let deadline = Instant::now() + adapter.options.broker.connect_timeout;
            let connected = async {
                adapter.consume.live_until("connect", deadline).await?;
                adapter.publish.live_until("connect", deadline).await?;
                let mut patience = (deadline, Backoff::default());
                loop {
                    match adapter.topology.base(false).await {
                        Ok(()) => return Ok(()),
                        Err(error) => adapter.once_more("connect", &mut patience, error).await?,
                    }
                }
            };
            if let Err(error) = connected.await {
                let _ = adapter.close(Duration::from_millis(100)).await;
                return Err(error);
            }
        }
        Ok(adapter)
    }

    pub(super) fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.closing.is_cancelled() {
            return Err(closed(operation));
        }
        Ok(())
    }

    /// What fails because the adapter is being closed says so.
    pub(super) fn or_closed(&self, operation: &'static str, error: Error) -> Error {
        if self.closing.is_cancelled() { closed(operation) } else { error }
    }

    /// Until when something may be tried again that failed for want of a connection.
    pub(super) fn patience(&self) -> (Instant, Backoff) {
        (Instant::now() + self.options.broker.connect_timeout, Backoff::default())
    }

    /// Waits before another try, unless the failure is one that stays or the time is over.
    pub(super) async fn once_more(
        &self,
        operation: &'static str,
        (deadline, backoff): &mut (Instant, Backoff),
        error: Error,
    ) -> Result<()> {
        let error = self.or_closed(operation, error);
        let passes = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Backend);
        if !passes || Instant::now() >= *deadline {
            return Err(error);
        }
        sleep(backoff.next()).await;
        Ok(())
    }

    /// What broadcasts need.
    pub(super) fn parts(&self) -> (Arc<Topologist>, Arc<Wire>) {
        (self.topology.clone(), self.sender.wire.clone())
    }

    async fn delete(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        // As it is on the broker, whatever this process was told.
        let ordering = self.topology.ordering(channel).await?;
        let founder = Founder { topology: &self.topology, sender: &self.sender };
        founder.delete(&Scope::exact(group, channel, ordering)).await
    }

    async fn count(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        let ordering = self.topology.ordering(channel).await?;
        let founder = Founder { topology: &self.topology, sender: &self.sender };
        let scope = Scope::exact(group, channel, ordering);
        if founder.is_ready(&scope).await? {
            return founder.waiting(&scope).await;
        }
        Err(Error::new(ErrorKind::NotFound, "read lag", format!("the channel has no group `{group}`")).on(channel))
    }

    async fn ensure_groups(&self, topology: &Topology, report: &mut TopologyReport) -> Result<()> {
        let founder = Founder { topology: &self.topology, sender: &self.sender };
        for spec in &topology.channels {
            for (group, start) in &spec.groups {
                let scope = Scope::exact(group, &spec.channel, spec.policy.ordering);
                if founder.is_ready(&scope).await? {
                    continue;
                }
                let mut difference = Difference::new(&spec.channel, format!("group:{group}"), "declared", "missing");
                if topology.mode != TopologyMode::Validate {
                    founder.join(&scope, start).await?;
                    difference = difference.mended();
                }
                report.push(difference);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Adapter for RabbitMq {
    fn capabilities(&self) -> Capabilities {
        capabilities::capabilities(&self.options)
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.check_open("ensure topology")?;
        let mut patience = self.patience();
        let mut report = loop {
            match self.topology.ensure(topology).await {
                Ok(report) => break report,
                Err(error) => self.once_more("ensure topology", &mut patience, error).await?,
            }
        };
        if report.differences.iter().all(|difference| difference.mended) {
            let ensured = self.ensure_groups(topology, &mut report).await;
            ensured.map_err(|error| self.or_closed("ensure topology", error))?;
        }
        settled(report, topology.mode)
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        self.check_open("delete group")?;
        let (mut patience, mut tried) = (self.patience(), false);
        loop {
            match self.delete(channel, group).await {
                Ok(()) => return Ok(()),
                // It was deleted, and the word of it was lost.
                Err(error) if tried && error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => {
                    let again = self.once_more("delete group", &mut patience, error).await;
                    again.map_err(|error| error.on(channel))?;
                }
            }
            tried = true;
        }
    }

    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        self.check_open("read lag")?;
        let mut patience = self.patience();
        loop {
            match self.count(channel, group).await {
                Ok(lag) => return Ok(lag),
                Err(error) => {
                    let again = self.once_more("read lag", &mut patience, error).await;
                    again.map_err(|error| error.on(channel))?;
                }
            }
        }
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.check_open("read history")?;
        let mut patience = self.patience();
        loop {
            match history::read(self, range).await {
                Ok(history) => return Ok(history),
                Err(error) => self.once_more("read history", &mut patience, error).await?,
            }
        }
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.check_open("open inbox")?;
        let mut patience = self.patience();
        loop {
            match inbox::open(self).await {
                Ok(inbox) => return Ok(inbox),
                Err(error) => self.once_more("open inbox", &mut patience, error).await?,
            }
        }
    }

    fn states(&self) -> States {
        self.states.watch()
    }

    async fn health(&self) -> Health {
        let round_trip = match self.consume.now() {
            Some(live) if !self.closing.is_cancelled() => live.probe().await.ok(),
            _ => None,
        };
        let state = match self.states.current() {
            AdapterState::Ready if round_trip.is_none() => {
                AdapterState::Degraded("the broker gives no sign of life".to_owned())
            }
            state => state,
        };
        Health::new(state, round_trip)
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        if self.closing.is_cancelled() && self.states.current() == AdapterState::Closed {
            return Ok(());
        }
        let end = Instant::now() + deadline;
        self.sender.refuse();
        self.closing.cancel();
        self.tasks.close();
        // A part of the time is left for the tickets, and for saying goodbye.
        let settled = timeout(deadline.mul_f64(0.6), self.tasks.wait()).await.is_ok();
        let flushed = timeout_at(end - deadline.mul_f64(0.1).min(deadline), self.sender.flush()).await.is_ok();
        let open = self.sender.open();
        self.sender.stop();
        self.states.set(AdapterState::Closed);
        let rest = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(50));
        // What the lanes had left is refused.
        let lanes = timeout(rest, self.sender.ended());
        let (_, _, _) = tokio::join!(lanes, self.publish.close(rest), self.consume.close(rest));
        if settled && flushed {
            return Ok(());
        }
        let text = match (settled, flushed) {
            (true, _) => format!("{open} events were not confirmed within {deadline:?}"),
            _ => format!("not everything was settled within {deadline:?}; it comes again"),
        };
        Err(Error::new(ErrorKind::Timeout, "close", text))
    }

    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(self)
    }
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMq").field("options", &self.options).field("state", &self.states.current()).finish()
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        // Tasks of subscriptions that are still held go on with their connection; publishing ends.
        self.sender.stop();
    }
}
