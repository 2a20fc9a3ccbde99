//! Harnesses whose adapters are wrong, or declare less.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{Adapter, Feature, async_trait},
};

use super::{Fault, Faulty, Masked};
use crate::conformance::{Bounds, Harness, Minimum};

/// A harness whose adapters have a fault.
pub struct FaultyHarness {
    inner: Arc<dyn Harness>,
    fault: Fault,
    bounds: Bounds,
    worlds: Mutex<HashSet<String>>,
    first: OnceLock<String>,
}

impl FaultyHarness {
    /// Puts a fault into the adapters of another harness. `bounds` should be short: a case that fails waits them out.
    pub fn new(inner: Arc<dyn Harness>, fault: Fault, bounds: Bounds) -> Self {
        Self { inner, fault, bounds, worlds: Mutex::default(), first: OnceLock::new() }
    }

    fn wrap(&self, world: &str, adapter: Arc<dyn Adapter>) -> Arc<dyn Adapter> {
        // What is lacking would be claimed at once; the lie must begin after the suite has asked what there is.
        let first = self.worlds.lock().unwrap_or_else(PoisonError::into_inner).insert(world.to_owned());
        match self.fault {
            Fault::SilentUnsupported if first => adapter,
            fault => Arc::new(Faulty::new(adapter, fault)),
        }
    }
}

#[async_trait]
impl Harness for FaultyHarness {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn adapter(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        let first = self.first.get_or_init(|| world.to_owned());
        let world = if self.fault == Fault::SharedWorlds { first } else { world };
        Ok(self.wrap(world, self.inner.adapter(world).await?))
    }

    fn minimum(&self) -> Minimum {
        self.inner.minimum()
    }

    async fn strict(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        match self.fault {
            Fault::SilentUnsupported => self.inner.adapter(world).await,
            Fault::StrictIgnored => Ok(self.wrap(world, self.inner.adapter(world).await?)),
            _ => Ok(self.wrap(world, self.inner.strict(world).await?)),
        }
    }

    fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn sized(&self, count: usize) -> usize {
        self.inner.sized(count)
    }
}

/// A harness whose adapters declare less than they can do.
pub struct MaskedHarness {
    inner: Arc<dyn Harness>,
    hidden: &'static [Feature],
}

impl MaskedHarness {
    /// Hides features of the adapters of another harness.
    pub fn new(inner: Arc<dyn Harness>, hidden: &'static [Feature]) -> Self {
        Self { inner, hidden }
    }
}

#[async_trait]
impl Harness for MaskedHarness {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn adapter(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        Ok(Arc::new(Masked::new(self.inner.adapter(world).await?, self.hidden)))
    }

    fn minimum(&self) -> Minimum {
        self.inner.minimum().except(self.hidden)
    }

    async fn strict(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        if self.hidden.contains(&Feature::StrictChannels) {
            return Err(Error::new(ErrorKind::Unsupported, "open strict adapter", "strict channels are hidden"));
        }
        Ok(Arc::new(Masked::new(self.inner.strict(world).await?, self.hidden)))
    }

    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }

    fn sized(&self, count: usize) -> usize {
        self.inner.sized(count)
    }
}

impl std::fmt::Debug for FaultyHarness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FaultyHarness({}, {:?})", self.inner.name(), self.fault)
    }
}

impl std::fmt::Debug for MaskedHarness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MaskedHarness({}, {:?})", self.inner.name(), self.hidden)
    }
}
