//! The broker as cases see it: something to connect to, to break and to mend.

use std::sync::Arc;

use pubsub_core::{
    Result,
    driver::{Adapter, async_trait},
};

use super::{Member, Record, Work};
use crate::{broker::BrokerKind, conformance::Verdict};

/// Something that befalls a broker or the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// The server is asked to end.
    Stop,
    /// `kill -9`.
    Kill,
    /// The server starts again on its data, if it does not run.
    Start,
    /// All data of the stopped server is deleted.
    Wipe,
    /// `SIGSTOP`: connections stay open, nothing is answered.
    Pause,
    /// `SIGCONT`.
    Resume,
    /// All connections are reset.
    Cut,
    /// New connections are refused, open ones are reset.
    Refuse,
    /// Nothing passes; connections stay open.
    Stall,
    /// Everything that is sent vanishes; connections stay open.
    Blackhole,
    /// The way to the broker is whole again.
    Heal,
}

/// What is deleted behind an adapter's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// What holds the events of the channels: streams, topics, exchanges.
    Channels,
    /// What holds the state of the groups: groups, durable consumers, queues.
    Groups,
    /// The members of the groups, with what they have not settled.
    Consumers,
}

/// A broker, or something that passes for one.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a broker that the fault suite can break",
    note = "implement `Rig` of `pubsub_testkit::faults`"
)]
pub trait Rig: Send + Sync {
    /// Which broker it is.
    fn kind(&self) -> BrokerKind;

    /// Opens an adapter; everything it makes on the broker carries this prefix. `more` is added to the address, as in
    /// `start=degraded&connect_timeout=1s`.
    ///
    /// # Errors
    /// What opening the adapter reports.
    async fn open(&self, prefix: &str, more: &str) -> Result<Arc<dyn Adapter>>;

    /// Opens an adapter with a password that the broker does not know.
    ///
    /// # Errors
    /// What opening the adapter reports, which is what the case wants to see.
    async fn open_uninvited(&self, prefix: &str) -> Result<Arc<dyn Adapter>>;

    /// Lets something happen, and returns once it has.
    ///
    /// # Errors
    /// If it cannot be done.
    async fn act(&self, action: Action) -> Verdict;

    /// Deletes what has the prefix in its name.
    ///
    /// # Errors
    /// If it cannot be done, or nothing is there.
    async fn delete(&self, prefix: &str, what: What) -> Verdict;

    /// Lets the broker run out of room, or have it again.
    ///
    /// # Errors
    /// If it cannot be done.
    async fn alarm(&self, on: bool) -> Verdict;

    /// Starts a member that is killed and paused at will: a process of its own. What it notes goes to `record`.
    ///
    /// # Errors
    /// If it cannot be started.
    async fn member(&self, prefix: &str, number: u32, work: &Work, record: &Record) -> Verdict<Box<dyn Member>>;
}
