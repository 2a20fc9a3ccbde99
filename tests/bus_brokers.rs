//! The test kit's bus on memory and on brokers: one test of a program's router, the same on all of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub::{Attempt, Emitter, ErrorKind, HandlerError, Retry, Router, State, driver::Adapter};
use pubsub_testkit::{
    ObservedBus, TestBus,
    broker::{Broker, BrokerKind, BrokerOptions, find},
};

const KINDS: [BrokerKind; 4] = [BrokerKind::Redis, BrokerKind::Nats, BrokerKind::Kafka, BrokerKind::RabbitMq];

fn main() -> ExitCode {
    let on_memory = Trial::test("memory", || run(async { program_works(&*TestBus::new()?).await }));
    let here = |kind| Broker::is_installed(kind).is_ok() || find::is_required(kind);
    let on_broker = |kind: BrokerKind| {
        let test = move || {
            let broker = Broker::start(kind, &BrokerOptions::new())?;
            run(async {
                let adapter: Arc<dyn Adapter> = pubsub::connect(&broker.url()).await?.adapter().clone();
                let bus = ObservedBus::over(adapter, Ok)?;
                program_works(&bus).await?;
                Ok(bus.close(Duration::from_secs(10)).await?)
            })
        };
        Trial::test(kind.to_string(), test).with_ignored_flag(!here(kind))
    };
    let trials = KINDS.into_iter().map(on_broker).chain([on_memory]).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run(test: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    tokio::runtime::Runtime::new()?.block_on(test)
}

#[pubsub::event("orders:made")]
struct Ordered {
    number: u32,
}

#[derive(Debug)]
#[pubsub::event("parcels:sent")]
struct Sent {
    number: u32,
}

/// As a program has it: the third order fails once, the fourth always.
fn program() -> Router {
    async fn ship(
        order: Ordered,
        Attempt(attempt): Attempt,
        State(()): State<()>,
        emit: Emitter,
    ) -> Result<(), HandlerError> {
        match (order.number, attempt) {
            (3, 1) => Err(HandlerError::retry_after(Duration::ZERO, "not yet")),
            (4, _) => Err(HandlerError::reject("never")),
            // It leads to nothing, so that the next acknowledgement is its own.
            (5, _) => Ok(()),
            _ => Ok(emit.emit(&Sent { number: order.number })?),
        }
    }
    let at_once = Retry::exponential(5).delays(Duration::ZERO, Duration::ZERO);
    Router::new().group("shipping").on(ship).on(|_: Sent| async {}).layer(at_once).with_state(())
}

async fn program_works(bus: &ObservedBus) -> Result<(), Failed> {
    let running = bus.run(program()).await?;
    bus.refuse_next();
    let refused = bus.publish(&Ordered { number: 0 }).await.err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Unavailable));
    bus.lose_next();
    bus.publish(&Ordered { number: 1 }).await?;
    bus.publish(&Ordered { number: 2 }).await?;
    bus.settled().await?;
    bus.crash_before_ack();
    bus.publish(&Ordered { number: 5 }).await?;
    bus.settled().await?;
    bus.publish(&Ordered { number: 3 }).await?;
    bus.publish(&Ordered { number: 4 }).await?;
    bus.settled().await?;
    let mut calls = Vec::new();
    for (order, call) in running.calls_of::<Ordered>()? {
        calls.push((order.number, call.attempt, call.outcome.is_ok()));
    }
    calls.sort_unstable();
    let expected = [(2, 1, true), (3, 1, false), (3, 2, true), (4, 1, false), (5, 1, true), (5, 2, true)];
    assert_eq!(calls, expected);
    let mut sent: Vec<_> = bus.published_of::<Sent>()?.into_iter().map(|parcel| parcel.number).collect();
    sent.sort_unstable();
    assert_eq!(sent, [2, 3]);
    let letters = bus.dead_letter_box("orders", "shipping")?.list(&pubsub::LetterFilter::all(), 10).await?;
    assert_eq!(letters.iter().map(|letter| letter.reason()).collect::<Vec<_>>(), ["never"]);
    Ok(running.drain(Duration::from_secs(10)).await?)
}
