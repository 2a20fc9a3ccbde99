//! What a subscription of a group takes from, and how it is opened.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pubsub_core::{Result, StartPosition};

use super::super::{
    connection::Link,
    group::{Founder, Scope, exists},
    lease::{Arrivals, Lane},
    publisher::Sender,
    topology::Topologist,
};

/// One queue of a subscription.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) scope: usize,
    pub(super) name: String,
    pub(super) backlog: String,
}

/// What does not change during a subscription.
pub(in super::super) struct Plan {
    pub(in super::super) link: Arc<Link>,
    pub(in super::super) topology: Arc<Topologist>,
    pub(in super::super) sender: Arc<Sender>,
    pub(in super::super) scopes: Vec<Scope>,
    pub(super) queues: Vec<Queue>,
    pub(super) max_in_flight: usize,
    pub(super) ordered: bool,
    /// How long to wait for a connection when the subscription is opened.
    patience: Duration,
}

impl Plan {
    pub(in super::super) fn new(
        (link, topology, sender): (Arc<Link>, Arc<Topologist>, Arc<Sender>),
        scopes: Vec<Scope>,
        max_in_flight: usize,
        patience: Duration,
    ) -> Arc<Self> {
        let mut queues = Vec::new();
        for (index, scope) in scopes.iter().enumerate() {
            for shard in 0..scope.len() {
                let (name, backlog) = (scope.queue(&topology.names, shard), scope.backlog(&topology.names, shard));
                queues.push(Queue { scope: index, name, backlog });
            }
        }
        let ordered = scopes.iter().any(|scope| scope.ordered);
        Arc::new(Self { link, topology, sender, scopes, queues, max_in_flight, ordered, patience })
    }

    pub(super) fn founder(&self) -> Founder<'_> {
        Founder { topology: &self.topology, sender: &self.sender }
    }

    /// How many events the broker may send ahead from each queue; all of them together fill the window.
    fn prefetch(&self) -> u16 {
        let share = self.max_in_flight.div_ceil(self.queues.len().max(1)).max(1);
        u16::try_from(share).unwrap_or(u16::MAX)
    }

    /// Opens lanes for these queues: one for each ordered queue, so that it can be handed on by itself.
    pub(super) async fn open(&self, indices: &[usize]) -> Result<(Vec<Lane>, Vec<Arrivals>)> {
        static LANES: AtomicU64 = AtomicU64::new(1);
        let live = self.link.live("receive", self.patience).await?;
        let parts: Vec<Vec<usize>> =
            if self.ordered { indices.iter().map(|index| vec![*index]).collect() } else { vec![indices.to_vec()] };
        let (mut lanes, mut arrivals) = (Vec::new(), Vec::new());
        for part in parts {
            let number = LANES.fetch_add(1, Ordering::Relaxed);
            let mut lane = Lane::open(live.clone(), number, self.prefetch(), part.clone()).await?;
            for index in part {
                let Some(queue) = self.queues.get(index) else { continue };
                let backlog = exists(&self.topology, &queue.backlog).await?;
                let name = if backlog { &queue.backlog } else { &queue.name };
                arrivals.push(lane.consume(name, index, backlog).await?);
            }
            lanes.push(lane);
        }
        Ok((lanes, arrivals))
    }

    /// Makes again what was deleted.
    pub(super) async fn mend(&self, start: &StartPosition) -> Result<()> {
        for scope in &self.scopes {
            self.founder().mend(scope, start).await?;
        }
        Ok(())
    }

    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.queues.len()).collect()
    }
}
