//! Events over Kafka 2.5 and later, made for Kafka 4 with KRaft.
//!
//! # How it is mapped
//!
//! | here | on the broker |
//! |---|---|
//! | channel | one topic of the same name; with a prefix `_p4.shop.orders`, its length in front so that no two deployments meet |
//! | unordered channel, `PerKey { shards }`, `Total` | 1 partition (option `partitions`), that many partitions, 1 partition |
//! | event | record: CloudEvents headers `ce_*` without what the record tells by itself (channel, version 1), payload as value, none for a tombstone; the key is the record's, and chooses the partition as Java clients do |
//! | retention | `retention.ms`, `retention.bytes`; without a limit `-1`: nothing goes that a group may still need |
//! | group on a channel | consumer group `orders/billing`: one per channel, so that one can be deleted alone; wildcards take one client per channel |
//! | acknowledgement | the committed offset, and what is done beyond it as bits in the commit's metadata |
//! | nack | held in the process until it is due; the number of attempts is written into the commit's metadata |
//! | broadcast | all partitions assigned by hand, from offsets that are fixed before the subscription returns; no group, no commits |
//! | position | `offset-life` of the only partition, or `partition:offset,…;life` |
//! | scheduled event | topic `_later.orders`, read by the group of whoever schedules or reads the channel in a group |
//! | dead letters, inbox | topics `_dlq.billing.orders`, `_inbox.<token>` |
//!
//! The client does not tell the broker's topic ids, so each topic that the adapter creates gets a mark of its own: a number
//! close to the largest in `max.compaction.lag.ms`, which only compacted topics would heed. The mark also says whether the
//! channel was declared ordered and durable. A topic that somebody else made has none: that it was made anew is noticed by
//! its offsets alone, and its order is compared by its number of partitions.
//!
//! `ensure` compares order, durability, retention, `cleanup.policy`, and, with the option `replication`, the number of copies
//! and `min.insync.replicas`. An update sends along what an operator has set for the topic; what is set in the same moment is
//! lost, for the client can only replace all settings.
//!
//! # Guarantees
//!
//! - A publish is confirmed by all in-sync copies (`acks=all`, idempotent producer); one that timed out may have been
//!   applied. Publishes with a timeout of more than 10 s take a producer of their own, one for each doubling of it: they
//!   and those with a shorter one keep their order only if one is awaited before the other.
//! - Settling is a push; progress is committed once a second, sooner when 200 events are settled, at once when somebody
//!   waits for it, when partitions go elsewhere, and at the end. After a crash what was settled since may come again.
//! - A settlement that waits for the broker's word is refused once the group has gone on without this process, also when
//!   the process has stood still and does not know it yet; a mere `ack` is then without effect.
//! - Events are held for failed ones until a partition's first unsettled event is 12,000 offsets behind; then that
//!   partition waits. As many events as `max_in_flight`, at least 64, may wait for their retry at a time.
//! - Only failures count as attempts. The log does not tell how often an event was handed out, so one whose handler ends its
//!   process each time comes again without end; `RetryPolicy::max_deliveries` does not stop it here.
//! - When partitions move, handlers have one second to settle what they have; what is settled later is stale.
//! - Where an unordered channel is given more partitions (`ensure` in mode `Update` with a larger `partitions`), everybody
//!   reads and writes the new ones within seconds and nothing is lost; a key's later events may lie in another partition
//!   than its earlier ones, and be read before them. Ordered channels keep their number of partitions.
//! - The lag of a group is what lies behind its committed offset: what members have in hand is part of it, and what is done
//!   beyond that offset, too. Asking takes a client of the group's own, which does not join it.
//! - A topic that is deleted or loses its data is declared again, subscriptions report a gap and go on.
//!
//! # Options
//!
//! `kafka://user:password@h1:9092,h2:9092/?…` with those of every broker, and `security=plaintext|ssl|sasl_plaintext|sasl_ssl`,
//! `mechanism=PLAIN|SCRAM-SHA-256|SCRAM-SHA-512`, `profile=latency|throughput` (linger 0 or 5 ms), `replication`,
//! `partitions`, and `kafka.<property>` for properties of librdkafka that the adapter does not own. All but plaintext needs
//! the feature `kafka-ssl`. The payload limit in the capabilities is the smaller of the client's `message.max.bytes` and the
//! broker's; a channel's own `max.message.bytes` may be another, which the broker holds.
//!
//! # What it cannot do
//!
//! - Time to live per event, deduplication by event id, leases that run out, publishers that wait for slow broadcasts,
//!   retention by count: refused.
//! - Names that differ in `.` and `_` alone: Kafka takes only one of two such topics.
//! - Seeking a group that has several members with partitions: `Conflict`.
//! - A group that nobody joined for `offsets.retention.minutes` of the broker (a week) is forgotten, and begins anew.
//! - Events scheduled while no process is there to bring them in come late; more than 10,000 of a channel wait for each other.
//! - The newer protocol of groups (KIP-848, `group.protocol=consumer`): with the client of this version, a new member of a group
//!   that all others had left got no partitions for more than 20 s, and a member that is killed is missed only after the 45 s
//!   that the broker sets. Refused.
//! - A ticket keeps its events in memory until it is awaited or dropped, also when they are long confirmed.
//! - Request and reply creates a topic per inbox, which takes tens of milliseconds.

mod adapter;
mod broadcast;
mod capabilities;
mod connection;
mod delay;
mod error;
mod group;
mod history;
mod inbox;
mod jumps;
mod member;
mod names;
mod options;
mod position;
mod progress;
mod publisher;
mod settler;
mod subscriber;
mod topology;
mod wire;

pub use adapter::Kafka;
pub use options::{KafkaOptions, Mechanism, Profile, Security};
