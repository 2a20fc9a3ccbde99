//! The adapter of the server that is only pretended.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pubsub_core::{
    ChannelName, Error, ErrorKind, GroupName, Result,
    driver::{
        Adapter, AdapterState, Batch, BoxFuture, Capabilities, Health, History, HistoryRange, Inbox, MaybeReady,
        PublishOptions, Publisher, Receipt, Receipts, Renewal, StateSender, States, SubscribeOptions, Subscriber,
        Subscription, Tickets, Topology, TopologyReport, async_trait,
    },
};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Flaw,
    leases::Leases,
    server::{Condition, Server},
    source::SimulatedSource,
};

const CONNECT: Duration = Duration::from_secs(10);

/// An adapter over a bus in memory that fails as the server does.
pub(super) struct SimulatedAdapter {
    pub(super) server: Arc<Server>,
    prefix: String,
    strict: bool,
    states: Arc<StateSender>,
    watcher: Mutex<Option<JoinHandle<()>>>,
    /// How many breaks there were when something was last published.
    breaks: AtomicU64,
    /// Its process is stopped.
    frozen: watch::Sender<bool>,
    closed: watch::Sender<bool>,
    leases: Mutex<Vec<Arc<Leases>>>,
}

impl SimulatedAdapter {
    pub(super) async fn open(server: Arc<Server>, prefix: &str, more: &str) -> Result<Arc<Self>> {
        let degraded = more.contains("start=degraded") && !server.has(Flaw::StartWaits);
        let patience = match more.contains("connect_timeout=1s") && !server.has(Flaw::StartWaits) {
            true => Duration::from_secs(1),
            false => CONNECT,
        };
        let answers = server.now().answers() || !degraded && server.answers_within(patience).await;
        if !answers && !degraded {
            return Err(Error::new(ErrorKind::Unavailable, "connect", "the server does not answer"));
        }
        let state = if answers { AdapterState::Ready } else { AdapterState::Connecting };
        let states = Arc::new(StateSender::new(state));
        let deaf = server.has(Flaw::AlwaysReady) || !answers && server.has(Flaw::StartNeverHeals);
        let watcher = (!deaf).then(|| tokio::spawn(report(states.clone(), server.watch())));
        let breaks = AtomicU64::new(server.now().breaks);
        Ok(Arc::new(Self {
            server,
            prefix: prefix.to_owned(),
            strict: more.contains("strict=true"),
            states,
            watcher: Mutex::new(watcher),
            breaks,
            frozen: watch::Sender::new(false),
            closed: watch::Sender::new(false),
            leases: Mutex::default(),
        }))
    }

    /// Stops it as if its process were stopped, or lets it go on.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// Keeps what it has in hand for ever, as if the server never noticed that it is gone.
    pub(super) fn bury(&self) {
        let leases = std::mem::take(&mut *self.leases.lock().unwrap_or_else(PoisonError::into_inner));
        for lease in leases {
            lease.bury();
            std::mem::forget(lease);
        }
    }

    fn inner(&self) -> Result<Arc<dyn Adapter>> {
        if *self.closed.borrow() {
            return Err(Error::new(ErrorKind::Closed, "simulate", "the adapter is closed"));
        }
        self.server.bus(&self.prefix, self.strict)
    }

    async fn send(&self, batch: Batch, options: PublishOptions) -> Result<Tickets> {
        let swallowed = || -> Result<Tickets> {
            let receipts: Receipts = batch.iter().map(|_| Ok(Receipt::default())).collect();
            Ok(MaybeReady::ready(Ok(receipts)))
        };
        let now = self.server.now();
        if !now.answers() || now.full {
            if self.server.has(Flaw::ConfirmsInOutage) {
                return swallowed();
            }
            let patience = if self.server.has(Flaw::HangsInOutage) { CONNECT * 100 } else { options.timeout };
            let mut closed = self.closed.subscribe();
            let takes = tokio::select! {
                takes = self.server.takes_within(patience) => takes,
                _ = closed.wait_for(|closed| *closed), if !self.server.has(Flaw::HangsInOutage) => false,
            };
            if !takes {
                let kind = if self.server.now().full { ErrorKind::Backpressure } else { ErrorKind::Unavailable };
                return Err(Error::new(kind, "publish", "the server does not answer"));
            }
        }
        let breaks = self.server.now().breaks;
        if self.breaks.swap(breaks, Ordering::Relaxed) != breaks && self.server.has(Flaw::LosesOnReturn) {
            return swallowed();
        }
        match self.inner()?.enqueue(batch.clone(), &options).await {
            Err(error) if error.kind() == ErrorKind::NotFound && self.server.has(Flaw::ConfirmsNowhere) => swallowed(),
            outcome => outcome,
        }
    }
}

/// Reports the server's condition as the adapter's state.
async fn report(states: Arc<StateSender>, mut watch: watch::Receiver<Condition>) {
    loop {
        let answers = watch.borrow_and_update().answers();
        let lost = || AdapterState::Degraded("the server does not answer".to_owned());
        states.set(if answers { AdapterState::Ready } else { lost() });
        if watch.changed().await.is_err() {
            return;
        }
    }
}

impl Publisher for SimulatedAdapter {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        MaybeReady::boxed(self.send(batch, *options))
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { self.inner()?.flush().await })
    }
}

#[async_trait]
impl Subscriber for SimulatedAdapter {
    async fn subscribe(&self, mut options: SubscribeOptions) -> Result<Subscription> {
        if !self.server.answers_within(CONNECT).await {
            return Err(Error::new(ErrorKind::Unavailable, "subscribe", "the server does not answer"));
        }
        if self.server.has(Flaw::LeaseNotRenewed) {
            options.lease.renewal = Renewal::Manual;
        }
        let (server, prefix, strict) = (self.server.clone(), self.prefix.clone(), self.strict);
        let leases = Leases::new(server.has(Flaw::StaleAccepted));
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).push(leases.clone());
        let source = SimulatedSource::open(server, prefix, strict, options, self.frozen.subscribe(), leases).await?;
        Ok(Subscription::new(source))
    }
}

#[async_trait]
impl Adapter for SimulatedAdapter {
    fn capabilities(&self) -> Capabilities {
        self.server.bus(&self.prefix, self.strict).map_or(Capabilities::new("simulated"), |bus| bus.capabilities())
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        // As an adapter does that has to ask its broker.
        if !self.server.has(Flaw::ConfirmsInOutage) && !self.server.answers_within(CONNECT).await {
            return Err(Error::new(ErrorKind::Unavailable, "ensure topology", "the server does not answer"));
        }
        self.inner()?.ensure(topology).await
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        self.inner()?.delete_group(channel, group).await
    }

    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        self.inner()?.lag(channel, group).await
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.inner()?.history(range).await
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.inner()?.open_inbox().await
    }

    fn states(&self) -> States {
        self.states.watch()
    }

    async fn health(&self) -> Health {
        let answers = self.server.now().answers() || self.server.has(Flaw::AlwaysReady);
        Health::new(self.states.current(), answers.then_some(Duration::from_millis(1)))
    }

    async fn close(&self, _: Duration) -> Result<()> {
        if self.server.has(Flaw::CloseHangsInOutage) && !self.server.now().answers() {
            self.server.answers_within(CONNECT * 100).await;
        }
        self.closed.send_replace(true);
        if let Some(watcher) = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watcher.abort();
        }
        self.states.set(AdapterState::Closed);
        Ok(())
    }
}

impl Drop for SimulatedAdapter {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            watcher.abort();
        }
    }
}

impl fmt::Debug for SimulatedAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedAdapter").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
