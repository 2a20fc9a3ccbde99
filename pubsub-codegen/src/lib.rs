//! What is written from the event definitions of a catalog: JSON Schemas, AsyncAPI, OpenAPI, TypeScript, a catalogue for people, and
//! the lock of the published contracts.
//!
//! Everything works from [`Contracts`]: those of a [`Catalog`](pubsub_core::Catalog) in a program, or those that one has exported to
//! `catalog.json`.

mod asyncapi;
mod contracts;
mod names;
mod openapi;
mod options;
mod procedure;
mod schema;

pub use asyncapi::asyncapi;
pub use contracts::{Contract, Contracts};
pub use openapi::openapi;
pub use options::DocumentOptions;
pub use procedure::{Procedure, ProcedureKind, procedures};
