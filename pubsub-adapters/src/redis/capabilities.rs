//! What the adapter can do.

use std::time::Duration;

use pubsub_core::driver::{Capabilities, Feature, OrderKeeper, Support};

use super::{SCHEME, options::RedisOptions};

/// The longest lease, and the longest delay.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn capabilities(options: &RedisOptions) -> Capabilities {
    use Feature::{
        Backlog, DeadLetter, DelayedNack, DeliveryCount, DurableGroup, EphemeralBroadcast, Inbox, KeyOrder,
        LeaseExtension, LosslessBroadcast, ManualLease, Nack, PublishDedup, ReplayById, ReplayByTime, ScheduledPublish,
        Seek, SlowDisconnect, SlowDropOldest, StrictChannels, Tombstone, TotalOrder, WildcardEphemeral,
    };
    let mut capabilities = Capabilities::new(SCHEME)
        .with(
            Support::Native,
            &[
                DurableGroup,
                EphemeralBroadcast,
                ReplayById,
                ReplayByTime,
                Backlog,
                Seek,
                DeliveryCount,
                WildcardEphemeral,
                Tombstone,
            ],
        )
        .with(
            Support::Emulated,
            &[
                LosslessBroadcast,
                Nack,
                DelayedNack,
                LeaseExtension,
                ManualLease,
                DeadLetter,
                ScheduledPublish,
                KeyOrder,
                TotalOrder,
                PublishDedup,
                SlowDropOldest,
                SlowDisconnect,
                StrictChannels,
            ],
        )
        .with(Support::Weak, &[Inbox]);
    capabilities.order_keeper = OrderKeeper::Library;
    let limits = &mut capabilities.limits;
    limits.max_payload = Some(options.max_payload);
    limits.max_delay = Some(LONGEST);
    limits.delay_granularity = Some(Duration::from_millis(100));
    limits.max_lease = Some(LONGEST);
    limits.max_dedup_window = Some(LONGEST);
    capabilities
}
