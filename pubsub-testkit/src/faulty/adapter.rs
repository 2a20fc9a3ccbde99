//! `Faulty`: an adapter with one fault around any other adapter.

use std::{
    any::Any,
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use pubsub_core::{
    ChannelName, ChannelPattern, ChannelPolicy, GroupName, Message, Ordering as EventOrder, Result, Retention,
    StartPosition,
    driver::{
        Adapter, AdapterState, Batch, BoxFuture, Capabilities, ChannelSpec, Feature, Health, History, HistoryRange,
        Inbox, MaybeReady, PublishOptions, Publisher, SlowConsumer, States, SubscribeOptions, Subscriber, Subscription,
        Support, Tickets, Topology, TopologyMode, TopologyReport, async_trait,
    },
};

use super::{
    Fault, enqueue, ghost,
    reader::FaultyReader,
    settler::{FOREVER, FaultySettler},
    source::FaultySource,
};

/// An adapter with one fault.
#[derive(Debug)]
pub struct Faulty {
    pub(super) inner: Arc<dyn Adapter>,
    pub(super) fault: Fault,
    pub(super) closed: AtomicBool,
    /// Channels that have lost their first event already.
    pub(super) robbed: Mutex<HashSet<ChannelName>>,
    /// The last event of each channel.
    pub(super) latest: Mutex<HashMap<ChannelName, Arc<Message>>>,
    settlers: Mutex<Vec<Weak<FaultySettler>>>,
    members: AtomicU64,
    stopped: Arc<AtomicBool>,
}

impl Faulty {
    /// Puts a fault around an adapter.
    pub fn new(inner: Arc<dyn Adapter>, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            closed: AtomicBool::new(false),
            robbed: Mutex::default(),
            latest: Mutex::default(),
            settlers: Mutex::default(),
            members: AtomicU64::new(0),
            stopped: Arc::default(),
        }
    }

    fn twist(&self, options: &mut SubscribeOptions) -> Result<()> {
        match self.fault {
            Fault::IgnorePrefetch => {
                options.max_in_flight = self.inner.capabilities().limits.max_in_flight.unwrap_or(65_536);
            }
            Fault::CrossTalk => options.channels = vec![ChannelPattern::All],
            Fault::WrongPosition => options.start = twisted(&options.start),
            Fault::NoBacklog if matches!(options.start, StartPosition::Stored | StartPosition::Earliest) => {
                options.start = StartPosition::Latest;
            }
            Fault::GroupIsBroadcast => {
                if let Some(group) = &options.group {
                    let member = self.members.fetch_add(1, Ordering::Relaxed);
                    let address = std::ptr::from_ref(self) as usize;
                    options.group = Some(GroupName::parse(&format!("{group}-{address:x}-{member}"))?);
                }
            }
            Fault::WildcardIsExact => {
                for pattern in &mut options.channels {
                    *pattern = match &*pattern {
                        ChannelPattern::All => ChannelPattern::parse("all")?,
                        ChannelPattern::Family(channel) | ChannelPattern::Exact(channel) => channel.clone().into(),
                    };
                }
            }
            Fault::GroupsMerged => {
                options.group = options.group.as_ref().map(|_| GroupName::parse("merged")).transpose()?;
            }
            Fault::SlowIgnored => {
                options.slow = match options.slow {
                    SlowConsumer::DropOldest => SlowConsumer::Block,
                    _ => SlowConsumer::DropOldest,
                };
            }
            Fault::LeaseNeverEnds => options.lease.duration = FOREVER,
            _ => {}
        }
        Ok(())
    }
}

impl Faulty {
    fn old_events(&self, channels: &[ChannelPattern]) -> Vec<Arc<Message>> {
        if self.fault != Fault::ReplaysOld {
            return Vec::new();
        }
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = latest.iter().filter(|(channel, _)| channels.iter().any(|pattern| pattern.matches(channel)));
        taken.map(|(_, message)| message.clone()).collect()
    }
}

/// Somewhere else than was asked for.
pub(super) fn twisted(start: &StartPosition) -> StartPosition {
    match start {
        StartPosition::Earliest => StartPosition::Latest,
        StartPosition::After(_) | StartPosition::Time(_) | StartPosition::Latest => StartPosition::Earliest,
        other => other.clone(),
    }
}

