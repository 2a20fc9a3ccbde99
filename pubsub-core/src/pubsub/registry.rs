//! What the handle has learned: event types it has met, and channels it has declared.

use std::{
    any::TypeId,
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::{Inner, rate::Limiter};
use crate::{
    ChannelName, ChannelPattern, ChannelPolicy, Clock, Durability, Error, ErrorKind, Event, EventDefinition,
    Ordering as KeyOrder, Policies, Result,
    driver::{Adapter, Capabilities, ChannelSpec, Limits, Reach, Topology, TopologyMode},
};

/// An event type in use.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) definition: Arc<EventDefinition>,
    pub(super) channel: Arc<Channel>,
    /// Whether the catalog names it, rather than a typed call having brought it in.
    pub(super) explicit: bool,
}

/// A channel in use.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    pub(super) policy: ChannelPolicy,
    pub(super) limiter: Option<Limiter>,
    declared: AtomicBool,
    declaring: Mutex<()>,
}

impl Channel {
    /// Whether [`Channel::declare`] has succeeded.
    pub(super) fn is_declared(&self) -> bool {
        self.declared.load(Ordering::Acquire)
    }

    /// As [`Channel::declare`], for a publisher that waits no longer than it was told to: nothing was sent then.
    pub(super) async fn declare_within(
        &self,
        adapter: &dyn Adapter,
        mode: TopologyMode,
        clock: &Clock,
        limit: Duration,
    ) -> Result<()> {
        let mut declare = std::pin::pin!(self.declare(adapter, mode));
        // An adapter that answers at once needs no timer, and so no runtime.
        let at_once = std::future::poll_fn(|cx| Poll::Ready(declare.as_mut().poll(cx)));
        if let Poll::Ready(declared) = at_once.await {
            return declared;
        }
        clock.check_timers("publish")?;
        let mut over = clock.sleep(limit);
        std::future::poll_fn(|cx| match declare.as_mut().poll(cx) {
            Poll::Pending => over.as_mut().poll(cx).map(|()| {
                let text = format!("the channel could not be declared within {limit:?}");
                Err(Error::new(ErrorKind::Timeout, "publish", text).on(&self.name))
            }),
            declared => declared,
        })
        .await
    }

    /// Makes sure, once, that the channel exists as its policy says.
    pub(super) async fn declare(&self, adapter: &dyn Adapter, mode: TopologyMode) -> Result<()> {
        let _turn = self.declaring.lock().await;
        if self.is_declared() {
            return Ok(());
        }
        let spec = ChannelSpec::new(self.name.clone(), self.policy.clone());
        check_policy(&spec, &adapter.capabilities())?;
        adapter.ensure(&Topology::new(mode).channel(spec)).await?;
        self.declared.store(true, Ordering::Release);
        Ok(())
    }
}

/// Holds a channel's policy against itself and against what the adapter can keep.
pub(super) fn check_policy(spec: &ChannelSpec, capabilities: &Capabilities) -> Result<()> {
    spec.policy.check()?;
    let offered = capabilities.require("ensure topology", spec.policy.demands());
    offered.map_err(|error| error.on(&spec.channel))?;
    let window = Limits::check("dedup_window", spec.policy.dedup_window, capabilities.limits.max_dedup_window);
    window.map_err(|text| Error::new(ErrorKind::Invalid, "ensure topology", text).on(&spec.channel))
}

/// Both tables only grow. Types are few and read without a lock; channels may be many, so they are not copied.
pub(super) struct Registry {
    policies: Policies,
    types: ArcSwap<HashMap<TypeId, Arc<Entry>, BuildHasherDefault<TypeIdHasher>>>,
    channels: RwLock<HashMap<ChannelName, Arc<Channel>>>,
}

/// The most channels of a handle: each has a rate and a declaration to be remembered.
const MAX_CHANNELS: usize = 65_536;

impl Registry {
    pub(super) fn new(policies: Policies) -> Self {
        Self { policies, types: ArcSwap::default(), channels: RwLock::default() }
    }

