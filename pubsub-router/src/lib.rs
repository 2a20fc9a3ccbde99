//! Handlers for `pubsub`: functions that take typed events, and everything that stands between them and a broker –
//! extractors, layers, retry, dead letters, ordered lanes, supervision and drain.
//!
//! Begin at [`Router`].

mod batch;
mod error;
mod extract;
mod handler;
mod incoming;
mod isolate;
mod layer;
mod outcome;
mod route;
mod router;
mod run;

pub use batch::{Batch, BatchArgs, BatchItem, Batching, IntoBatchOutcome};
pub use error::{BoxError, Decision, HandlerError};
pub use extract::{Attempt, Emitter, FromDelivery, FromState, ManualAck, State, User};
pub use handler::{HandlerArgs, HandlerFn};
pub use incoming::Incoming;
#[cfg(feature = "trace")]
pub use layer::Trace;
pub use layer::{
    CircuitBreaker, ConcurrencyLimit, Correlate, DeadLetter, Dedup, MemoryDedup, RateLimit, Retry, TimedOut, Timeout,
};
pub use outcome::{Done, IntoOutcome, IntoReply, Settle, Verdict};
pub use route::Route;
pub use router::Router;
#[cfg(feature = "signal")]
pub use run::terminated;
pub use run::{ConsumerState, ConsumerStatus, Handled, Performed, Running, Watch};

/// The programs of the guide compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/router.md")]
struct Guide;