impl Publisher for Faulty {
    fn enqueue<'a>(&'a self, batch: Batch, options: &PublishOptions) -> MaybeReady<'a, Result<Tickets>> {
        enqueue::enqueue(self, batch, options)
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.flush()
    }
}

#[async_trait]
impl Subscriber for Faulty {
    async fn subscribe(&self, mut options: SubscribeOptions) -> Result<Subscription> {
        self.twist(&mut options)?;
        let (lease, drain) = (options.lease.duration, options.drain.clone());
        let old = self.old_events(&options.channels);
        let subscription = match self.fault {
            Fault::CancelLeavesMember => ghost::open(self.inner.clone(), options).await?,
            _ => self.inner.subscribe(options).await?,
        };
        let settler = Arc::new(FaultySettler::new(self.fault, drain));
        let mut settlers = self.settlers.lock().unwrap_or_else(PoisonError::into_inner);
        settlers.push(Arc::downgrade(&settler));
        let subscription = subscription.map_source(|source| FaultySource::new(source, self.fault, settler, lease, old));
        Ok(subscription.map_source(|source| FaultyReader::new(source, self.fault, self.stopped.clone())))
    }
}

#[async_trait]
impl Adapter for Faulty {
    fn capabilities(&self) -> Capabilities {
        let honest = self.inner.capabilities();
        match self.fault {
            Fault::SilentUnsupported => honest.with(Support::Native, Feature::ALL),
            Fault::StrictIgnored => honest.with(Support::Native, &[Feature::StrictChannels]),
            _ => honest,
        }
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        match self.fault {
            Fault::SilentUnsupported => Ok(TopologyReport::default()),
            Fault::OrderForgotten | Fault::RetentionIgnored | Fault::DedupIgnored => {
                let mut topology = topology.clone();
                for policy in topology.channels.iter_mut().map(|spec| &mut spec.policy) {
                    match self.fault {
                        Fault::OrderForgotten => policy.ordering = EventOrder::None,
                        Fault::RetentionIgnored => policy.retention = Retention::default(),
                        _ => policy.dedup_window = None,
                    }
                }
                self.inner.ensure(&topology).await
            }
            Fault::StrictIgnored => {
                let mut topology = topology.clone();
                topology.mode = TopologyMode::Create;
                self.inner.ensure(&topology).await
            }
            _ => self.inner.ensure(topology).await,
        }
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        match self.fault {
            Fault::GroupKept => Ok(()),
            Fault::GroupReturns => {
                self.inner.delete_group(channel, group).await?;
                let spec = ChannelSpec::new(channel.clone(), ChannelPolicy::default());
                let spec = spec.group(group.clone(), StartPosition::Earliest);
                self.inner.ensure(&Topology::new(TopologyMode::Create).channel(spec)).await.map(drop)
            }
            _ => self.inner.delete_group(channel, group).await,
        }
    }

    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        self.inner.lag(channel, group).await
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        let mut range = range.clone();
        if self.fault == Fault::WrongPosition {
            range.from = twisted(&range.from);
        }
        self.inner.history(&range).await
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        match self.fault {
            Fault::SilentUnsupported => {
                let address = ChannelName::parse("inbox")?;
                let replies = self.inner.subscribe(SubscribeOptions::new(vec![address.clone().into()])).await?;
                Ok(Inbox { address, replies })
            }
            Fault::InboxDeaf => {
                let replies = self.inner.open_inbox().await?.replies;
                Ok(Inbox { address: ChannelName::inbox("nowhere")?, replies })
            }
            _ => self.inner.open_inbox().await,
        }
    }

    fn states(&self) -> States {
        self.inner.states()
    }

    async fn health(&self) -> Health {
        match self.fault {
            Fault::HealthLies => Health::new(AdapterState::Ready, Some(Duration::from_millis(1))),
            _ => self.inner.health().await,
        }
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        match self.fault {
            Fault::HangsOnClose => std::future::pending().await,
            Fault::LeaksTask => drop(tokio::spawn(std::future::pending::<()>())),
            Fault::CloseLosesBuffer => {
                let settlers = std::mem::take(&mut *self.settlers.lock().unwrap_or_else(PoisonError::into_inner));
                settlers.iter().filter_map(Weak::upgrade).for_each(|settler| settler.acknowledge_all());
            }
            _ => {}
        }
        self.inner.close(deadline).await
    }

    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.inner.native()
    }
}
