#![doc = include_str!("../README.md")]

pub use pubsub_adapters::{adapter, builder, connect, url::BrokerUrl};
// What a caller holds (feature `client`).
#[cfg(feature = "client")]
pub use pubsub_client::{
    bus::{BusFault, EventBus, EventBusBuilder, FaultKind, Heard, Listener, Outcome},
    rpc::{Answer, Call, EventRpc, EventRpcBuilder, Replies, ReplySink, Respond, Responder, ResponderStats, RpcStats},
};
// What users meet of the driver interface; all of it is in `driver`.
pub use pubsub_core::driver::{
    Confirm, Gap, GapReason, HistoryRange, PublishOptions, Receipt, RetryPolicy, SlowConsumer, TopologyMode,
};
// What callers and responders meet; all of it is in `rpc`.
pub use pubsub_core::rpc::{CallError, Failure, FailureCode, Forward};
pub use pubsub_core::{
    Ack, AckHandle, Catalog, Category, Changes, ChannelName, ChannelPattern, ChannelPolicy, Clock, ContentType,
    Control, DeadLetterBox, DecodedBy, Decoder, Delivery, Direction, Durability, Envelope, Error, ErrorKind, Event,
    EventArg, EventDefinition, EventId, EventItem, EventKey, EventName, Events, Fault, GroupName, IdKind, Key, KeyHold,
    Letter, LetterFilter, LettersDone, ManualClock, Mark, Message, Meta, MetaFields, NamePattern, Ordering, Origin,
    Payload, Policies, Position, Prepared, PubSub, PubSubBuilder, Publish, Rate, Raw, Read, Received, Request, Result,
    Retention, StartPosition, Stats, Subscribe, Ticket, Timestamp, Unknown, Upcaster, driver, observe, rpc, store,
    wire,
};
#[cfg(feature = "macros")]
pub use pubsub_macros::{Event, event, payload};
#[cfg(feature = "router")]
pub use pubsub_router::{
    Attempt, Batch, BatchArgs, BatchItem, Batching, BoxError, CircuitBreaker, ConcurrencyLimit, ConsumerState,
    ConsumerStatus, Correlate, DeadLetter, Decision, Dedup, Done, Emitter, FromDelivery, FromState, Handled,
    HandlerArgs, HandlerError, HandlerFn, Incoming, IntoBatchOutcome, IntoOutcome, IntoReply, ManualAck, MemoryDedup,
    Performed, RateLimit, Retry, Route, Router, Running, Settle, State, TimedOut, Timeout, Trace, User, Verdict, Watch,
    terminated,
};

/// The adapter for Kafka (feature `kafka`).
#[cfg(feature = "kafka")]
pub use pubsub_adapters::kafka;
/// The adapter for events inside one process (feature `memory`).
#[cfg(feature = "memory")]
pub use pubsub_adapters::memory;
/// The adapter for NATS (feature `nats`).
#[cfg(feature = "nats")]
pub use pubsub_adapters::nats;
/// What the options of all brokers have in common.
#[cfg(any(feature = "redis", feature = "kafka", feature = "nats", feature = "rabbitmq"))]
pub use pubsub_adapters::options;
/// The adapter for RabbitMQ (feature `rabbitmq`).
#[cfg(feature = "rabbitmq")]
pub use pubsub_adapters::rabbitmq;
/// The adapter for Redis (feature `redis`).
#[cfg(feature = "redis")]
pub use pubsub_adapters::redis;
/// A client for the web edge (feature `client-http`).
#[cfg(feature = "client-http")]
pub use pubsub_client::http;
/// What is written from the event definitions, and the command line for it (feature `codegen`).
#[cfg(feature = "codegen")]
pub use pubsub_codegen as codegen;
/// The web edge (feature `server`).
#[cfg(feature = "server")]
pub use pubsub_server as server;
/// Outbox, inbox and idempotency store on SQLite and PostgreSQL (feature `sql`).
#[cfg(feature = "sql")]
pub use pubsub_sql as sql;

#[cfg(all(doctest, feature = "sql", feature = "macros"))]
#[doc = include_str!("../docs/sql.md")]
mod sql_guide {}

/// The guide's programs compile.
#[cfg(all(doctest, feature = "client-http", feature = "macros"))]
#[doc = include_str!("../docs/http-client.md")]
mod http_client_guide {}

/// The guide's programs compile.
#[cfg(all(doctest, feature = "codegen", feature = "macros"))]
#[doc = include_str!("../docs/contracts.md")]
mod contracts_guide {}
#[cfg(all(doctest, feature = "otel", feature = "metrics", feature = "macros"))]
#[doc = include_str!("../docs/observability.md")]
mod observability_guide {}

#[doc(hidden)]
pub use pubsub_core::__private;

/// The guide's programs compile.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../docs/client.md")]
mod client_guide {}

#[cfg(all(doctest, feature = "server", feature = "macros"))]
#[doc = include_str!("../docs/server.md")]
mod server_guide {}
