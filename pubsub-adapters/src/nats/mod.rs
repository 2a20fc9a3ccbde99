//! Events over NATS: durable channels in JetStream, ephemeral ones on core subjects.
//!
//! ```no_run
//! # async fn example() -> pubsub_core::Result<()> {
//! let bus = pubsub_adapters::connect("nats://localhost:4222?prefix=shop").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What becomes what
//!
//! | here | there |
//! |---|---|
//! | durable channel | a stream of its own, file storage, `Limits` retention; `Interest` where the policy offers no history |
//! | ephemeral channel | a core subject |
//! | event | CloudEvents structured JSON, without any header for it; by `wire=binary`, and where the payload is no JSON: body = payload, headers `ce-*`, ASCII, percent-encoded |
//! | group | a durable pull consumer with explicit acks, `ack_wait` = the lease of the member that made it, at most 6 s: what is held longer is renewed |
//! | group on an ordered channel | a consumer per shard, owned by one member at a time through a record in the stream `<prefix>~_leases` |
//! | broadcast of a durable channel | a consumer without acks, made anew from where it was |
//! | nack, reject, extension | `-NAK` with delay, `+TERM`, `+WPI` |
//! | attempts | a record of each failure in the stream `<prefix>~_failures` |
//! | dead letters | the channel `_dlq.<group>.<channel>`, written by the library, confirmed, then settled |
//! | scheduled event | `Nats-Schedule` (server 2.12 and later); the first one lets its stream take them, for good |
//! | time to live | a header that readers obey to the millisecond, and `Nats-TTL` (server 2.11 and later) to clean up |
//! | position | sequence, and when the stream was made |
//! | inbox | a core subject of the deployment |
//!
//! # Guarantees
//!
//! - A durable event is confirmed once its stream has it. Where many are on their way to one channel, servers from 2.14 on
//!   confirm up to 64 of them together, and their receipts have no position; a lone event's has one, and so has each event
//!   of a channel with a dedup window, and of a stream that was made without `allow_batched`. After a broken connection it is sent again within the publish
//!   timeout, with the same `Nats-Msg-Id`: the event's id on channels with a dedup window, else one of this attempt alone.
//! - An ephemeral event is confirmed once the server has seen it; nobody keeps it. A connection that breaks before is
//!   an error that says it may have arrived.
//! - Settlements are told in bundles, and are confirmed by the server's answer to the last one of each consumer, which it
//!   gives when it has applied all of them. It writes them to its files within 100 ms: a server that is killed before gives
//!   those events again. With `replicas` the others know of them by then.
//! - A lease outlives a broken connection for as long as the server's `ack_wait`; after that, settlements are refused.
//! - With `strict`, a channel that was deleted is made anew for its subscriptions only; publishing to it is `NotFound`.
//! - Streams and consumers that are deleted are made anew, with a gap of reason `DataLoss`; a consumer goes on from the
//!   last place that was written down, so events may come twice.
//! - The order of a key holds across the members of a group. When a member dies, its shards go to others after the
//!   owner's term (at most 3 s) and its leases (at most 6 s). Whoever opens a shard, also after a broken connection, waits
//!   until what is out of it has come back before it asks for more, a lease long at most. When a lease runs out, all that
//!   its member holds of that shard is taken back and comes again in its order.
//! - What was on its way to a member when its connection broke comes again after at most 6 s. Deliveries that no failure
//!   explains, as after a crash, count no attempt until there are as many as `RetryPolicy::max_deliveries`, 64 by default:
//!   then the event is a dead letter. What a process released itself counts nothing as long as it lives.
//!
//! # Options of the address
//!
//! `nats://` or `tls://` with `user:password@`, `token`, `nkey` (a file with the seed) or `creds` (a file); `ca`, `cert`,
//! `key`, `tls_first`; several hosts with commas; `replicas`, `storage=file|memory`; and what all adapters take: `prefix`,
//! `source`, `wire`, `start`, `connect_timeout`, `strict`. A user needs a password. `wss://` is refused: WebSockets are not
//! built in.
//!
//! # What it cannot do
//!
//! - Hold a publisher back for a slow broadcast, and confirm by settlement.
//! - Remember an event's id for longer than the event: a `dedup_window` longer than `retention.age` is refused.
//! - Keep the order of what one adapter publishes at the same time across a broken connection, whatever happens: unconfirmed
//!   events are sent again in their order, and before anything else, but what the client had taken in the very moment in
//!   which it noticed may be stored before them. Whoever awaits one before the next is not concerned.
//! - Tell of events that retention removed while they were on their way back from a member of another process that left.
//! - Schedules on a stream whose owner has set `discard: new`: the server refuses the two together.
//! - Several members that find the same retention gap each tell of it. Gaps inside a shard are told at (re)opening only.
//! - Byte retention counts whole messages, headers included; count retention counts scheduled events that are not due.
//! - Tell another process that a channel is ephemeral, which leaves nothing on the server: declaring it as durable there makes
//!   it. The other way round, also for a stream kept elsewhere (`storage`) or with fewer copies (`replicas`), is a mismatch.
//! - A group's consumer on a channel without history sees what is published from its making on.

mod adapter;
mod attempts;
mod batch;
mod broadcast;
mod capabilities;
mod confirm;
mod connection;
mod delay;
mod error;
mod gauge;
mod group;
mod handout;
mod history;
mod inbox;
mod member;
mod names;
mod options;
mod orphans;
mod outbox;
mod post;
mod publisher;
mod puller;
mod reader;
mod renewal;
mod resend;
mod sending;
mod settler;
mod shards;
mod subscriber;
mod takeover;
mod telling;
mod topology;
mod wire;

pub use adapter::Nats;
pub use options::{NatsOptions, NatsStorage};
