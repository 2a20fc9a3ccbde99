//! A program that starts while its broker is down: it works as far as it can, says what it lacks, and heals unaided.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{process::ExitCode, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub::{ConsumerState, Envelope, ErrorKind, EventName, HandlerError, Payload, Router, Running, State};
use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions, find};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

const SOON: Duration = Duration::from_secs(60);

#[pubsub::event("orders:count", direction = "cse", reply = u32)]
struct Count {
    number: u32,
}

#[pubsub::event("orders:made")]
struct Made {
    number: u32,
}

fn main() -> ExitCode {
    let here = |kind| Broker::is_installed(kind).is_ok() || find::is_required(kind);
    let trial = |kind: BrokerKind| {
        let test = move || tokio::runtime::Runtime::new()?.block_on(starts_without(kind));
        Trial::test(format!("{kind}: a router starts while its broker is down"), test).with_ignored_flag(!here(kind))
    };
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, BrokerKind::ALL.into_iter().map(trial).collect()).exit_code()
}

async fn starts_without(kind: BrokerKind) -> Result<(), Failed> {
    let mut broker = tokio::task::spawn_blocking(move || Broker::start(kind, &BrokerOptions::new())).await??;
    broker.kill()?;
    let url = broker.url();
    let degraded = format!("{url}{}start=degraded", if url.contains('?') { '&' } else { '?' });
    let bus = pubsub::connect(&degraded).await?;

    // Without the word, a start that cannot subscribe is an error.
    let (heard, mut hears) = mpsc::unbounded_channel();
    let router = || {
        let action = async |count: Count| Ok::<_, HandlerError>(count.number + 1);
        let handler = async |made: Made, State(heard): State<mpsc::UnboundedSender<u32>>| heard.send(made.number);
        Router::new().group("shop").action(action).on(handler).with_state(heard.clone())
    };
    let refused = router().start(&bus).await.err().map(|error| error.kind());
    assert!(matches!(refused, Some(ErrorKind::Unavailable | ErrorKind::Timeout)), "{refused:?}");

    let begun = Instant::now();
    let running = router().start_degraded().start(&bus).await?;
    assert!(begun.elapsed() < Duration::from_secs(5), "it waits for the broker: {:?}", begun.elapsed());
    assert!(!running.is_ready());
    let recovering = |running: &Running| {
        let all = running.status();
        !all.is_empty() && all.iter().all(|one| matches!(one.state, ConsumerState::Recovering(_)))
    };
    assert!(recovering(&running), "{:?}", running.status());
    let request = Envelope::new(EventName::parse("orders:count")?, "orders".parse()?, Payload::json(r#"{"number":6}"#));
    let answer = running.act(request.clone()).await.unwrap().unwrap();
    assert_eq!(answer.data().unwrap().as_ref(), b"7", "an action needs no broker");

    let broker = tokio::task::spawn_blocking(move || broker.restart().map(|()| broker)).await??;
    let mut watch = running.watch();
    let ready = async {
        while !running.is_ready() {
            watch.changed().await.unwrap();
        }
    };
    timeout(SOON, ready).await.map_err(|_| format!("not ready within {SOON:?}: {:?}", running.status()))?;
    bus.publish(&Made { number: 9 }).await?;
    assert_eq!(timeout(SOON, hears.recv()).await?, Some(9));
    running.drain(Duration::from_secs(10)).await?;
    bus.close(Duration::from_secs(10)).await?;
    drop(broker);
    Ok(())
}
