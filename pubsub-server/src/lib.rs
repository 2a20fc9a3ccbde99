//! The web edge: an axum router over a `PubSub` handle. Live push to browsers by server-sent events, events that clients
//! send, history, and all of it in the wire of tRPC 11, so that the stock TypeScript client works unmodified.
//!
//! Begin at [`Server`].

mod auth;
mod body;
mod connection_params;
mod cors;
mod cursor;
mod dashboard;
mod edge;
mod error;
mod hub;
mod idempotency;
mod json;
mod metrics;
mod ops;
mod policy;
mod procedure;
mod procedures;
mod query;
mod rates;
mod ready;
mod rest;
mod serve;
mod server;
mod settings;
mod sse;
mod streaming;
mod trpc;

pub use auth::{Authenticate, Authorize, Credentials, Ticket, Tokens, User};
#[cfg(feature = "jwt")]
pub use auth::{Jwt, JwtBuilder};
pub use cors::Cors;
pub use error::{ApiError, Issue};
pub use idempotency::MemoryIdempotency;
pub use policy::{Access, Operation, WebPolicy};
pub use pubsub_codegen::DocumentOptions;
pub use serve::serve;
pub use server::{Server, ServerBuilder};
pub use settings::{CallRate, Settings};
