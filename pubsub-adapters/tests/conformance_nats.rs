//! The adapter for a real NATS server passes all of the suite.

use std::{process::ExitCode, time::Duration};

use pubsub_adapters::adapter;
use pubsub_core::driver::{Feature, Support};
use pubsub_testkit::{
    broker::BrokerKind,
    conformance::{Bounds, Minimum, ServerHarness},
};

/// What the matrix of guarantees promises for NATS 2.12 and later.
fn minimum() -> Minimum {
    Minimum::new()
        .at_least(
            Support::Native,
            &[
                Feature::DurableGroup,
                Feature::EphemeralBroadcast,
                Feature::LosslessBroadcast,
                Feature::Inbox,
                Feature::ReplayById,
                Feature::ReplayByTime,
                Feature::Backlog,
                Feature::Seek,
                Feature::Nack,
                Feature::DelayedNack,
                Feature::LeaseExtension,
                Feature::ManualLease,
                Feature::DeliveryCount,
                Feature::ScheduledPublish,
                Feature::PublishDedup,
                Feature::WildcardDurable,
                Feature::WildcardEphemeral,
                Feature::Ttl,
                Feature::StrictChannels,
                Feature::Tombstone,
            ],
        )
        .at_least(
            Support::Emulated,
            &[
                Feature::DeadLetter,
                Feature::KeyOrder,
                Feature::TotalOrder,
                Feature::SlowDropOldest,
                Feature::SlowDisconnect,
            ],
        )
}

fn main() -> ExitCode {
    let open = |url: String| async move { adapter(&url.parse()?).await };
    // A member that reconnects may get again what was on its way: none of that happens on a healthy run.
    let bounds = Bounds::default().lease(Duration::from_millis(800));
    ServerHarness::new(BrokerKind::Nats, open).minimum(minimum()).bounds(bounds).main()
}
