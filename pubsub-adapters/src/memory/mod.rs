//! Events inside one process: a production mode for monoliths, and the reference for what every adapter means.
//!
//! `memory:` is a private bus, `memory://name` one that everybody in the process shares. Events live as long as the
//! bus does. Each channel is a log that keeps the latest events for history; groups lease events from it, broadcasts
//! read it with a cursor of their own.
//!
//! - A channel holds `capacity` events that some group has not settled; then publishers wait, and get `Backpressure`
//!   after their timeout. It keeps twice as many for history, or what the channel's retention says.
//! - A dedup window holds `dedup_ids` ids; then publishers wait likewise until the oldest of them leaves its window.
//! - A lease lasts as long as the delivery is held, unless its renewal is manual.
//! - Order per key: while an event of a key is in flight, its later ones go to the same consumer; a nack takes back
//!   the later ones.
//! - When a handle is closed, what it has not settled goes back to the groups at once, with nothing counted, and its readers
//!   hold no publisher back. A settlement that comes later settles nothing: `ack_confirmed` gives `Conflict`.
//! - No task runs in the background: delays, leases and schedules are kept by those who wait for them.

mod adapter;
mod apart;
mod broadcast;
mod bus;
mod capabilities;
mod channel;
mod confirm;
mod dedup;
mod group;
mod history;
mod inlet;
mod log;
mod options;
mod publisher;
mod settler;
mod source;
mod subscriber;
mod topology;

pub use adapter::Memory;
pub use options::MemoryOptions;

/// The scheme of this adapter's positions: `mem:<sequence>-<birth of the bus>`.
const SCHEME: &str = "mem";
