//! `pubsub`: what a person at a terminal does with a bus.
//!
//! Results go to standard output, one JSON document per line with `--json`; everything else goes to standard error. The
//! status is 0 for success, 1 for a failure, and 2 for a command line that makes no sense.
// It talks to a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod commands;
mod output;

use std::{error::Error, process::ExitCode, time::Duration};

use args::{Args, Command};
use clap::Parser;
use output::Output;

/// Any error, for the terminal.
type Fault = Box<dyn Error + Send + Sync>;

const CLOSE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::parse() {
        Args { command: Command::Codegen(words), .. } => return commands::contracts::run(&words.behind("codegen")),
        Args { command: Command::Contracts(words), .. } => return commands::contracts::run(&words.behind("contracts")),
        args => args,
    };
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let mut text = fault.to_string();
            let mut source = fault.source();
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            eprintln!("pubsub: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Fault> {
    let output = Output { json: args.json };
    if let Command::Catalog { file } = &args.command {
        return commands::catalog::show(file, output);
    }
    let bus = pubsub::connect(&args.url).await?;
    let outcome = match args.command {
        Command::Dlq(dlq) => commands::dlq::run(&bus, dlq, output).await,
        Command::Tail(tail) => commands::tail::run(&bus, &tail, output).await,
        Command::Publish(publish) => commands::publish::run(&bus, &publish, output).await,
        Command::Request(request) => commands::request::run(&bus, &request, output).await,
        // They need no bus, and are done with.
        Command::Catalog { .. } | Command::Codegen(_) | Command::Contracts(_) => Ok(()),
    };
    let closed = bus.close(CLOSE).await;
    outcome?;
    Ok(closed?)
}
