//! What an adapter's author brings to the fault suite.

use std::{
    fmt,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use pubsub_core::{Result, driver::Adapter};
use tokio::runtime::{Builder, Runtime};

use super::{
    FaultBounds, Rig, chaos, member, runner,
    served::{Open, Served, Slot},
};
use crate::{
    broker::BrokerKind,
    conformance::{Failure, Verdict},
};

/// An adapter under test, and the kind of broker that the suite starts for it, as often as it needs.
pub struct FaultHarness {
    kind: BrokerKind,
    open: Open,
    bounds: FaultBounds,
    query: String,
    gaps: &'static [(&'static str, &'static str)],
    /// Brokers that start slowly and were left whole.
    idle: Mutex<Vec<Arc<Slot>>>,
    /// Where the proxies live.
    home: Runtime,
}

impl FaultHarness {
    /// A harness whose adapters are opened by `open`, from an address with a `prefix`; cases add `strict=true`,
    /// `start=degraded` and `connect_timeout=…`.
    ///
    /// # Panics
    /// If the system gives no threads.
    #[expect(clippy::expect_used, reason = "a test without threads cannot go on")]
    pub fn new<F>(kind: BrokerKind, open: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn Adapter>>> + Send + 'static,
    {
        let home = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let open: Open = Arc::new(move |url| Box::pin(open(url)));
        Self {
            kind,
            open,
            bounds: FaultBounds::default(),
            query: String::new(),
            gaps: &[],
            idle: Mutex::default(),
            home,
        }
    }

    /// Sets how long things may take.
    #[must_use]
    pub fn bounds(mut self, bounds: FaultBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Adds options to every address, as in `heartbeat=2s&session_timeout=6s`.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// Names cases that the adapter does not keep reliably yet, by id, each with why. They are shown as ignored, with the
    /// reason, and run with `--ignored`; none of them counts as passed.
    #[must_use]
    pub fn gaps(mut self, gaps: &'static [(&'static str, &'static str)]) -> Self {
        self.gaps = gaps;
        self
    }

    /// Why a case is not kept yet.
    pub(super) fn gap(&self, id: &str) -> Option<&'static str> {
        self.gaps.iter().find(|(known, _)| *known == id).map(|(_, why)| *why)
    }

    /// The `main` of a test target. Without the broker's programs every case is shown as ignored, or fails where
    /// `PUBSUB_TEST_REQUIRE` demands the broker.
    pub fn main(self) -> ExitCode {
        if let Ok(task) = std::env::var(member::VARIABLE) {
            let open = self.open.clone();
            return member::main(&task, move |url| open(url));
        }
        match std::env::var(chaos::VARIABLE) {
            Ok(plan) => chaos::main(&self, &plan),
            Err(_) => runner::main(self),
        }
    }

    /// The broker.
    pub fn kind(&self) -> BrokerKind {
        self.kind
    }

    /// How long things may take.
    pub(super) fn limits(&self) -> FaultBounds {
        self.bounds
    }

    /// Runs something with a whole broker. Blocks; the broker is kept for the next one if it starts slowly.
    pub(super) fn with_rig<T>(&self, run: impl FnOnce(Arc<dyn Rig>) -> (Verdict<T>, bool)) -> Verdict<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let slot = match idle {
            Some(slot) => slot,
            None => Slot::start(self.kind, &self.home)?,
        };
        let (connect, close) = (self.bounds.recover, self.bounds.close);
        let served = Served { slot: slot.clone(), open: self.open.clone(), query: self.query.clone(), connect, close };
        let (result, whole) = run(Arc::new(served));
        let slow = matches!(self.kind, BrokerKind::Kafka | BrokerKind::RabbitMq);
        if slow && whole && !slot.is_spoiled() && slot.mend().is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        } else {
            self.home.block_on(async { drop(slot) });
        }
        result
    }
}

/// A runtime with threads of its own, so that one case's leftovers never reach another.
pub(super) fn on_runtime<T>(future: impl Future<Output = T>) -> Verdict<T> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new("a runtime", error))?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    Ok(result)
}

impl fmt::Debug for FaultHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultHarness").field("kind", &self.kind).finish_non_exhaustive()
    }
}
