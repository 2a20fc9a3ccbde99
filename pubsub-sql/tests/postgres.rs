//! The same on PostgreSQL, and what only it does: transactions that overlap, a server that goes away.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a case that panics has failed")]

mod cases;
mod overlap;
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut cases = cases::all();
    cases.extend(overlap::cases());
    support::suite(support::Kind::Postgres, &cases)
}
