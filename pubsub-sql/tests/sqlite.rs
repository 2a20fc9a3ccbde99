//! The outbox, its relay, the inbox and the idempotency store on SQLite.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a case that panics has failed")]

mod cases;
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    support::suite(support::Kind::Sqlite, &cases::all())
}
