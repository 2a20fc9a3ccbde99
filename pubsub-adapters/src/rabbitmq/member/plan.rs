//! What a subscription of a group takes from, and how it is opened.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pubsub_core::{Error, ErrorKind, Result, StartPosition};

use super::super::{
    connection::Link,
    group::{Founder, Scope, content, exists, remove, unlock},
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
    /// The groups' tokens, by scope.
    tokens: Mutex<Vec<Arc<str>>>,
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
        let tokens = Mutex::new(vec![Arc::from(""); scopes.len()]);
        Arc::new(Self { link, topology, sender, scopes, queues, max_in_flight, ordered, tokens, patience })
    }

    /// The queue that counts the members of the group.
    pub(super) fn members(&self) -> Option<String> {
        self.scopes.first().map(|scope| scope.members(&self.topology.names))
    }

    /// The token of the group to which a queue belongs.
    pub(super) fn token(&self, queue: &Queue) -> Arc<str> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(queue.scope).cloned().unwrap_or_default()
    }

    /// Learns the groups' tokens. Their consumers are there, so that nobody can delete the groups without ending these.
    pub(super) async fn learn(&self) -> Result<()> {
        let mut found = Vec::with_capacity(self.scopes.len());
        for scope in &self.scopes {
            let mut token = self.founder().token(scope).await?;
            if token.is_none() {
                self.topology.look().await?;
                token = self.founder().token(scope).await?;
            }
            let missing = || Error::new(ErrorKind::NotFound, "receive", "there is no such group");
            found.push(Arc::from(token.ok_or_else(missing)?));
        }
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    pub(super) fn founder(&self) -> Founder<'_> {
        Founder { topology: &self.topology, sender: &self.sender }
    }

    /// How many events the broker may send ahead from each queue; all of them together fill the window.
    fn prefetch(&self) -> u16 {
        let share = self.max_in_flight.div_ceil(self.queues.len().max(1)).max(1);
        u16::try_from(share).unwrap_or(u16::MAX)
    }

    /// Opens a lane for each of these queues: an ordered one is handed on by itself, and the end of a backlog has come
    /// once nothing else of its queue is in hand, whatever comes from the others.
    pub(super) async fn open(&self, indices: &[usize]) -> Result<(Vec<Lane>, Vec<Arrivals>)> {
        static LANES: AtomicU64 = AtomicU64::new(1);
        let live = self.link.live("receive", self.patience).await?;
        let (mut lanes, mut arrivals) = (Vec::new(), Vec::new());
        for &index in indices {
            let number = LANES.fetch_add(1, Ordering::Relaxed);
            let mut lane = Lane::open(live.clone(), number, self.prefetch(), vec![index]).await?;
            if self.ordered
                && index == 0
                && let Some(members) = self.members()
            {
                lane.attend(&members).await?;
            }
            arrivals.push(self.consume(&mut lane, index).await?);
            lanes.push(lane);
        }
        self.learn().await?;
        Ok((lanes, arrivals))
    }

    /// Begins to take from a queue, or from its backlog as long as there is one. Nobody deletes the backlog meanwhile: the
    /// broker ends the whole connection of whoever comes to a queue that is just going.
    pub(super) async fn consume(&self, lane: &mut Lane, index: usize) -> Result<Arrivals> {
        let missing = || Error::new(ErrorKind::NotFound, "receive", "there is no such queue");
        let queue = self.queues.get(index).ok_or_else(missing)?;
        if !exists(&self.topology, &queue.backlog).await? {
            return lane.consume(&queue.name, index, false).await;
        }
        let scope = self.scopes.get(queue.scope).ok_or_else(missing)?;
        let lock = self.founder().hold(scope).await?;
        let arrivals = self.consume_first(lane, index, queue).await;
        unlock(&lock).await;
        arrivals
    }

    /// Begins to take from the backlog of a queue, or from the queue itself. Under the group's lock.
    async fn consume_first(&self, lane: &mut Lane, index: usize, queue: &Queue) -> Result<Arrivals> {
        match content(&self.topology, &queue.backlog).await? {
            // Nothing is in it and nobody has anything of it in hand, for whoever does is counted even after it was
            // cancelled: no end will ever come.
            Some((0, 0)) => remove(&self.topology, &queue.backlog).await?,
            Some(_) => return lane.consume(&queue.backlog, index, true).await,
            None => {}
        }
        lane.consume(&queue.name, index, false).await
    }

    /// Deletes a backlog that is read to its end.
    pub(super) async fn delete(&self, lane: &mut Lane, index: usize) -> Result<()> {
        let Some(queue) = self.queues.get(index) else { return Ok(()) };
        let Some(scope) = self.scopes.get(queue.scope) else { return Ok(()) };
        let lock = self.founder().hold(scope).await?;
        let deleted = lane.delete(&queue.backlog).await;
        unlock(&lock).await;
        deleted
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
