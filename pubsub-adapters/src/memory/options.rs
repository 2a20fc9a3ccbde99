//! Options of the memory adapter.

use std::time::Duration;

use pubsub_core::{ChannelName, Clock, Error, ErrorKind, Result};

use crate::url::BrokerUrl;

/// How to open a [`Memory`](super::Memory) adapter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// The bus that is shared by everyone in the process who gives the same name; a private one without a name.
    pub name: Option<String>,
    /// Sets apart buses of the same name, as the deployments of one program on a broker.
    pub prefix: Option<String>,
    /// How many events a channel holds for its groups before publishers wait. It keeps twice as many for history.
    pub capacity: usize,
    /// How many ids the dedup window of a channel holds before publishers wait, and get `Backpressure`: an id takes some
    /// 150 bytes until its window is over.
    pub dedup_ids: usize,
    /// How many bytes the dead letters of a group on a channel may take before the oldest is dropped; the newest is always
    /// kept.
    pub dead_letter_bytes: u64,
    /// Whether channels must be declared before they are used.
    pub strict: bool,
    /// The longest message, in bytes.
    pub max_payload: usize,
    /// The longest delay of a scheduled publish or a delayed nack.
    pub max_delay: Duration,
    /// Where leases, delays and retention take their time from.
    pub clock: Clock,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            name: None,
            prefix: None,
            capacity: 1024,
            dedup_ids: 1 << 20,
            dead_letter_bytes: 256 * 1024 * 1024,
            strict: false,
            max_payload: 64 * 1024 * 1024,
            max_delay: Duration::from_secs(7 * 24 * 3600),
            clock: Clock::system(),
        }
    }
}

impl MemoryOptions {
    /// A private bus of 1,024 events per channel.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shares the bus of this name with the rest of the process. Who opens it first decides its other options; asking for
    /// other bounds later, or for strict channels, is a `Conflict`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets apart buses of the same name.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets how many events a channel holds for its groups.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets how many ids the dedup window of a channel holds: at least its events per second times the longest window in
    /// seconds. The default is 1,048,576.
    #[must_use]
    pub fn dedup_ids(mut self, ids: usize) -> Self {
        self.dedup_ids = ids;
        self
    }

    /// Sets how many bytes the dead letters of a group on a channel may take, beside the 65,536 letters that the library
    /// keeps. What is dropped is counted in [`History::dropped`](pubsub_core::driver::History::dropped). The default is
    /// 256 MiB.
    #[must_use]
    pub fn dead_letter_bytes(mut self, bytes: u64) -> Self {
        self.dead_letter_bytes = bytes;
        self
    }

    /// Refuses channels that were not declared. A [`PubSub`](pubsub_core::PubSub) declares what it uses, unless its
    /// topology mode is `Validate`.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Reads `memory:`, `memory://name` and the options `capacity`, `strict` and `prefix`. A prefix sets apart buses
    /// of the same name. The other options are set by their methods.
    ///
    /// # Errors
    /// `Invalid` that names the part at fault.
    pub fn from_url(url: &BrokerUrl) -> Result<Self> {
        let bad = |text: &str| Err(Error::new(ErrorKind::Invalid, "connect", text.to_owned()));
        url.check_options(&["capacity", "strict", "prefix"])?;
        if url.user().is_some() || url.password().is_some() {
            return bad("field `user` has no meaning for `memory:`");
        }
        if !url.path().is_empty() {
            return bad("field `path` has no meaning for `memory:`; a shared bus is `memory://name`");
        }
        let mut options = Self::new();
        options.name = match url.hosts() {
            [] if url.has_authority() => {
                return bad(
                    "field `host` is empty: write `memory:` for a private bus, `memory://name` for a shared one",
                );
            }
            [] => None,
            [(name, None)] => Some(name.clone()),
            _ => return bad("field `host` takes one name without a port, as in `memory://name`"),
        };
        options.prefix = url.option("prefix").map(str::to_owned);
        if let Some(capacity) = url.parsed_option("capacity")? {
            options.capacity = capacity;
        }
        options.strict = url.parsed_option("strict")?.unwrap_or(false);
        options.check()?;
        Ok(options)
    }

    pub(super) fn check(&self) -> Result<()> {
        let bad = |text: &str| Err(Error::new(ErrorKind::Invalid, "open memory bus", text.to_owned()));
        match self {
            Self { capacity: 0, .. } => bad("field `capacity` must not be zero"),
            Self { capacity, .. } if *capacity > 1 << 24 => bad("field `capacity` must be at most 16777216"),
            Self { dedup_ids: 0, .. } => bad("field `dedup_ids` must not be zero"),
            Self { dead_letter_bytes: 0, .. } => bad("field `dead_letter_bytes` must not be zero"),
            Self { max_payload: 0, .. } => bad("field `max_payload` must not be zero"),
            Self { name: Some(name), .. } if name.is_empty() || name.len() > 128 => {
                bad("field `name` must hold 1 to 128 bytes")
            }
            Self { prefix: Some(prefix), .. } if ChannelName::parse(prefix).is_err() => {
                bad("field `prefix` must follow the channel grammar")
            }
            _ => Ok(()),
        }
    }
}
