//! The names of all metrics, with their labels. `docs/observability.md` has the same table, and a test holds the two
//! against each other.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values are distributed.
    Histogram,
}

impl MetricKind {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric: its name, and the labels that every series of it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name; a counter's ends with `_total`, one of time with `_seconds`.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Its labels. None of them is ever an id, so the number of series is bounded.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub about: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $about:literal;)*) => {
        $(
            #[doc = concat!($about, ".")]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: MetricKind::$kind,
                labels: &[$($label),*],
                about: $about,
            };
        )*

        /// Every metric, in the order of the documentation.
        pub const ALL: &[Metric] = &[$($constant,)*];
    };
}

metrics! {
    PUBLISHED = Counter "pubsub_published_total" ["adapter", "channel", "event"]
        "Events that the broker has confirmed to their publisher";
    PUBLISH_FAILURES = Counter "pubsub_publish_failures_total" ["adapter", "channel", "event", "kind"]
        "Events whose publishing failed, by the kind of the error";
    PUBLISH_CONFIRM = Histogram "pubsub_publish_confirm_seconds" ["adapter", "channel", "event"]
        "From the call of a publish to the broker's confirmation";
    CONSUMED = Counter "pubsub_consumed_total" ["adapter", "channel", "group"]
        "Events handed out, redeliveries included";
    FAILED = Counter "pubsub_failed_total" ["adapter", "channel", "group"]
        "Deliveries that were nacked, rejected or could not be read";
    RETRIED = Counter "pubsub_retried_total" ["adapter", "channel", "group"]
        "Failed deliveries whose events come again";
    DEAD_LETTERED = Counter "pubsub_dead_lettered_total" ["adapter", "channel", "group"]
        "Events given to the writer of dead letters";
    UNDECODABLE = Counter "pubsub_undecodable_total" ["adapter", "channel", "group"]
        "Events that could not be decoded";
    UNCLAIMED = Counter "pubsub_unclaimed_total" ["adapter", "channel", "group"]
        "Events of names that the group does not take";
    REFUSED = Counter "pubsub_refused_settlements_total" ["adapter", "channel", "group"]
        "Settlements that came after their lease was gone";
    GAPS = Counter "pubsub_gaps_total" ["adapter", "channel", "group"]
        "Gaps that subscriptions were told of";
    LOST = Counter "pubsub_lost_total" ["adapter", "channel", "group"]
        "Events that gaps told of, where the number is known";
    SLOW_DISCONNECTS = Counter "pubsub_slow_disconnects_total" ["adapter", "channel", "group"]
        "Subscriptions that were disconnected as too slow";
    IN_FLIGHT = Gauge "pubsub_in_flight" ["adapter", "channel", "group"]
        "Events handed out and not settled yet";
    OLDEST_UNACKED = Gauge "pubsub_oldest_unacked_seconds" ["adapter", "channel", "group"]
        "For how long the oldest event that is handed out has not been settled; sampled";
    HELD = Gauge "pubsub_held" ["adapter", "channel", "group"]
        "Events held in the process behind a failure of their key; sampled";
    LAG = Gauge "pubsub_lag" ["adapter", "channel", "group"]
        "Events that wait for the group on the broker; sampled";
    HANDLER_DURATION = Histogram "pubsub_handler_seconds" ["adapter", "channel", "group", "event", "outcome"]
        "Calls of handlers, their layers included; the outcome is success or failure";
    REQUESTS_EXPIRED = Counter "pubsub_requests_expired_total" ["adapter", "channel", "group"]
        "Requests that nobody waited for any more: not executed, or dropped at their deadline";
    REPLIES_UNDELIVERED = Counter "pubsub_replies_undelivered_total" ["adapter", "channel", "group"]
        "Requests that were executed, and whose replies reached nobody";
    RPC_PENDING = Gauge "pubsub_rpc_pending" ["adapter"]
        "Calls that wait for a reply";
    RPC_TIMEOUTS = Counter "pubsub_rpc_timeouts_total" ["adapter"]
        "Calls whose deadline passed without a reply";
    RPC_LATE = Counter "pubsub_rpc_late_replies_total" ["adapter"]
        "Replies that came when nobody waited any more";
    RPC_DUPLICATE = Counter "pubsub_rpc_duplicate_replies_total" ["adapter"]
        "Second replies to calls that had been answered";
    RPC_FOREIGN = Counter "pubsub_rpc_foreign_replies_total" ["adapter"]
        "Messages in an inbox that belong to no call";
    RPC_MALFORMED = Counter "pubsub_rpc_malformed_replies_total" ["adapter"]
        "Replies that broke the form of one";
    RPC_GAPS = Counter "pubsub_rpc_inbox_gaps_total" ["adapter"]
        "Times that an inbox may have missed replies";
    RPC_INBOXES_LOST = Counter "pubsub_rpc_inboxes_lost_total" ["adapter"]
        "Inboxes that were lost";
    RECONNECTS = Counter "pubsub_reconnects_total" ["adapter"]
        "Times that a lost connection was restored";
    CONNECTED = Gauge "pubsub_connected" ["adapter"]
        "Whether the adapter is connected: 1 or 0; sampled";
    OUTBOX_SENT = Counter "pubsub_outbox_sent_total" ["adapter"]
        "Rows of outboxes that were published and confirmed";
    OUTBOX_FAILURES = Counter "pubsub_outbox_failures_total" ["adapter"]
        "Failures of rows that are tried again";
    OUTBOX_SET_ASIDE = Counter "pubsub_outbox_set_aside_total" ["adapter"]
        "Rows that were refused for good and set aside";
    OUTBOX_DEPTH = Gauge "pubsub_outbox_depth" ["adapter"]
        "Rows that wait to be published, scheduled ones among them; sampled";
    OUTBOX_OLDEST = Gauge "pubsub_outbox_oldest_seconds" ["adapter"]
        "For how long the oldest row that is due has waited; sampled";
    OUTBOX_PARKED = Gauge "pubsub_outbox_parked" ["adapter"]
        "Rows that are set aside; sampled";
    SAMPLING_FAILURES = Counter "pubsub_sampling_failures_total" ["adapter"]
        "Samples that could not be taken";
}
