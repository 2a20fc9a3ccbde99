//! X13: starting while the broker is down, and with credentials that it does not know.

use std::time::Duration;

use pubsub_core::{ErrorKind, PubSub, driver::AdapterState, driver::Feature};
use tokio::time::{Instant, timeout};

use super::tools::{ALL, all_failed, attempts, consumer, publish};
use crate::{
    broker::BrokerKind::{Nats, RabbitMq, Redis},
    conformance::{Failure, Verdict, ensure, refused},
    faults::{Action, Consuming, FaultCase, Flaw, Stage, Tally},
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X13",
        title: "a start in degraded mode while the broker is down returns at once, and becomes ready unaided",
        needs: &[Feature::DurableGroup],
        on: ALL,
        bites: &[Flaw::StartWaits, Flaw::StartNeverHeals, Flaw::ConfirmsInOutage],
        run: |stage| Box::pin(late(stage)),
    },
    FaultCase {
        id: "X13-wait",
        title: "a start that waits for a broker which is down ends with an error in time",
        needs: &[],
        on: ALL,
        bites: &[Flaw::StartWaits],
        run: |stage| Box::pin(waited(stage)),
    },
    FaultCase {
        id: "X13-auth",
        title: "bad credentials fail fast, and as such",
        needs: &[],
        // Credentials on Kafka need another listener and a client with SASL: the tests of security have them.
        on: &[Redis, Nats, RabbitMq],
        bites: &[Flaw::RetriesBadCredentials],
        run: |stage| Box::pin(uninvited(stage)),
    },
];

async fn late(stage: Stage) -> Verdict {
    let (channel, bounds) = (stage.channel("x13")?, stage.bounds());
    stage.act(Action::Stop).await?;
    let prefix = stage.world().name();
    let opened = timeout(bounds.slack, stage.rig().open(prefix, "start=degraded")).await;
    let adapter = opened.map_err(|_| Failure::new("a degraded start that returns at once", "it waits"))??;
    let bus = PubSub::new(adapter);
    let state = bus.states().current();
    ensure(state != AdapterState::Ready, "an adapter that is not ready", format!("{state:?}"))?;
    let mut crew = stage.crew(Tally::new())?;
    let probes = attempts(&crew, &stage, &bus, &channel, 0..3).await?;
    all_failed(&stage, &probes)?;

    stage.act(Action::Start).await?;
    stage.until_ready(&bus, true, bounds.recover).await?;
    let reader = crew.hire_with(bus.clone(), &consumer(&channel, Consuming::default()));
    crew.ready(&[reader]).await?;
    publish(&mut crew, &stage, &channel, 10, 50).await?;
    crew.finish(0).await?;
    Ok(bus.close(bounds.close).await?)
}

async fn waited(stage: Stage) -> Verdict {
    stage.act(Action::Stop).await?;
    let (begun, slack) = (Instant::now(), stage.bounds().slack);
    let limit = Duration::from_secs(1) + slack;
    let opened = timeout(limit, stage.rig().open(stage.world().name(), "connect_timeout=1s")).await;
    let opened = opened.map_err(|_| Failure::new(format!("an error within {limit:?}"), "it waits"))?;
    match opened {
        Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
            stage.say(format_args!("refused after {:.1} s", begun.elapsed().as_secs_f64()));
            Ok(())
        }
        other => refused("a start without a broker", other, ErrorKind::Unavailable).map(drop),
    }
}

async fn uninvited(stage: Stage) -> Verdict {
    let limit = Duration::from_secs(5) + stage.bounds().recover; // the broker's own start included
    let opened = timeout(limit, stage.rig().open_uninvited(stage.world().name())).await;
    let opened = opened.map_err(|_| Failure::new(format!("an error within {limit:?}"), "it waits"))?;
    refused("a start with bad credentials", opened, ErrorKind::Auth).map(drop)
}
