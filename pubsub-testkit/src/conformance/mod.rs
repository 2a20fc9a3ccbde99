//! The conformance suite: what every adapter must do, one case per behaviour.
//!
//! An adapter's author writes a small [`Harness`] and one line:
//!
//! ```no_run
//! // tests/conformance.rs, with `harness = false` in Cargo.toml
//! # use pubsub_testkit::conformance::MemoryHarness as MyHarness;
//! pubsub_testkit::conformance_tests!(MyHarness::new());
//! ```
//!
//! Every [`Case`] then is a test of its own, which can be chosen by its id. A case that needs a feature which the
//! adapter does not declare becomes the assertion that asking for it is refused with `Unsupported`; nothing is skipped.
//! Counts come in two sizes: the default fits a CI run, `PUBSUB_TEST_LONG=1` uses the full ones.

mod case;
mod cases;
mod check;
mod events;
mod harness;
mod ledger;
mod memory;
mod minimum;
mod report;
pub(crate) mod runner;
#[cfg(all(feature = "brokers", unix))]
mod server;
pub(crate) mod unsupported;
mod wait;
mod world;

pub use case::{Case, CaseFuture, Failure, Verdict};
#[cfg(all(feature = "faults", unix))]
pub(crate) use cases::Add;
pub use cases::cases;
pub use check::{ensure, failed, refused, same};
pub use events::{Note, Numbered, Sample, Time, heavy, numbered, publish_numbered, text};
pub use harness::{Bounds, Harness};
pub use ledger::Ledger;
pub use memory::MemoryHarness;
pub use minimum::Minimum;
pub use report::{Outcome, Report};
pub use runner::{execute, main, run};
#[cfg(all(feature = "brokers", unix))]
pub use server::ServerHarness;
pub use wait::{dead_letters, ended, eventually, next, next_n, quiet, quiet_for, read_all, together, within};
pub use world::{Ctx, Mode, Size, World};