    /// The entry of an event type; its first use checks it against the catalog.
    pub(super) fn entry<E: Event>(&self, inner: &Inner) -> Result<Arc<Entry>> {
        if let Some(entry) = self.types.load().get(&TypeId::of::<E>()) {
            return Ok(entry.clone());
        }
        let own = EventDefinition::of::<E>()?;
        let (definition, explicit) = match inner.catalog.get(own.name(), own.version()) {
            Some(known) => (known.clone(), true),
            None => (Arc::new(own), false),
        };
        if explicit {
            let own = EventDefinition::of::<E>()?;
            check_agreement(&own, &definition)?;
        }
        for other in self.types.load().values() {
            let same =
                other.definition.name() == definition.name() && other.definition.version() == definition.version();
            if same {
                check_agreement(&EventDefinition::of::<E>()?, &other.definition)?;
            }
        }
        let channel = self.channel(definition.channel())?;
        let entry = Arc::new(Entry { definition, channel, explicit });
        self.types.rcu(|types| {
            let mut types = HashMap::clone(types);
            types.insert(TypeId::of::<E>(), entry.clone());
            types
        });
        Ok(entry)
    }

    /// Which kinds of channel a pattern takes, as far as the rules tell.
    pub(super) fn reach(&self, pattern: &ChannelPattern) -> Reach {
        match pattern {
            ChannelPattern::Exact(channel) => {
                let durable = self.policies.of(channel).durability == Durability::Durable;
                Reach { durable, ephemeral: !durable }
            }
            wildcard => self.policies.reach(wildcard),
        }
    }

    /// Whether a subscription must keep the order of some channel of this pattern, as far as the rules tell.
    pub(super) fn ordering(&self, pattern: &ChannelPattern) -> KeyOrder {
        match pattern {
            ChannelPattern::Exact(channel) => self.policies.of(channel).ordering,
            wildcard => self.policies.ordering_within(wildcard),
        }
    }

    /// The channel of this name with its policy.
    pub(super) fn channel(&self, name: &ChannelName) -> Result<Arc<Channel>> {
        // The table is whole at every point where a panic could come from.
        if let Some(channel) = self.channels.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(channel.clone());
        }
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been here in between.
        if let Some(channel) = channels.get(name) {
            return Ok(channel.clone());
        }
        if channels.len() >= MAX_CHANNELS {
            let message = format!("one handle uses at most {MAX_CHANNELS} channels");
            return Err(Error::new(ErrorKind::Rejected, "use channel", message).on(name));
        }
        let policy = self.policies.of(name);
        let channel = Arc::new(Channel {
            name: name.clone(),
            limiter: policy.rate.map(Limiter::new),
            policy,
            declared: AtomicBool::new(false),
            declaring: Mutex::new(()),
        });
        channels.insert(name.clone(), channel.clone());
        Ok(channel)
    }
}

fn check_agreement(own: &EventDefinition, known: &EventDefinition) -> Result<()> {
    if known.agrees_with(own) {
        return Ok(());
    }
    let message = format!("event `{}` version {} is already defined by another type", own.name(), own.version());
    Err(Error::new(ErrorKind::Conflict, "register event", message).on(own.channel()))
}

/// A `TypeId` is a hash already.
#[derive(Default)]
pub(super) struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Feature, Support};

    #[test]
    fn a_dedup_window_beyond_the_limit_is_refused() {
        let policy = ChannelPolicy::new().dedup_window(Duration::from_secs(60));
        let spec = ChannelSpec::new(ChannelName::parse("orders").unwrap(), policy);
        let mut capabilities = Capabilities::new("test").with(Support::Native, &[Feature::PublishDedup]);
        check_policy(&spec, &capabilities).unwrap();
        capabilities.limits.max_dedup_window = Some(Duration::from_secs(59));
        let error = check_policy(&spec, &capabilities).unwrap_err();
        assert_eq!((error.kind(), error.channel()), (ErrorKind::Invalid, Some(&spec.channel)));
        assert!(error.message().contains("`dedup_window`") && error.message().contains("59s"), "{error}");
    }

    #[test]
    fn a_handle_refuses_more_channels_than_its_bound_and_keeps_those_it_has() {
        let registry = Registry::new(Policies::default());
        let channel = |n: usize| registry.channel(&ChannelName::parse(&format!("channel-{n}")).unwrap());
        for n in 0..MAX_CHANNELS {
            channel(n).unwrap();
        }
        for n in [MAX_CHANNELS, MAX_CHANNELS + 1] {
            let error = channel(n).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rejected);
            assert_eq!(error.channel().map(ChannelName::as_str), Some(&*format!("channel-{n}")));
        }
        assert_eq!(registry.channels.read().unwrap().len(), MAX_CHANNELS);
        assert!(Arc::ptr_eq(&channel(0).unwrap(), &channel(0).unwrap()));
    }
}
