//! A broker and the proxy before it. Both outlive the case that uses them, where starting a broker takes long.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::runtime::{Handle, Runtime};

use super::broken;
use crate::{
    broker::{Broker, BrokerKind, BrokerOptions},
    conformance::{Failure, Size, Verdict},
    faults::Action,
    proxy::FaultProxy,
};

/// RabbitMQ before 3.13.3 writes down half a second later which queues it has: one that was just made is out of reach for
/// ever when the server is killed before, and nobody but the server can do anything about that.
const WRITTEN_DOWN: Duration = Duration::from_secs(1);

/// A broker behind a proxy. Adapters connect to the proxy, Kafka's clients too, which are told its address.
pub(in crate::faults) struct Slot {
    kind: BrokerKind,
    broker: Arc<Mutex<Broker>>,
    proxy: FaultProxy,
    /// Where the proxy lives, since each case has a runtime of its own.
    home: Handle,
    /// Whether the broker is in a state in which no other case can use it.
    pub(super) spoiled: AtomicBool,
}

impl Slot {
    /// Starts a broker and a proxy before it. Blocks.
    pub(in crate::faults) fn start(kind: BrokerKind, home: &Runtime) -> Verdict<Arc<Self>> {
        let failed = |error| Failure::new("a proxy", error);
        let proxy = home.block_on(FaultProxy::bind()).map_err(failed)?;
        let room = if Size::from_env() == Size::Long { 8 << 30 } else { 256 << 20 };
        let options = BrokerOptions::new().fsync_always().advertised(proxy.address()).room(room);
        let broker = Broker::start(kind, &options).map_err(broken)?;
        proxy.set_upstream(broker.address());
        let (broker, spoiled) = (Arc::new(Mutex::new(broker)), AtomicBool::new(false));
        Ok(Arc::new(Self { kind, broker, proxy, home: home.handle().clone(), spoiled }))
    }

    pub(super) fn kind(&self) -> BrokerKind {
        self.kind
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Whether another case may use it.
    pub(in crate::faults) fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::Relaxed)
    }

    /// Says that no other case may use it.
    pub(in crate::faults) fn spoil(&self) {
        self.spoiled.store(true, Ordering::Relaxed);
    }

    /// Runs something that blocks, with the broker.
    pub(super) async fn with_broker(&self, run: impl FnOnce(&mut Broker) -> Verdict + Send + 'static) -> Verdict {
        let broker = self.broker.clone();
        let run = move || run(&mut broker.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = tokio::task::spawn_blocking(run).await;
        ended.map_err(|error| Failure::new("a broker that does what it is told", error))?
    }

    pub(in crate::faults) async fn act(self: Arc<Self>, action: Action) -> Verdict {
        let failed = |error| Failure::new("a proxy that does what it is told", error);
        match action {
            Action::Stop => self.with_broker(|broker| broker.stop().map_err(broken)).await,
            Action::Kill => {
                if self.kind == BrokerKind::RabbitMq {
                    tokio::time::sleep(WRITTEN_DOWN).await;
                }
                self.with_broker(|broker| broker.kill().map_err(broken)).await
            }
            Action::Start => self.with_broker(start).await,
            Action::Wipe => {
                self.spoil();
                self.with_broker(|broker| broker.wipe().map_err(broken)).await
            }
            Action::Pause => self.with_broker(|broker| broker.pause().map_err(broken)).await,
            Action::Resume => self.with_broker(|broker| broker.resume().map_err(broken)).await,
            Action::Cut => self.proxy.cut().await.map_err(failed),
            Action::Refuse => {
                self.proxy.refuse().await.map_err(failed)?;
                self.proxy.cut().await.map_err(failed)
            }
            Action::Stall => {
                self.proxy.stall();
                Ok(())
            }
            Action::Blackhole => {
                self.proxy.blackhole();
                Ok(())
            }
            // The port is bound where the proxy lives.
            Action::Heal => {
                let slot = self.clone();
                let healed = self.home.spawn(async move { slot.proxy.heal().await }).await;
                healed.map_err(|error| Failure::new("a proxy", error))?.map_err(failed)
            }
        }
    }

    /// Makes all whole again, whatever the case left. Blocks.
    pub(in crate::faults) fn mend(&self) -> Verdict {
        let mut broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be stopped or ended.
        broker.resume().ok();
        start(&mut broker)?;
        self.home.block_on(self.proxy.heal()).map_err(|error| Failure::new("a proxy", error))
    }
}

fn start(broker: &mut Broker) -> Verdict {
    if broker.is_running() { Ok(()) } else { broker.restart().map_err(broken) }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("kind", &self.kind).finish_non_exhaustive()
    }
}
