//! The adapter as a whole.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
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

use super::{bus::Bus, channel::Channel, options::MemoryOptions, source::Inlet};

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
    /// The first message that was refused since the last flush.
    refusal: Mutex<Option<Error>>,
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
        inlets.iter().filter_map(Weak::upgrade).for_each(|inlet| inlet.wake());
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
