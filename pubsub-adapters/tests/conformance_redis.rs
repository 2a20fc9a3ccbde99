//! The adapter for a real Redis server passes all of the suite.

use std::{process::ExitCode, time::Duration};

use pubsub_adapters::adapter;
use pubsub_core::driver::{Feature, Support};
use pubsub_testkit::{
    broker::BrokerKind,
    conformance::{Bounds, Minimum, ServerHarness},
};

/// What the guarantee matrix promises of Redis.
fn minimum() -> Minimum {
    use Feature::{
        Backlog, DeadLetter, DelayedNack, DeliveryCount, DurableGroup, EphemeralBroadcast, Inbox, KeyOrder,
        LeaseExtension, LosslessBroadcast, ManualLease, Nack, PublishDedup, ReplayById, ReplayByTime, ScheduledPublish,
        Seek, SlowDisconnect, SlowDropOldest, StrictChannels, Tombstone, TotalOrder, WildcardEphemeral,
    };
    let native = [
        DurableGroup,
        EphemeralBroadcast,
        ReplayById,
        ReplayByTime,
        Backlog,
        DeliveryCount,
        WildcardEphemeral,
        Tombstone,
    ];
    let emulated = [
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
        Seek,
        SlowDropOldest,
        SlowDisconnect,
        StrictChannels,
    ];
    Minimum::new()
        .at_least(Support::Native, &native)
        .at_least(Support::Emulated, &emulated)
        .at_least(Support::Weak, &[Inbox])
}

fn main() -> ExitCode {
    let open = |url: String| async move { adapter(&url.parse()?).await };
    let bounds = Bounds::default().lease(Duration::from_millis(600));
    ServerHarness::new(BrokerKind::Redis, open).minimum(minimum()).bounds(bounds).main()
}
