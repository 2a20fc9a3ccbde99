//! Orders from a file, published and consumed by three groups, and every single one accounted for:
//! `cargo run --example orders`.
//!
//! Each line of the input is read and checked (`input`, `order`, `intake`), published as `orders:created` (`publish`)
//! and consumed by the groups billing, stock and notifications (`groups`), each of which writes down what it did in a
//! ledger of its own (`ledger`). Some work fails: it is retried, and what cannot be done becomes a dead letter
//! (`dead_letters`). When everything is settled (`settle`), the ledgers and the dead letters are compared with what the
//! input demands (`reconcile`), and the outcome is printed (`report`). The exit status is 0 only if nothing was lost and
//! nothing was done twice.
//!
//! The bus is in this process unless `PUBSUB_URL` names a broker.
#![allow(clippy::print_stderr, reason = "a program's messages go to standard error")]

mod orders {
    pub(crate) mod args;
    pub(crate) mod dead_letters;
    pub(crate) mod failure;
    pub(crate) mod groups;
    pub(crate) mod input;
    pub(crate) mod intake;
    pub(crate) mod ledger;
    pub(crate) mod order;
    pub(crate) mod progress;
    pub(crate) mod publish;
    pub(crate) mod reconcile;
    pub(crate) mod report;
    pub(crate) mod settle;
}

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use orders::{
    args::{self, Args, Command},
    failure::{self, Failure},
    groups::Groups,
    input,
    intake::Intake,
    order::OrderCreated,
    progress::Progress,
    publish, reconcile,
    report::Report,
    settle,
};
use pubsub::{ChannelPolicy, Event, EventId, PubSub};

#[tokio::main]
async fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(args)) => args,
        Ok(Command::Help) => return print(args::USAGE, ExitCode::SUCCESS),
        Err(problem) => {
            eprintln!("error: {problem}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&args).await.and_then(|report| Ok((report.text(args.json)?, report.reconciled()))) {
        Ok((text, reconciled)) => print(&text, if reconciled { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.status()
        }
    }
}

async fn run(args: &Args) -> Result<Report, Failure> {
    let started = Instant::now();
    let input = input::open(&args.source).map_err(Failure::Start)?;
    let progress = Progress::new(input.size());
    let bus = connect().await?;
    // Several runs may share a broker: every event says which run it belongs to.
    let run = EventId::random().to_string();

    // The groups come first, so that they hold the publisher back from the first event on.
    let groups = Groups::start(&bus, &run).await?;
    let mut intake = Intake::new(args.show_rejected);
    publish::all(&bus, &run, input, &mut intake, &progress).await?;
    let dead = settle::wait(&bus, &run, &intake, &groups, &progress).await?;
    if let Err(error) = bus.close(Duration::from_secs(5)).await {
        progress.say(&failure::with_causes(&error)); // the report says what it means
    }
    let ledgers = groups.finish().await;
    progress.finish();

    let verdicts = reconcile::all(&intake, &ledgers, &dead);
    let adapter = bus.capabilities().adapter;
    Ok(Report::new(args.source.to_string(), adapter, intake, &ledgers, dead, verdicts, started.elapsed()))
}

/// The bus that `PUBSUB_URL` names. Orders of one customer keep their order; those of others do not wait for them.
async fn connect() -> Result<PubSub, Failure> {
    let url = match std::env::var("PUBSUB_URL") {
        Ok(url) => url,
        Err(std::env::VarError::NotPresent) => "memory:".to_owned(),
        Err(error) => return Err(Failure::Start(format!("PUBSUB_URL: {error}"))),
    };
    let failed = |error: pubsub::Error| Failure::Start(format!("PUBSUB_URL: {}", failure::with_causes(&error)));
    let builder = pubsub::builder(&url).await.map_err(failed)?;
    let policy = ChannelPolicy::new().ordered_per_key(8);
    Ok(builder.policy(OrderCreated::CHANNEL, policy).map_err(failed)?.build())
}

/// Writes the outcome. A reader that has gone away, as in `orders | head`, is a failure but not a panic.
fn print(text: &str, status: ExitCode) -> ExitCode {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Ok(()) => status,
        Err(_) => ExitCode::FAILURE,
    }
}
