//! The project's one command for a developer and for CI: `cargo xtask test`, `brokers`, `codegen`, `bench`,
//! `chaos`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to a terminal")]

mod args;
mod bench;
mod brokers;
mod chaos;
mod codegen;
mod compose;
mod examples;
mod failures;
mod fleet;
mod gates;
mod install;
mod log;
mod node;
mod pages;
mod parts;
mod report;
mod test;
mod web;
mod workspace;

use std::process::ExitCode;

use args::Request;
use workspace::Workspace;

/// What went wrong, as the person at the terminal is told.
type Fault = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let request = match args::parse(&arguments) {
        Ok(request) => request,
        Err(fault) => {
            eprintln!("{fault}\n\n{}", args::usage());
            return ExitCode::from(2);
        }
    };
    match obey(request) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("{}", chain(&*fault));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all went well.
fn obey(request: Request) -> Result<bool, Fault> {
    if matches!(request, Request::Help) {
        println!("{}", args::usage());
        return Ok(true);
    }
    let workspace = Workspace::load()?;
    match request {
        Request::Help => Ok(true),
        Request::Test(options) => test::run(&workspace, &options),
        Request::BrokersUp(kinds, consent) => brokers::up(&workspace, &kinds, consent),
        Request::BrokersDown => brokers::down(&workspace),
        Request::BrokersStatus => brokers::status(&workspace),
        Request::Chaos(options) => chaos::run(&workspace, &options),
        Request::Codegen { check } => codegen::run(&workspace, check),
        Request::Bench(arguments) => bench::run(&workspace, &arguments),
    }
}

/// A fault with its causes on one line.
fn chain(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
