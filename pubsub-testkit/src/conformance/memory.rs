//! The harness of the memory adapter, the reference that all others are held to.

use std::{sync::Arc, time::Duration};

use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{
    Result,
    driver::{Adapter, Feature, Support, async_trait},
};

use super::{Bounds, Harness, Minimum};

/// The memory adapter: a world is a named bus.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryHarness;

impl MemoryHarness {
    /// The harness.
    pub fn new() -> Self {
        Self
    }

    /// A small limit on payloads lets the suite go beyond it.
    fn options(world: &str) -> MemoryOptions {
        let mut options = MemoryOptions::new().name(world).capacity(16_384);
        options.max_payload = 2_000_000;
        options
    }
}

#[async_trait]
impl Harness for MemoryHarness {
    fn name(&self) -> &str {
        "memory"
    }

    async fn adapter(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        Ok(Memory::open(Self::options(world))?)
    }

    fn minimum(&self) -> Minimum {
        Minimum::new().at_least(Support::Native, Feature::ALL)
    }

    async fn strict(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        Ok(Memory::open(Self::options(&format!("{world}-strict")).strict(true))?)
    }

    fn bounds(&self) -> Bounds {
        // Within one process only the scheduler of a busy machine takes time.
        Bounds::default().waits(Duration::from_secs(10), Duration::from_secs(2)).lease(Duration::from_millis(300))
    }
}
