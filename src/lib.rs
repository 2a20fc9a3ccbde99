#![doc = include_str!("../README.md")]

pub use pubsub_adapters::{adapter, builder, connect, url::BrokerUrl};
// What users meet of the driver interface; all of it is in `driver`.
pub use pubsub_core::driver::{
    Confirm, Gap, GapReason, HistoryRange, PublishOptions, Receipt, RetryPolicy, SlowConsumer, TopologyMode,
};
pub use pubsub_core::{
    Ack, AckHandle, Catalog, Category, ChannelName, ChannelPattern, ChannelPolicy, Clock, ContentType, Control,
    Delivery, Direction, Durability, Envelope, Error, ErrorKind, Event, EventDefinition, EventId, EventItem, EventKey,
    EventName, Events, Fault, GroupName, IdKind, Key, KeyHold, ManualClock, Mark, Message, Meta, MetaFields,
    NamePattern, Ordering, Origin, Payload, Policies, Position, Prepared, PubSub, PubSubBuilder, Publish, Rate, Raw,
    Read, Received, Request, Result, Retention, StartPosition, Stats, Subscribe, Ticket, Timestamp, Unknown, Upcaster,
    driver, store, wire,
};
#[cfg(feature = "macros")]
pub use pubsub_macros::{Event, event, payload};

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
/// Outbox, inbox and idempotency store on SQLite and PostgreSQL (feature `sql`).
#[cfg(feature = "sql")]
pub use pubsub_sql as sql;

#[cfg(all(doctest, feature = "sql", feature = "macros"))]
#[doc = include_str!("../docs/sql.md")]
mod sql_guide {}

#[doc(hidden)]
pub use pubsub_core::__private;
