//! The adapter for a real RabbitMQ server passes all of the suite.

use std::{process::ExitCode, time::Duration};

use pubsub_adapters::adapter;
use pubsub_core::driver::{Feature, Support};
use pubsub_testkit::{
    broker::BrokerKind,
    conformance::{Bounds, Minimum, ServerHarness},
};

fn minimum() -> Minimum {
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
    let table = Minimum::new().at_least(Support::Native, &native).at_least(Support::Emulated, &emulated);
    // Streams find times by the chunk.
    table.at_least(Support::Weak, &[Feature::ReplayByTime])
}

fn main() -> ExitCode {
    let open = |url: String| async move { adapter(&url.parse()?).await };
    let bounds = Bounds::default()
        .waits(Duration::from_secs(15), Duration::from_secs(5))
        .ends(Duration::from_secs(5), Duration::from_secs(90))
        .quiet(Duration::from_millis(200));
    ServerHarness::new(BrokerKind::RabbitMq, open).minimum(minimum()).bounds(bounds).main()
}
