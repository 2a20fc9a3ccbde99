//! The fault suite: what every adapter of a broker keeps to when the broker, the network or a consumer's process fails.
//!
//! An adapter's author writes a [`FaultHarness`] and one line:
//!
//! ```no_run
//! // tests/faults.rs, with `harness = false` in Cargo.toml
//! use pubsub_testkit::{broker::BrokerKind, faults::FaultHarness};
//!
//! pubsub_testkit::fault_tests!(FaultHarness::new(
//!     BrokerKind::Redis,
//!     |url| async move { pubsub_adapters::adapter(&url.parse()?).await } // your own
//! ));
//! ```
//!
//! Every [`FaultCase`] is a test of its own, which can be chosen by its id. Each has a broker of its own or one that is
//! whole again, behind a proxy that breaks connections. Verdicts are by serial numbers: what was confirmed to a publisher
//! on a durable channel is done by somebody in the end, and how often it came is counted and bounded. Consumers that are
//! killed are processes: the test binary runs itself. `PUBSUB_TEST_LONG=1` uses the full counts, and then all publishers
//! and consumers are processes.

mod answer;
mod bounds;
mod case;
mod cases;
mod chaos;
mod crew;
mod handling;
mod harness;
mod keys;
mod member;
mod note;
mod rig;
mod runner;
mod served;
mod simulated;
mod stage;
mod tally;
mod work;

pub use answer::Answering;
pub use bounds::FaultBounds;
pub use case::FaultCase;
pub use cases::cases;
pub use chaos::chaos;
pub use crew::Crew;
pub use handling::Handling;
pub use harness::FaultHarness;
pub use keys::Keys;
pub use member::{Member, Record};
pub use note::{Note, Notebook};
pub use rig::{Action, Rig, What};
pub use runner::{execute, main_of};
pub use simulated::{Flaw, Simulated};
pub use stage::{Scene, Stage};
pub use tally::{Counts, Standing, Tally};
pub use work::{Consuming, Order, Publishing, Role, Work};
