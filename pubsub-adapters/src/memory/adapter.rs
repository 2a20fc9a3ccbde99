//! The adapter as a whole.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use pubsub_core::{
    ChannelName, Error, ErrorKind, EventId, GroupName, Result,
    driver::{
        Adapter, AdapterState, Capabilities, Health, History, HistoryRange, Inbox, StateSender, States, Topology,
        TopologyReport, async_trait,
    },
};

use super::{
    broadcast::Broadcast,
    bus::Bus,
    channel::Channel,
    group::{Group, Member},
    inlet::Inlet,
    options::MemoryOptions,
};

/// The memory adapter: one connection to a bus. See the module's documentation.
pub struct Memory {
    pub(super) bus: Arc<Bus>,
    pub(super) shared: Arc<Handle>,
    /// The channel published on last: most publishers have one.
    pub(super) last: ArcSwapOption<Channel>,
}

/// What an adapter shares with its subscriptions.
#[derive(Debug)]
pub(super) struct Handle {
    closed: AtomicBool,
    pub(super) states: StateSender,
    inlets: Mutex<Vec<Weak<Inlet>>>,
    holdings: Mutex<Holdings>,
    /// The first message that was refused since the last flush.
    refusal: Mutex<Option<Error>>,
}

/// What the subscriptions of a handle have in channels, also for deliveries that outlive their subscription.
#[derive(Debug, Default)]
struct Holdings {
    list: Vec<Holding>,
    /// How long the list may grow before those that are gone are taken out.
    limit: usize,
}

/// What a subscription has in one channel.
#[derive(Debug)]
pub(super) enum Holding {
    /// Membership, and leases.
    Member(Weak<Group>, Weak<Member>),
    /// A cursor that publishers may wait for.
    Broadcast(Weak<Channel>, Weak<Broadcast>),
}

impl Holding {
    fn is_gone(&self) -> bool {
        match self {
            Self::Member(_, member) => member.strong_count() == 0,
            Self::Broadcast(_, broadcast) => broadcast.strong_count() == 0,
        }
    }

    fn give_up(&self) {
        match self {
            Self::Member(group, member) => {
                if let (Some(group), Some(member)) = (group.upgrade(), member.upgrade()) {
                    group.evict(&member);
                }
            }
            Self::Broadcast(channel, broadcast) => {
                if let (Some(channel), Some(broadcast)) = (channel.upgrade(), broadcast.upgrade()) {
                    channel.remove_broadcast(&broadcast);
                }
            }
        }
    }
}

impl Handle {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Fails once the adapter is closed.
    pub(super) fn open(&self, operation: &'static str) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, operation, "the adapter is closed"));
        }
        Ok(())
    }

    /// Remembers a subscription, to end it when the adapter is closed.
    pub(super) fn register(&self, inlet: &Arc<Inlet>) {
        let mut inlets = self.inlets.lock().unwrap_or_else(PoisonError::into_inner);
        inlets.retain(|inlet| inlet.strong_count() > 0);
        inlets.push(Arc::downgrade(inlet));
    }

    /// Remembers what a subscription has in a channel, to give it up when the adapter is closed.
    pub(super) fn hold(&self, holding: Holding) {
        let mut holdings = self.holdings();
        if holdings.list.len() >= holdings.limit {
            holdings.list.retain(|holding| !holding.is_gone());
            holdings.limit = (holdings.list.len() * 2).max(64);
        }
        holdings.list.push(holding);
        drop(holdings);
        // Whoever closes in between has set its mark first: one of the two finds the new entry.
        if self.is_closed() {
            self.give_up();
        }
    }

    fn give_up(&self) {
        let list = std::mem::take(&mut self.holdings().list);
        list.iter().for_each(Holding::give_up);
    }

    fn holdings(&self) -> MutexGuard<'_, Holdings> {
        // The list is whole at every point where a panic could come from.
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a refused message for the next flush.
    pub(super) fn note_refusal(&self, error: &Error) {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
    }

    /// The first message that was refused since the last flush.
    pub(super) fn take_refusal(&self) -> Option<Error> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.states.set(AdapterState::Closed);
        let inlets = std::mem::take(&mut *self.inlets.lock().unwrap_or_else(PoisonError::into_inner));
        inlets.iter().filter_map(Weak::upgrade).for_each(|inlet| inlet.end());
        self.give_up();
    }
}

impl Memory {
    /// Opens a private bus, or the one that the options name. Does no I/O and needs no runtime.
    ///
    /// # Errors
    /// `Invalid` that names the option.
    pub fn open(options: MemoryOptions) -> Result<Arc<Self>> {
        let handle = Handle {
            closed: AtomicBool::new(false),
            states: StateSender::new(AdapterState::Ready),
            inlets: Mutex::default(),
            holdings: Mutex::default(),
            refusal: Mutex::default(),
        };
        Ok(Arc::new(Self { bus: Bus::open(options)?, shared: Arc::new(handle), last: ArcSwapOption::empty() }))
    }
}

#[async_trait]
impl Adapter for Memory {
    fn capabilities(&self) -> Capabilities {
        super::capabilities::capabilities(&self.bus.options)
    }

    async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        self.shared.open("ensure topology")?;
        super::topology::ensure(&self.bus, topology)
    }

    async fn delete_group(&self, channel: &ChannelName, group: &GroupName) -> Result<()> {
        self.shared.open("delete group")?;
        self.bus.delete_group(channel, group)
    }

    async fn lag(&self, channel: &ChannelName, group: &GroupName) -> Result<u64> {
        self.shared.open("read lag")?;
        self.bus.lag(channel, group)
    }

    async fn history(&self, range: &HistoryRange) -> Result<History> {
        self.shared.open("read history")?;
        super::history::read(&self.bus, range)
    }

    async fn open_inbox(&self) -> Result<Inbox> {
        self.shared.open("open inbox")?;
        let address = ChannelName::inbox(&EventId::random().to_string())?;
        let replies = self.subscribe_inbox(&address)?;
        Ok(Inbox { address, replies })
    }

    fn states(&self) -> States {
        self.shared.states.watch()
    }

    async fn health(&self) -> Health {
        let state = self.shared.states.current();
        let round_trip = (!self.shared.is_closed()).then_some(Duration::ZERO);
        Health::new(state, round_trip)
    }

    async fn close(&self, _: Duration) -> Result<()> {
        self.shared.close();
        // Publishers of this adapter that wait for room learn of it when they look again.
        self.bus.all().iter().for_each(|channel| channel.room.notify_waiters());
        Ok(())
    }

    fn native(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(self)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("name", &self.bus.options.name)
            .field("closed", &self.shared.is_closed())
            .finish()
    }
}
