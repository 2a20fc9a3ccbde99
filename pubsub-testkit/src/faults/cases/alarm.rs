//! X17, R2: a broker that has no room, and one that has nowhere to put an event.

use pubsub_core::{
    ChannelName, ChannelPolicy, ErrorKind, GroupName, PubSub, StartPosition,
    driver::{ChannelSpec, Feature, Topology, TopologyMode},
};
use tokio::time::{Instant, sleep, timeout};

use super::tools::{ALL, all_failed, attempts, consumer, next, publish};
use crate::{
    broker::BrokerKind::{Nats, RabbitMq, Redis},
    conformance::{Failure, Verdict, ensure},
    faults::{
        Consuming, FaultCase, Flaw, Stage, Tally, What,
        work::{item, serial},
    },
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X17",
        title: "a broker without room: publishing fails or waits within its bound, and works when there is room again",
        needs: &[Feature::DurableGroup],
        on: &[Redis, Nats, RabbitMq],
        bites: &[Flaw::ConfirmsInOutage, Flaw::HangsInOutage],
        run: |stage| Box::pin(full(stage)),
    },
    FaultCase {
        id: "R2",
        title: "publishing on a strict channel that was deleted is an error, or the channel is made again and holds the event",
        needs: &[Feature::DurableGroup, Feature::StrictChannels],
        on: ALL,
        bites: &[Flaw::ConfirmsNowhere],
        run: |stage| Box::pin(nowhere(stage)),
    },
];

async fn full(stage: Stage) -> Verdict {
    let (channel, bounds) = (stage.channel("x17")?, stage.bounds());
    let mut crew = stage.crew(Tally::new())?;
    let bus = stage.bus(0).await?;
    let reader = crew.add(&consumer(&channel, Consuming::default())).await?;
    crew.ready(&[reader]).await?;
    publish(&mut crew, &stage, &channel, 0, 50).await?;
    crew.until("50 events done", bounds.recover, |tally| tally.done() == 50).await?;
    // Nobody makes room by settling.
    crew.dismiss(reader).await?;

    stage.rig().alarm(true).await?;
    // The least room that a broker can be left with may be that for one event.
    attempts(&crew, &stage, &bus, &channel, 1_000..1_001).await?;
    let refused = attempts(&crew, &stage, &bus, &channel, 1_001..1_011).await?;
    all_failed(&stage, &refused)?;
    stage.rig().alarm(false).await?;

    let (begun, mut serial) = (Instant::now(), 2_000);
    while !attempts(&crew, &stage, &bus, &channel, serial..serial + 1).await?.iter().all(|one| one.result.is_ok()) {
        ensure(begun.elapsed() < bounds.recover, "room again, and a confirmation", "errors")?;
        sleep(std::time::Duration::from_millis(100)).await;
        serial += 1;
    }
    publish(&mut crew, &stage, &channel, 3_000, 100).await?;
    let reader = crew.add(&consumer(&channel, Consuming::default())).await?;
    crew.ready(&[reader]).await?;
    let repeats = crew.repeats(1, 1, 64);
    crew.finish(repeats).await.map(drop)
}

async fn nowhere(stage: Stage) -> Verdict {
    let (channel, bounds) = (ChannelName::parse(&stage.channel("r2")?)?, stage.bounds());
    let bus = PubSub::new(stage.world().harness().strict(stage.world().name()).await?);
    let spec = ChannelSpec::new(channel.clone(), ChannelPolicy::default());
    let spec = spec.group(GroupName::parse("workers")?, StartPosition::Stored);
    bus.ensure(&Topology::new(TopologyMode::Create).channel(spec)).await?;
    bus.publish_envelope(item(&channel, 1, 0)?).timeout(bounds.publish).await?;
    stage.delete(What::Channels).await?;

    let limit = bounds.publish + bounds.slack;
    let publish = bus.publish_envelope(item(&channel, 2, 0)?).timeout(bounds.publish);
    match timeout(limit, publish).await {
        Err(_) => return Err(Failure::new(format!("an error within {limit:?}"), "it is underway")),
        // Who made the channel may have made it again: then it holds the event.
        Ok(Ok(_)) => {
            stage.say("confirmed, as the channel was made again");
            let mut events = bus.subscribe_channel(channel.as_str()).group("workers").await?;
            while serial(next(&mut events, bounds.recover, "the confirmed event").await?.message())? != 2 {}
        }
        Ok(Err(error)) => {
            let nowhere = !matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Closed | ErrorKind::Unsupported);
            ensure(nowhere, "an error that tells of the channel", format!("{error} ({})", error.kind()))?;
            stage.say(format_args!("{error} ({})", error.kind()));
        }
    }
    Ok(bus.close(bounds.close).await?)
}
