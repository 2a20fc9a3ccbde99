//! The stage: a broker to break, a private corner of it, and those who work there.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pubsub_core::{
    PubSub, Result,
    driver::{Adapter, AdapterState, Lease, async_trait},
};
use tokio::time::{Instant, sleep};

use super::{Action, Crew, FaultBounds, Rig, Tally, work};
use crate::conformance::{Bounds, Ctx, Failure, Harness, Minimum, Size, Verdict, World};

/// What a case works with.
pub type Stage = Arc<Scene>;

/// A broker, and a world on it.
pub struct Scene {
    world: Ctx,
    rig: Arc<dyn Rig>,
    bounds: FaultBounds,
    size: Size,
    report: Mutex<Vec<String>>,
}

impl Scene {
    /// A scene of its own for one run of a case.
    pub fn new(rig: Arc<dyn Rig>, bounds: FaultBounds, size: Size) -> Stage {
        let world = World::new(Arc::new(RigHarness { rig: rig.clone(), bounds }), size);
        Arc::new(Self { world, rig, bounds, size, report: Mutex::default() })
    }

    /// The world: unique names, and handles that are closed in the end.
    pub fn world(&self) -> &Ctx {
        &self.world
    }

    /// The broker.
    pub fn rig(&self) -> &Arc<dyn Rig> {
        &self.rig
    }

    /// How long things may take.
    pub fn bounds(&self) -> FaultBounds {
        self.bounds
    }

    /// How much the case does.
    pub fn size(&self) -> Size {
        self.size
    }

    /// A count or a number of milliseconds: the first in CI, the second in the long form.
    pub fn count(&self, default: usize, long: usize) -> usize {
        if self.size == Size::Long { long } else { default }
    }

    /// The lease of consumers who are to have the settings of everybody: the default one in the long form, in CI the shortest
    /// that the broker keeps well, because the case has to wait for its end.
    pub fn lease(&self) -> Option<Duration> {
        (self.size != Size::Long).then_some(self.bounds.lease)
    }

    /// As long as a peer may take until it has what somebody with [`Scene::lease`] had.
    pub fn takeover(&self) -> Duration {
        let longer = self.lease().map_or(Lease::default().duration, |_| Duration::ZERO);
        self.bounds.takeover + longer
    }

    /// A channel name that is used nowhere else.
    ///
    /// # Errors
    /// If `hint` is no channel name.
    pub fn channel(&self, hint: &str) -> Verdict<String> {
        Ok(self.world.channel(hint)?.to_string())
    }

    /// A handle over an adapter of its own, for channels with so many shards. The scene closes it in the end.
    ///
    /// # Errors
    /// What opening the adapter reports.
    pub async fn bus(&self, shards: u16) -> Verdict<PubSub> {
        self.world.bus_of(work::policy(shards)).await
    }

    /// Lets something happen to the broker.
    ///
    /// # Errors
    /// If it cannot be done.
    pub async fn act(&self, action: Action) -> Verdict {
        self.rig.act(action).await
    }

    /// A crew that writes to this tally.
    ///
    /// # Errors
    /// If the system gives no pipe.
    pub fn crew(self: &Arc<Self>, tally: Tally) -> Verdict<Crew> {
        Crew::new(self.clone(), tally)
    }

    /// Deletes something behind the adapters' backs.
    ///
    /// # Errors
    /// If it cannot be done, or there is no such thing.
    pub async fn delete(&self, what: super::What) -> Verdict {
        self.rig.delete(self.world.name(), what).await
    }

    /// Waits until the adapter is ready, or is not.
    ///
    /// # Errors
    /// If that does not come about within the limit.
    pub async fn until_ready(&self, bus: &PubSub, ready: bool, within: Duration) -> Verdict {
        let deadline = Instant::now() + within;
        let what = if ready { "ready" } else { "no longer ready" };
        loop {
            let state = bus.states().current();
            if (state == AdapterState::Ready) == ready {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(format!("an adapter that is {what} within {within:?}"), format!("{state:?}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Adds a line to what is printed of the case.
    pub fn say(&self, text: impl fmt::Display) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_string());
    }

    /// What was said.
    pub fn report(&self) -> Vec<String> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("world", &self.world).field("size", &self.size).finish_non_exhaustive()
    }
}

/// The conformance suite's view of a rig.
struct RigHarness {
    rig: Arc<dyn Rig>,
    bounds: FaultBounds,
}

#[async_trait]
impl Harness for RigHarness {
    fn name(&self) -> &str {
        self.rig.kind().name()
    }

    async fn adapter(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        self.rig.open(world, "").await
    }

    fn minimum(&self) -> Minimum {
        Minimum::new()
    }

    async fn strict(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        self.rig.open(&format!("{world}-strict"), "strict=true").await
    }

    fn bounds(&self) -> Bounds {
        let FaultBounds { recover, takeover, lease, close, slack, case, .. } = self.bounds;
        Bounds::default().waits(recover, takeover).lease(lease).ends(close + slack, case)
    }
}
