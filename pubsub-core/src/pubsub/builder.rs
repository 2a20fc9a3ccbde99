//! Making a handle.

use std::sync::{Arc, atomic::AtomicBool};

use super::{Inner, PubSub, Settings, consumer::Consumers, dead_letter, registry::Registry};
use crate::{
    Catalog, ChannelPattern, ChannelPolicy, Clock, IdKind, Policies, Result,
    clock::LONGEST_WAIT,
    driver::{Adapter, Drain, PublishOptions, TopologyMode},
    observe::{Observer, names},
};

/// Collects what a [`PubSub`] needs beside its adapter.
#[derive(Debug)]
pub struct PubSubBuilder {
    adapter: Arc<dyn Adapter>,
    catalog: Catalog,
    policies: Policies,
    settings: Settings,
}

impl PubSubBuilder {
    /// Starts with an empty catalog and default policies.
    pub fn new(adapter: Arc<dyn Adapter>) -> Self {
        let settings = Settings {
            id_kind: IdKind::default(),
            clock: Clock::system(),
            mode: TopologyMode::default(),
            publish: PublishOptions::default(),
        };
        Self { adapter, catalog: Catalog::new(), policies: Policies::default(), settings }
    }

    /// Sets the events that are registered explicitly.
    #[must_use]
    pub fn catalog(mut self, catalog: Catalog) -> Self {
        self.catalog = catalog;
        self
    }

    /// Sets all channel policies at once.
    #[must_use]
    pub fn policies(mut self, policies: Policies) -> Self {
        self.policies = policies;
        self
    }

    /// Adds the policy of one channel, of `family.*` or of `*`.
    ///
    /// # Errors
    /// `Invalid` for a bad pattern or a policy that contradicts itself, `Conflict` if the pattern has one already.
    pub fn policy(mut self, pattern: &str, policy: ChannelPolicy) -> Result<Self> {
        self.policies.insert(ChannelPattern::parse(pattern)?, policy)?;
        Ok(self)
    }

    /// Sets which ids events get.
    #[must_use]
    pub fn id_kind(mut self, kind: IdKind) -> Self {
        self.settings.id_kind = kind;
        self
    }

    /// Sets the clock that timestamps follow. The adapter has a clock of its own: give both the same in tests.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Sets what may be done about channels that do not exist as their policy says, when they are first used.
    #[must_use]
    pub fn topology_mode(mut self, mode: TopologyMode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// Sets how events are published unless a call says otherwise.
    #[must_use]
    pub fn publish_options(mut self, mut options: PublishOptions) -> Self {
        options.timeout = options.timeout.min(LONGEST_WAIT);
        self.settings.publish = options;
        self
    }

    /// The handle. Does no I/O and needs no runtime.
    pub fn build(self) -> PubSub {
        let observer = Observer::new(self.adapter.capabilities().system);
        self.adapter.states().count_restored(observer.series(&[]).tally(&names::RECONNECTS));
        let writer = dead_letter::Writer::new(self.adapter.clone(), self.settings.clock.clone(), observer.clone());
        let inner = Inner {
            dead_letters: Arc::new(writer),
            observer,
            registry: Registry::new(self.policies),
            adapter: self.adapter,
            catalog: self.catalog,
            settings: self.settings,
            drain: Drain::new(),
            closed: AtomicBool::new(false),
            consumers: Consumers::default(),
        };
        PubSub { inner: Arc::new(inner) }
    }
}
