//! What the adapter can do on RabbitMQ 3.10 and later: the same on all of them, whatever version the server has.

use std::time::Duration;

use pubsub_core::driver::{Capabilities, Feature, OrderKeeper, Support};

use super::{
    names::{DIGITS, UNIT_MS},
    options::RabbitMqOptions,
};

/// The longest delay that the ladder takes: one unit less than the number of all its digits, rounded down to days.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(11 * 24 * 3600);

const _: () = assert!(MAX_DELAY.as_millis() < (10_u64.pow(DIGITS as u32) * UNIT_MS) as u128);

/// What is declared.
pub(super) fn capabilities(options: &RabbitMqOptions) -> Capabilities {
    let native = [
        Feature::DurableGroup,
        Feature::EphemeralBroadcast,
        Feature::Nack,
        Feature::WildcardDurable,
        Feature::WildcardEphemeral,
        Feature::Ttl,
        Feature::Tombstone,
        Feature::TotalOrder,
    ];
    let emulated = [
        Feature::LosslessBroadcast,
        Feature::Inbox,
        Feature::ReplayById,
        Feature::Backlog,
        Feature::DelayedNack,
        Feature::DeliveryCount,
        Feature::DeadLetter,
        Feature::ScheduledPublish,
        Feature::KeyOrder,
        Feature::SlowDropOldest,
        Feature::SlowDisconnect,
        Feature::StrictChannels,
    ];
    let mut capabilities = Capabilities::new("amqp")
        .with(Support::Native, &native)
        .with(Support::Emulated, &emulated)
        // A stream finds times by the chunk, so that earlier events of the same chunk come, too.
        .with(Support::Weak, &[Feature::ReplayByTime]);
    capabilities.system = "rabbitmq";
    capabilities.order_keeper = OrderKeeper::Library;
    capabilities.limits.max_payload = Some(options.max_payload);
    capabilities.limits.max_delay = Some(MAX_DELAY);
    capabilities.limits.delay_granularity = Some(Duration::from_millis(50));
    capabilities.limits.max_in_flight = Some(usize::from(u16::MAX));
    capabilities
}
