//! X9: what an adapter relies on is deleted under it.

use std::time::Duration;

use pubsub_core::driver::{AdapterState, Feature};
use tokio::time::sleep;

use super::tools::{ALL, consumer, publish};
use crate::{
    broker::BrokerKind::{Kafka, Nats, RabbitMq, Redis},
    conformance::Verdict,
    faults::{Action, Consuming, FaultCase, Flaw, Stage, Tally, What},
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X9-channels",
        title: "a channel's stream, topic or exchange is deleted while subscribed: it is told, made again, and flows",
        needs: &[Feature::DurableGroup],
        on: &[Redis, Nats, Kafka, RabbitMq],
        bites: &[Flaw::GapSwallowed, Flaw::SilentRecovery, Flaw::NeverRecovers],
        run: |stage| Box::pin(deleted(stage, Some(What::Channels))),
    },
    FaultCase {
        id: "X9-groups",
        title: "a group's state on the broker is deleted while subscribed: it is told, made again, and flows",
        needs: &[Feature::DurableGroup],
        // Kafka refuses to delete a group that has members.
        on: &[Redis, Nats, RabbitMq],
        bites: &[Flaw::GapSwallowed, Flaw::SilentRecovery, Flaw::NeverRecovers],
        run: |stage| Box::pin(deleted(stage, Some(What::Groups))),
    },
    FaultCase {
        id: "X9-consumers",
        title: "a consumer is deleted on the broker while subscribed: events flow on",
        needs: &[Feature::DurableGroup],
        // Elsewhere a consumer is the group's own, which is the case before, or a part of a connection.
        on: &[Redis],
        bites: &[Flaw::NeverRecovers],
        run: |stage| Box::pin(deleted(stage, Some(What::Consumers))),
    },
    FaultCase {
        id: "X9-wiped",
        title: "the broker loses all data while subscribed: it is told, all is made again, and flows",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::GapSwallowed, Flaw::NeverRecovers],
        run: |stage| Box::pin(deleted(stage, None)),
    },
];

async fn deleted(stage: Stage, what: Option<What>) -> Verdict {
    let (channel, bounds) = (stage.channel("x9")?, stage.bounds());
    let mut crew = stage.crew(Tally::new())?;
    let bus = stage.bus(0).await?;
    let reader = crew.hire_with(bus.clone(), &consumer(&channel, Consuming::default()));
    crew.ready(&[reader]).await?;
    publish(&mut crew, &stage, &channel, 0, 50).await?;
    crew.until("50 events done", bounds.recover, |tally| tally.done() == 50).await?;
    // So that nothing is unsettled when it goes.
    sleep(Duration::from_millis(1_500)).await;

    let watch = bus.states();
    match what {
        Some(what) => stage.delete(what).await?,
        None => {
            for action in [Action::Kill, Action::Wipe, Action::Start] {
                stage.act(action).await?;
            }
        }
    }
    // A consumer that is deleted with nothing in hand is missed by nobody; and an exchange holds no events: whoever
    // publishes next finds out, and nothing is lost before.
    let unnoticed = match what {
        Some(What::Consumers) => true,
        Some(What::Channels) => stage.rig().kind() == RabbitMq,
        _ => false,
    };
    if !unnoticed {
        let told = |tally: &Tally| tally.recoveries() > 0 || watch.current() != AdapterState::Ready;
        crew.until("word that the subscription or the adapter is not ready", bounds.recover, told).await?;
        crew.until("a gap event", bounds.recover, |tally| tally.gaps() > 0).await?;
    }
    stage.until_ready(&bus, true, bounds.recover).await?;
    let active = |tally: &Tally| !tally.standing(reader).recovering;
    crew.until("the subscription to be active", bounds.recover, active).await?;
    let more = stage.count(200, 50_000);
    publish(&mut crew, &stage, &channel, 1_000, more).await?;
    let repeats = crew.repeats(1, 1, 64);
    crew.finish(repeats).await.map(drop)
}
