//! What an adapter can do, as data.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// How well an adapter supports a feature: the letters of the guarantee matrix in the adapters' documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Support {
    /// Refused when the publisher or subscription is built.
    #[default]
    Unsupported,
    /// Emulated with a weaker guarantee, which the adapter's page states.
    Weak,
    /// Emulated by the adapter with the same guarantee.
    Emulated,
    /// The broker's own.
    Native,
}

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that not every adapter can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Feature {
            $($(#[$doc])* $name,)*
        }

        impl Feature {
            /// Every feature.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The feature in words, as error messages carry it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

features! {
    /// Competing consumers that get each event at least once.
    DurableGroup = "durable groups",
    /// Every subscriber gets what is published while it listens, at most once.
    EphemeralBroadcast = "ephemeral broadcast",
    /// Every subscriber gets everything on a durable channel, in order.
    LosslessBroadcast = "lossless broadcast",
    /// A private inbox for replies.
    Inbox = "request/reply inboxes",
    /// Reading on after a given position.
    ReplayById = "replay from a position",
    /// Reading on from a given time.
    ReplayByTime = "replay from a time",
    /// A fresh group reads what is retained.
    Backlog = "a backlog for fresh groups",
    /// Moving a live subscription to another position.
    Seek = "seeking",
    /// Redelivery at once.
    Nack = "nack",
    /// Redelivery after a given time.
    DelayedNack = "delayed nack",
    /// Leases that run out, and can be prolonged.
    LeaseExtension = "lease extension",
    /// Leases that can be left to run out although the consumer lives.
    ManualLease = "manual lease renewal",
    /// Counting of deliveries.
    DeliveryCount = "delivery counts",
    /// Dead letters of a group.
    DeadLetter = "dead letters",
    /// Publishing for a later time.
    ScheduledPublish = "scheduled publish",
    /// Order per key with many consumers.
    KeyOrder = "order per key",
    /// Order of a whole channel.
    TotalOrder = "total order",
    /// Dropping of a second event with the same id.
    PublishDedup = "deduplication on publish",
    /// Wildcards over durable channels.
    WildcardDurable = "wildcards over durable channels",
    /// Wildcards over ephemeral channels.
    WildcardEphemeral = "wildcards over ephemeral channels",
    /// A time to live per event.
    Ttl = "a time to live per event",
    /// Tickets that wait for the groups' settlement.
    SettledConfirm = "confirmation by settlement",
    /// Publishers are held back when a broadcast subscriber is slow.
    SlowBlock = "slow consumers that block",
    /// The oldest events are dropped for a slow broadcast subscriber, with a gap event.
    SlowDropOldest = "slow consumers that drop the oldest",
    /// A slow broadcast subscriber is disconnected.
    SlowDisconnect = "slow consumers that are disconnected",
    /// Publishing on a channel that was not declared is an error.
    StrictChannels = "strict channels",
    /// Tombstones distinct from empty payloads.
    Tombstone = "tombstones",
}

/// Numbers that bound what an adapter does; `None` where it has no bound of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest message in bytes.
    pub max_payload: Option<usize>,
    /// The longest delay of a scheduled publish or a delayed nack.
    pub max_delay: Option<Duration>,
    /// How exactly delays are kept.
    pub delay_granularity: Option<Duration>,
    /// The longest lease, and so the longest extension.
    pub max_lease: Option<Duration>,
    /// The longest dedup window.
    pub max_dedup_window: Option<Duration>,
    /// The largest `max_in_flight`.
    pub max_in_flight: Option<usize>,
}

impl Limits {
    /// Holds a duration against its limit; the text tells of both.
    pub(crate) fn check(
        field: &str,
        wanted: Option<Duration>,
        limit: Option<Duration>,
    ) -> std::result::Result<(), String> {
        match (wanted, limit) {
            (Some(wanted), Some(limit)) if wanted > limit => {
                Err(format!("field `{field}` is longer than the adapter's limit of {limit:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// Who keeps a key's events in order when one of them fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OrderKeeper {
    /// The adapter: a nack takes back the later events of the key.
    #[default]
    Adapter,
    /// The library: it holds the key's later events inside the process until the failed one is through.
    Library,
}

/// What an adapter can do. Made by the adapter, refined once it knows its broker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// The adapter's name, which is also the scheme of its positions.
    pub adapter: &'static str,
    /// The broker's name in spans and metrics, where it differs from that of the adapter.
    pub system: &'static str,
    /// Numbers.
    pub limits: Limits,
    /// Who keeps order per key across failures.
    pub order_keeper: OrderKeeper,
    support: Vec<(Feature, Support)>,
}

impl Capabilities {
    /// An adapter that supports nothing yet.
    pub fn new(adapter: &'static str) -> Self {
        Self {
            adapter,
            system: adapter,
            limits: Limits::default(),
            order_keeper: OrderKeeper::default(),
            support: Vec::new(),
        }
    }

    /// Declares features.
    #[must_use]
    pub fn with(mut self, support: Support, features: &[Feature]) -> Self {
        for &feature in features {
            self.support.retain(|(known, _)| *known != feature);
            self.support.push((feature, support));
        }
        self
    }

    /// How well a feature is supported.
    pub fn support(&self, feature: Feature) -> Support {
        self.support.iter().find(|(known, _)| *known == feature).map_or(Support::Unsupported, |(_, support)| *support)
    }

    /// Whether a feature is offered at all.
    pub fn has(&self, feature: Feature) -> bool {
        self.support(feature) != Support::Unsupported
    }

    /// Checks demands, and names all that are not met.
    ///
    /// # Errors
    /// `Unsupported`, listing every missing feature.
    pub fn require(&self, operation: &'static str, features: impl IntoIterator<Item = Feature>) -> Result<()> {
        let mut missing: Vec<_> =
            features.into_iter().filter(|feature| !self.has(*feature)).map(Feature::as_str).collect();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!("the adapter `{}` does not offer {}", self.adapter, missing.join(", nor "));
        Err(Error::new(ErrorKind::Unsupported, operation, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_unmet_demands_are_named_at_once() {
        let capabilities = Capabilities::new("test").with(Support::Native, &[Feature::Nack]);
        assert!(capabilities.require("subscribe", [Feature::Nack]).is_ok());
        let error = capabilities.require("subscribe", [Feature::Nack, Feature::Seek, Feature::Ttl]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("seeking") && error.message().contains("time to live"), "{error}");
    }

    #[test]
    fn a_later_word_replaces_an_earlier_one() {
        let capabilities =
            Capabilities::new("test").with(Support::Native, Feature::ALL).with(Support::Unsupported, &[Feature::Inbox]);
        assert!(!capabilities.has(Feature::Inbox) && capabilities.has(Feature::Seek));
    }
}
