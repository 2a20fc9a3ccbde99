//! A member that is a task and passes for a process.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use pubsub_core::{PubSub, driver::async_trait};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{Flaw, adapter::SimulatedAdapter, server::Server};
use crate::{
    conformance::{Failure, Verdict},
    faults::{Member, Note, Notebook, Order, Work, work},
};

struct SimulatedMember {
    server: Arc<Server>,
    adapter: Arc<SimulatedAdapter>,
    bus: PubSub,
    orders: watch::Sender<Order>,
    task: Option<JoinHandle<()>>,
}

pub(super) fn start(
    server: Arc<Server>,
    adapter: Arc<SimulatedAdapter>,
    work: Work,
    book: Arc<dyn Notebook>,
) -> Box<dyn Member> {
    let bus = work::bus(adapter.clone(), work.shards);
    let (orders, given) = watch::channel(Order::Work);
    let used = bus.clone();
    let task = tokio::spawn(async move {
        if let Err(failure) = work::run(&used, &work, book.clone(), given).await {
            book.note(Note::Broken(failure.to_string()));
        }
    });
    Box::new(SimulatedMember { server, adapter, bus, orders, task: Some(task) })
}

#[async_trait]
impl Member for SimulatedMember {
    async fn kill(&mut self) -> Verdict {
        self.adapter.freeze(true);
        match self.task.take() {
            Some(task) => {
                if self.server.has(Flaw::KeepsDead) {
                    self.adapter.bury();
                }
                task.abort();
            }
            None => return Err(Failure::new("a member that can be killed", "it has ended")),
        }
        Ok(())
    }

    fn pause(&mut self, paused: bool) -> Verdict {
        self.adapter.freeze(paused);
        Ok(())
    }

    fn settle(&mut self) -> Verdict {
        self.orders.send_replace(Order::Settle);
        Ok(())
    }

    async fn leave(&mut self, within: Duration) -> Verdict {
        self.orders.send_replace(Order::Leave);
        let Some(task) = self.task.take() else { return Err(Failure::new("a member that leaves", "it has ended")) };
        let left = async {
            task.await.map_err(|error| Failure::new("a member without a panic", error))?;
            self.bus.close(within).await.map_err(Failure::from)
        };
        let late = |_| Failure::new(format!("a member to leave within {within:?}"), "it is there");
        timeout(within, left).await.map_err(late)?
    }

    async fn terminate(&mut self, within: Duration) -> Verdict {
        self.leave(within).await
    }

    fn memory(&self) -> Option<u64> {
        Some(self.server.hoarded.load(Ordering::Relaxed))
    }
}

impl Drop for SimulatedMember {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}
