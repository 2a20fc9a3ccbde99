//! What the adapter can do.

use std::time::Duration;

use pubsub_core::driver::{Capabilities, Feature, OrderKeeper, Support};

use super::{options::KafkaOptions, position::SCHEME, publisher::max_payload};

pub(super) fn capabilities(options: &KafkaOptions) -> Capabilities {
    let mut capabilities = Capabilities::new(SCHEME)
        .with(
            Support::Native,
            &[
                Feature::DurableGroup,
                Feature::ReplayById,
                Feature::ReplayByTime,
                Feature::Backlog,
                Feature::Seek,
                Feature::KeyOrder,
                Feature::TotalOrder,
                Feature::Tombstone,
            ],
        )
        .with(
            Support::Emulated,
            &[
                Feature::EphemeralBroadcast,
                Feature::LosslessBroadcast,
                Feature::Nack,
                Feature::DelayedNack,
                Feature::LeaseExtension,
                Feature::DeadLetter,
                Feature::WildcardDurable,
                Feature::WildcardEphemeral,
                Feature::SlowDropOldest,
                Feature::SlowDisconnect,
            ],
        )
        .with(Support::Weak, &[Feature::DeliveryCount, Feature::Inbox, Feature::ScheduledPublish]);
    if options.broker.strict {
        capabilities = capabilities.with(Support::Native, &[Feature::StrictChannels]);
    }
    capabilities.order_keeper = OrderKeeper::Library;
    capabilities.limits.max_payload = Some(max_payload(options.property_value("message.max.bytes")));
    capabilities.limits.delay_granularity = Some(Duration::from_millis(1));
    capabilities
}
