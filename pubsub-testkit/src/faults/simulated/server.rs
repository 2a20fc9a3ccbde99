//! The server that is only pretended.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{Result, driver::Adapter};
use tokio::{sync::watch, time::timeout};

use super::Flaw;
use crate::{
    faults::{Action, What},
    faulty::Faulty,
};

/// How it stands with the server and the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    running: bool,
    paused: bool,
    refused: bool,
    swallowed: bool,
    /// It has no room.
    pub(super) full: bool,
    /// Grows whenever connections break.
    pub(super) breaks: u64,
    /// Grows whenever data is lost.
    pub(super) losses: u64,
}

impl Condition {
    /// Whether it answers.
    pub(super) fn answers(self) -> bool {
        self.running && !self.paused && !self.refused && !self.swallowed
    }
}

/// The server's condition and data.
pub(super) struct Server {
    flaw: Option<Flaw>,
    condition: watch::Sender<Condition>,
    buses: Mutex<HashMap<String, Arc<dyn Adapter>>>,
    /// Tells this server's buses from those of others in this process.
    number: u64,
    /// Bytes that subscriptions hold beyond their prefetch.
    pub(super) hoarded: AtomicU64,
}

impl Server {
    pub(super) fn new(flaw: Option<Flaw>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let condition = Condition {
            running: true,
            paused: false,
            refused: false,
            swallowed: false,
            full: false,
            breaks: 0,
            losses: 0,
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let condition = watch::Sender::new(condition);
        Self { flaw, condition, buses: Mutex::default(), number, hoarded: AtomicU64::new(0) }
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    pub(super) fn now(&self) -> Condition {
        *self.condition.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    /// Whether the server answers within the limit.
    pub(super) async fn answers_within(&self, limit: Duration) -> bool {
        let mut watch = self.watch();
        let answers = timeout(limit, watch.wait_for(|condition| condition.answers())).await;
        matches!(answers, Ok(Ok(_)))
    }

    /// Whether the server answers and has room within the limit.
    pub(super) async fn takes_within(&self, limit: Duration) -> bool {
        let mut watch = self.watch();
        let takes = timeout(limit, watch.wait_for(|condition| condition.answers() && !condition.full)).await;
        matches!(takes, Ok(Ok(_)))
    }

    /// The data of this prefix, since the last loss.
    pub(super) fn bus(&self, prefix: &str, strict: bool) -> Result<Arc<dyn Adapter>> {
        let name = format!("simulated-{}-{}-{prefix}", self.number, self.now().losses);
        let mut buses = self.buses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bus) = buses.get(&name) {
            return Ok(bus.clone());
        }
        let memory: Arc<dyn Adapter> =
            Memory::open(MemoryOptions::new().name(name.clone()).capacity(65_536).strict(strict))?;
        let bus = match self.flaw {
            Some(Flaw::Always(fault)) => Arc::new(Faulty::new(memory, fault)),
            _ => memory,
        };
        buses.insert(name, bus.clone());
        Ok(bus)
    }

    pub(super) fn act(&self, action: Action) {
        self.condition.send_modify(|now| {
            match action {
                Action::Stop | Action::Kill => now.running = false,
                Action::Start => now.running = true,
                Action::Pause => now.paused = true,
                Action::Resume => now.paused = false,
                Action::Wipe => now.losses += 1,
                Action::Refuse => now.refused = true,
                Action::Stall | Action::Blackhole => now.swallowed = true,
                Action::Heal => (now.refused, now.swallowed) = (false, false),
                Action::Cut => {}
            }
            if matches!(action, Action::Stop | Action::Kill | Action::Cut | Action::Refuse) {
                now.breaks += 1;
            }
        });
    }

    pub(super) fn delete(&self, what: What) {
        self.condition.send_modify(|now| match what {
            What::Consumers => now.breaks += 1,
            _ => now.losses += 1,
        });
    }

    pub(super) fn alarm(&self, on: bool) {
        self.condition.send_modify(|now| now.full = on);
    }
}
