//! Numbers: sizes, times and limits of the web edge.

use std::time::Duration;

use pubsub_core::{Error, ErrorKind, Result};

/// How fast one caller may call. Callers without a name share one allowance per address, where the address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallRate {
    /// Calls per second in the long run.
    pub per_second: u32,
    /// How many may come at once.
    pub burst: u32,
}

impl CallRate {
    /// A rate.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// Sizes, times and limits. All counts and buffers are per node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The largest body of a request, in bytes.
    pub max_body_size: usize,
    /// How long the body of a request may take to arrive.
    pub body_timeout: Duration,
    /// How many calls one batch may hold.
    pub max_batch_size: usize,
    /// Whether queries may come by `POST`, as clients with `methodOverride` send them.
    pub method_override: bool,
    /// How long a stream is silent before a sign of life is sent.
    pub heartbeat: Duration,
    /// After how much silence clients reconnect by themselves; longer than `heartbeat`.
    pub reconnect_after_inactivity: Duration,
    /// How long clients wait before they reconnect.
    pub retry: Duration,
    /// How long a stream may last; ends are spread over the last fifth of it. Without end by default.
    pub max_stream_duration: Option<Duration>,
    /// How many events a subscriber may lag behind before it is dropped.
    pub buffer_events: usize,
    /// How many bytes a subscriber may lag behind before it is dropped.
    pub buffer_bytes: usize,
    /// How many streams may be open at this node.
    pub max_streams: usize,
    /// How fast one caller may call; without limit by default.
    pub call_rate: Option<CallRate>,
    /// How long ids of published and sent events are remembered.
    pub dedup_window: Duration,
    /// How long a call waits for the same call that is underway elsewhere.
    pub idempotency_wait: Duration,
    /// How long a request that is passed on to another service waits for its reply.
    pub forward_timeout: Duration,
    /// How long a broker subscription may be interrupted before its streams are ended.
    pub outage_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body_size: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            max_batch_size: 100,
            method_override: false,
            heartbeat: Duration::from_secs(15),
            reconnect_after_inactivity: Duration::from_secs(45),
            retry: Duration::from_secs(2),
            max_stream_duration: None,
            buffer_events: 1024,
            buffer_bytes: 4 * 1024 * 1024,
            max_streams: 100_000,
            call_rate: None,
            dedup_window: Duration::from_secs(300),
            idempotency_wait: Duration::from_secs(10),
            forward_timeout: Duration::from_secs(10),
            outage_grace: Duration::from_secs(1),
        }
    }
}

impl Settings {
    /// Checks the numbers.
    ///
    /// # Errors
    /// `Invalid` that names the fields.
    pub(crate) fn check(&self) -> Result<()> {
        let rate = self.call_rate.is_some_and(|rate| rate.per_second == 0 || rate.burst == 0);
        let rules = [
            (self.max_body_size == 0, "field `max_body_size` must not be zero"),
            (self.body_timeout.is_zero(), "field `body_timeout` must not be zero"),
            (self.max_batch_size == 0, "field `max_batch_size` must not be zero"),
            (self.heartbeat.is_zero(), "field `heartbeat` must not be zero"),
            (
                self.reconnect_after_inactivity <= self.heartbeat,
                "field `reconnect_after_inactivity` must be longer than `heartbeat`",
            ),
            (self.max_stream_duration.is_some_and(|end| end.is_zero()), "field `max_stream_duration` must not be zero"),
            (self.buffer_events == 0, "field `buffer_events` must not be zero"),
            (self.buffer_bytes == 0, "field `buffer_bytes` must not be zero"),
            (self.max_streams == 0, "field `max_streams` must not be zero"),
            (rate, "field `call_rate` must not hold a zero"),
            (self.forward_timeout.is_zero(), "field `forward_timeout` must not be zero"),
            (self.dedup_window.is_zero(), "field `dedup_window` must not be zero"),
        ];
        let broken: Vec<_> = rules.into_iter().filter(|(broken, _)| *broken).map(|(_, text)| text).collect();
        if broken.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "build server", broken.join("; ")))
    }
}
