//! What is written from the event definitions of a catalog: JSON Schemas, AsyncAPI, OpenAPI, TypeScript, a catalogue for people, and
//! the lock of the published contracts.
//!
//! Everything works from [`Contracts`]: those of a [`Catalog`](pubsub_core::Catalog) in a program, or those that one has exported to
//! `catalog.json`. The same catalog gives the same bytes, whoever writes them and when. [`main`] offers all of it as a
//! command line in one line of a program.

mod asyncapi;
mod catalogue;
mod command;
mod contracts;
mod files;
mod json;
mod lock;
mod names;
mod openapi;
mod options;
mod procedure;
mod schema;
mod schemas;
mod typescript;

pub use asyncapi::asyncapi;
pub use catalogue::{html, markdown};
pub use command::{Source, main, run, usage};
pub use contracts::{Contract, Contracts};
pub use files::{Files, Kind, Stale};
pub use lock::{Breach, Lock, Published};
pub use openapi::openapi;
pub use options::DocumentOptions;
pub use procedure::{Procedure, ProcedureKind, procedures};
pub use schemas::json_schemas;
pub use typescript::{typescript, typescript_client};
