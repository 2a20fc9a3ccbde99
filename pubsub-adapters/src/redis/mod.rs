//! Events over Redis: durable channels on streams, ephemeral ones on pub/sub.
//!
//! # What becomes of what
//! | the library | Redis |
//! |---|---|
//! | durable channel | a stream `pubsub:{prefix/channel}`; ordered per key, one stream per shard, `…}:0`, `…}:1`, … |
//! | group | a consumer group on each of these streams; a member is a consumer whose name carries its lease |
//! | ack, reject | XACK, many in one |
//! | nack, release | stays pending, owned by the consumer `parked`; a sorted set says when it is due |
//! | lease | the idle time of the pending entry, renewed at a quarter of the lease; others take over what is idle for longer |
//! | order | one member holds a lock per shard, which each read asks for in a script; shards are handed over when nothing of them is out |
//! | broadcast of a durable channel | XREAD from a cursor per shard |
//! | ephemeral channel, inbox | PUBLISH, SUBSCRIBE and PSUBSCRIBE of JSON documents |
//! | event for later | a sorted set and a hash, moved to the stream by a task of every process, by the server's clock |
//! | deduplication | `SET … PX` and XADD in one script |
//! | retention | `MAXLEN ~` or `MINID ~` on each XADD; without history, what every group has settled goes every ten seconds |
//! | strict channel | its streams are made when it is declared; an event for one that was deleted is refused |
//! | policy | a hash, which every process compares with what it declares |
//!
//! All keys of a channel share a hash tag. What must happen at once does so in a script.
//!
//! # Guarantees
//! - At least once on durable channels, at most once on ephemeral ones. What the server confirmed is as durable as the server:
//!   with `appendfsync everysec` it may lose a second of it, without a file all of it.
//! - A publish whose connection breaks before the confirmation fails as perhaps applied; on a channel with a dedup window it
//!   is sent again until its time is over.
//! - A settlement after the lease is refused, because somebody else may have the event.
//! - An event that was pending when retention removed it, or that retention overtook, is told by a gap event; so is a stream
//!   or group that was deleted, which is made again.
//! - On ordered channels the library keeps the order of a key within a process. When a delivery of a shard is lost or given
//!   back, the shard is read again from its first unsettled event on, and what is out of it is taken back. Who cannot renew
//!   the lock hands out nothing once it has run out by the clock, and a read that arrives after that takes nothing.
//! - A broadcast of a durable channel lags behind in the stream; with a buffer of its own and `DropOldest` it loses what is
//!   beyond the buffer, and is told.
//!
//! # Options of the address
//! | address or option | meaning |
//! |---|---|
//! | `redis://user:password@host:6379/0` | one server; the path is the number of a database |
//! | `rediss://…` | the same over TLS, which needs the feature `tls` |
//! | `redis+sentinel://h1:26379,h2/0?master=name` | the server that the sentinels call so; user and password are the server's |
//! | `redis+cluster://h1:6379,h2` | nodes of a cluster, at least one that answers |
//! | `tls=true` | TLS for sentinels and clusters |
//! | `ca`, `cert`, `key` | PEM files: the server's authority, the client's certificate and private key; with TLS only |
//! | `fields=framed\|cloudevents` | how an entry holds an event: one compact field, or a field per attribute; readers take both |
//! | `in_flight=16384` | how many events may be on their way before publishers wait, and then fail with `Backpressure` |
//! | `max_payload=524288000` | the largest event in bytes with its attributes; a larger one is `TooLarge` |
//! | `prefix`, `source`, `wire`, `start`, `connect_timeout`, `strict` | as for all adapters |
//!
//! # What it cannot do
//! - Work with a server before Redis 7.0, which does not count what was ever added to a stream: opening is `Unsupported`.
//! - Wildcards over durable channels, a time to live per event, `retention.bytes`, confirmation by settlement, slow
//!   consumers that block: refused as `Unsupported`.
//! - Choose the protocol: it is RESP2, and `protocol=resp3` is an unknown option. Databases other than 0 on a cluster.
//!   A password for the sentinels themselves.
//! - Wait for replicas: what the server confirmed and had not passed on when another took its place is lost.
//! - Keep a channel without limits of retention from growing: somebody has to trim it.
//! - Remove by number and age to the event on each XADD: `~` leaves up to a node of the stream more, and where both are
//!   set the age is seen to every ten seconds.
//! - Read less than one event per stream: a subscription to more streams than its `max_in_flight` may have one of each
//!   unsettled.
//! - Resume a sharded channel to the event: a position is exact in its own shard; of the others it repeats what has the
//!   same millisecond.
//! - Read several durable channels by one subscription on a cluster, where one command cannot read from several nodes: a
//!   second one is refused as `Unsupported`.
//! - Move events that are due while no process has the adapter open. What the server refuses to move or to remove is told
//!   as a `Degraded` state until it no longer does, and tried again.

mod adapter;
mod broadcast;
mod capabilities;
mod channel;
mod connect;
mod connection;
mod delay;
mod depart;
mod error;
mod follow;
mod group;
mod history;
mod inbox;
mod names;
mod options;
mod publisher;
mod pull;
mod reader;
mod scripts;
mod settler;
mod share;
mod subscriber;
mod tend;
mod topology;
mod wire;
mod writer;

pub use adapter::Redis;
pub use options::{Deployment, Fields, RedisOptions};

/// The adapter's name, and the scheme of its positions.
const SCHEME: &str = "redis";
