//! The adapter for a real Kafka server passes all of the suite.

use std::{process::ExitCode, time::Duration};

use pubsub_adapters::adapter;
use pubsub_core::driver::{Feature, Support};
use pubsub_testkit::{
    broker::BrokerKind,
    conformance::{Bounds, Minimum, ServerHarness},
};

fn minimum() -> Minimum {
    Minimum::new()
        .at_least(
            Support::Native,
            &[
                Feature::DurableGroup,
                Feature::ReplayById,
                Feature::ReplayByTime,
                Feature::Backlog,
                Feature::Seek,
                Feature::KeyOrder,
                Feature::TotalOrder,
                Feature::StrictChannels,
                Feature::Tombstone,
            ],
        )
        .at_least(
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
        .at_least(Support::Weak, &[Feature::DeliveryCount, Feature::Inbox, Feature::ScheduledPublish])
}

fn main() -> ExitCode {
    let open = |url: String| async move { adapter(&url.parse()?).await };
    // Joining a group and moving its partitions takes seconds.
    let bounds = Bounds::default()
        .waits(Duration::from_secs(20), Duration::from_secs(5))
        .ends(Duration::from_secs(8), Duration::from_secs(90));
    ServerHarness::new(BrokerKind::Kafka, open).minimum(minimum()).bounds(bounds).main()
}
