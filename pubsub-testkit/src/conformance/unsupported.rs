//! What an adapter lacks must be refused when it is asked for: one probe per feature.

use std::time::Duration;

use pubsub_core::{
    ChannelName, ChannelPolicy, ErrorKind, Events, Payload, Position, PubSub, Raw, Result, StartPosition, Timestamp,
    driver::{Confirm, Feature, RetryPolicy, SlowConsumer},
};

use super::{Mode, Verdict, World, failed, numbered, refused};

/// Asks for a feature that the adapter does not declare, and expects `Unsupported`.
pub(crate) async fn probe(world: &World, feature: Feature) -> Verdict {
    let channel = world.channel("probe")?;
    let what = format!("asking for {}", feature.as_str());
    refused(&what, ask(world, &channel, feature).await?, ErrorKind::Unsupported).map(drop)
}

async fn ask(world: &World, channel: &ChannelName, feature: Feature) -> Verdict<Result<()>> {
    let bus = world.bus().await?;
    let minute = Duration::from_secs(60);
    let position = Position::pair("probe", 1, 1)?;
    let all = || bus.subscribe_channel(channel.as_str());
    let group = || all().group("probe");
    let wildcard = || bus.subscribe_channel("probe.*");
    let event = || numbered(channel, 1);
    Ok(match feature {
        Feature::DurableGroup | Feature::Nack | Feature::DelayedNack | Feature::DeadLetter => group().await.map(drop),
        Feature::DeliveryCount => group().retry(RetryPolicy::default()).await.map(drop),
        Feature::LosslessBroadcast => all().await.map(drop),
        Feature::EphemeralBroadcast => {
            let bus = world.bus_in(Mode::Ephemeral).await?;
            bus.subscribe_channel(channel.as_str()).await.map(drop)
        }
        Feature::Inbox => bus.open_inbox().await.map(drop),
        Feature::ReplayById => all().after(position).await.map(drop),
        Feature::ReplayByTime => all().from_time(Timestamp::now()).await.map(drop),
        Feature::Backlog => group().from_earliest().await.map(drop),
        Feature::Seek => match subscribed(world, &bus, channel).await {
            Ok(mut events) => events.seek(StartPosition::Earliest).await,
            Err(error) => Err(error),
        },
        Feature::LeaseExtension | Feature::ManualLease => group().manual_lease(minute).await.map(drop),
        Feature::ScheduledPublish => bus.publish_envelope(event()?).delay(minute).await.map(drop),
        Feature::KeyOrder => declare(world, channel, ChannelPolicy::new().ordered_per_key(4)).await?,
        Feature::TotalOrder => declare(world, channel, ChannelPolicy::new().totally_ordered()).await?,
        Feature::PublishDedup => declare(world, channel, ChannelPolicy::new().dedup_window(minute)).await?,
        Feature::WildcardDurable => wildcard().await.map(drop),
        Feature::WildcardEphemeral => {
            let bus = world.bus_in(Mode::Ephemeral).await?;
            bus.subscribe_channel("probe.*").await.map(drop)
        }
        Feature::Ttl => bus.publish_envelope(event()?).ttl(minute).await.map(drop),
        Feature::SettledConfirm => bus.publish_envelope(event()?).confirm(Confirm::Settled).await.map(drop),
        Feature::SlowBlock => all().slow_consumer(SlowConsumer::Block).await.map(drop),
        Feature::SlowDropOldest => all().slow_consumer(SlowConsumer::DropOldest).await.map(drop),
        Feature::SlowDisconnect => all().slow_consumer(SlowConsumer::Disconnect).await.map(drop),
        Feature::StrictChannels => world.harness().strict(world.name()).await.map(drop),
        Feature::Tombstone => {
            let mut event = event()?;
            event.payload = Payload::Tombstone;
            bus.publish_envelope(event).await.map(drop)
        }
        other => return failed("a probe for every feature", format!("none for {}", other.as_str())),
    })
}

/// A subscription of whichever kind the adapter offers.
async fn subscribed(world: &World, bus: &PubSub, channel: &ChannelName) -> Result<Events<Raw>> {
    let all = bus.subscribe_channel(channel.as_str());
    if bus.capabilities().has(Feature::DurableGroup) {
        return all.group("probe").without_dead_letters().await;
    }
    if bus.capabilities().has(Feature::LosslessBroadcast) {
        return all.await;
    }
    let ephemeral = match world.bus_in(Mode::Ephemeral).await {
        Ok(bus) => bus,
        Err(_) => bus.clone(),
    };
    ephemeral.subscribe_channel(channel.as_str()).await
}

/// Uses a channel of this policy.
async fn declare(world: &World, channel: &ChannelName, policy: ChannelPolicy) -> Verdict<Result<()>> {
    let bus = world.bus_of(policy).await?;
    Ok(bus.publish_envelope(numbered(channel, 1)?).await.map(drop))
}
