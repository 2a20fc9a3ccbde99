//! Events over RabbitMQ, 3.10 or later: `amqp://user:password@host:5672/vhost`, `amqps:` with the feature `tls`.
//!
//! | here | on the broker, each name behind the prefix and a slash |
//! |---|---|
//! | durable channel | routing key `<shard>.<channel>` on the topic exchange `events`; a stream `stream/<channel>` keeps its history |
//! | its order | the alternate exchange of an exchange `channel/<channel>`, which nothing uses: the broker compares it |
//! | ephemeral channel | routing key on the topic exchange `live` |
//! | way in for publishers | `gate/<exchange>`, whose alternate exchange it is; there only if the exchange has all its bindings |
//! | what is bound | the stream `registry`, from which deleted exchanges are made again with all their bindings |
//! | group | a quorum queue `group/<group>/<channel>/<shard>` per channel, or per shard of an ordered one, with a single active consumer there |
//! | how many members share an ordered group | the consumers of `members/<group>/<channel>`, in which nothing ever is |
//! | fresh group with history | a copy of the history in `backlog/…`, read first and deleted with its last event |
//! | group or broadcast over wildcards | one quorum queue for all of them |
//! | broadcast of a durable channel | a reader of its stream |
//! | broadcast of an ephemeral channel | an exclusive queue |
//! | delayed nack | a copy with the attempt in a header, through the ladder to the failing group's queue; then the original is acknowledged |
//! | scheduled event | through the ladder (`delay/<level>/<digit>`) to the channel, with no process involved |
//! | dead letters | a channel like others, of at most 256 MiB |
//! | inbox | a queue that goes with its consumer |
//! | position | `amqp:<offset>-<life>`, an offset of the channel's stream, and which life of it: an exchange `born/<channel>` tells |
//! | whether an ephemeral broadcast is still bound | a mark through `live` every 3 seconds |
//!
//! # Guarantees
//! - An event is confirmed when every queue and the stream have it. One that no queue takes has its channel declared
//!   again and is sent again, within its time. On a channel whose policy keeps no history, an event that no group
//!   takes is confirmed and gone: nobody needs it.
//! - The first event of a channel with history on a new connection waits until the channel's stream has confirmed a mark:
//!   a broker that was just started lets publishers in earlier than it keeps what they send.
//! - Exchanges that were deleted are made again by whoever misses them first, with the bindings of every group and channel,
//!   whichever process made those; only then can anything be published again.
//! - What was sent and not answered when the connection went is sent again with the same id, until the publish's time
//!   is over; then it fails with `maybe_applied`. Duplicates are possible.
//! - Acknowledgements are told in batches; a confirmed one waits until the broker has read it. Those of deliveries whose
//!   connection is gone are refused.
//! - Attempts are counted in a header of the copies. What the broker takes back when a connection or subscription ends
//!   counts no attempt. But an event that it took back as often since its last failure as `RetryPolicy::max_deliveries`
//!   says, 64 by default and failures included, is a dead letter, and not delivered once more. What a member gave back
//!   and got again counts only once, so that pauses and lost connections of a process that lives wear nothing out; what
//!   the members of other processes gave back counts like their end, for the broker does not tell the two apart.
//! - An event of another program whose headers leave no room in a frame for what a copy needs (beyond 120 of 128 KiB) is
//!   held in the process while it waits, and given back as it is: its failures count as deliveries.
//! - The first events of a channel whose stream is not ready wait, in their order; other channels go on.
//! - Two connections, one of which publishes alone: an alarm of the broker holds back publishers (`Backpressure` when
//!   their time is over), and consumers go on. A broker that is silent for 5 seconds counts as gone.
//! - A queue that was deleted under a group is made again, with what was sent since shortly before it was noticed, and a
//!   gap of `DataLoss` tells of it.
//!
//! # What a channel's retention bounds
//! - It bounds the channel's stream: its history, what broadcasts can catch up on, and the backlog that a fresh group begins
//!   with. It does not bound groups. An event stays in a group's queue until the group has settled it or its own time to
//!   live is over, however old it is and however much waits: retention never overtakes a group here.
//! - So a group that nobody reads any more grows, until the disk alarm of the broker holds back all its publishers.
//!   `PubSub::lag` tells how much waits for a group, and `PubSub::delete_group` deletes it. One over wildcards is deleted at
//!   the broker: its queue is `group/<group>/~<hash>/-` behind the prefix and a slash.
//! - Where that has to be bounded, a policy of the broker does it by the queues' names:
//!   `rabbitmqctl set_policy --apply-to queues groups '^pubsub/group/' '{"max-length-bytes":10000000000,"overflow":"reject-publish"}'`.
//!   Publishing to a channel with a full group then fails with `Backend`, also for the channel's other groups, which may have
//!   got the event; nothing that was confirmed is lost, and other channels go on. With `"overflow":"drop-head"`,
//!   `message-ttl` or `expires` in a policy the broker drops events of which no gap tells.
//!
//! # What it cannot do
//! - The server's version is not looked at, for the client library keeps to itself what the server says of itself. All
//!   capabilities are those of 3.10; an older server refuses what it does not know when a queue is declared.
//! - A server before 3.13.3 writes down up to a second later which queues it has, and that it has streams at all. If it is
//!   killed, not stopped, before that, it finds neither the queue nor what is in it again; a subscription waits for it in
//!   vain. Killed within a second after its very first stream, it finds none of its streams again: nothing can be published
//!   to channels with history then.
//! - Leases do not run out and cannot be prolonged: an event is its consumer's as long as the connection lives, or until
//!   the broker's own limit (30 minutes by default), which closes the channel.
//! - Subscriptions do not seek. Publishing does not deduplicate. History is not bounded by a count of events: such a
//!   policy is refused. Retention works by whole segments, and keeps the last one; a bound in
//!   bytes has a margin of 2 MiB, and events that were written together, which go together, should stay below it.
//! - A start by time is exact to the chunk of the stream: it may begin with earlier events.
//! - Deliveries of a group have a position only if they came from the backlog.
//! - Groups and broadcasts over wildcards start with what is published from now on; a fresh group over wildcards that
//!   says nothing about its start does so, too. They have no shards: where a channel among them is known to be ordered,
//!   one member works at a time. Their deletion is not offered.
//! - Members of an ordered group share its shards by handing them on: it takes some seconds until a newcomer has its part.
//!
//! # Options of the address
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `heartbeat` | `10s` | how often either side gives a sign of life, 1 to 60 seconds |
//! | `window` | 1024 | events on their way to the broker, unconfirmed, 1 to 65,535 |
//! | `lanes` | 3 | channels of the protocol over which events are published, 1 to 16 |
//! | `history_bytes` | 1 GiB | history of a channel that sets no bound of its own, at least 1 MiB |
//! | `max_payload` | 16 MiB | the largest event that is sent |
//! | `ca`, `cert`, `key` | | certificates for `amqps:` |
//! | `prefix`, `source`, `wire`, `start`, `connect_timeout`, `strict` | | what all adapters take |
//!
//! User and password stand before the host (`guest`, where none is given), several hosts are parted by commas, and the
//! path is the virtual host. In code they are [`RabbitMqOptions`].

mod adapter;
mod broadcast;
mod capabilities;
mod connection;
mod delay;
mod error;
mod group;
mod history;
mod inbox;
mod lane;
mod lease;
mod member;
mod names;
mod options;
mod publisher;
mod pulse;
mod registry;
mod settler;
mod stream;
mod subscriber;
mod topology;
mod wire;

pub use adapter::RabbitMq;
pub use options::RabbitMqOptions;
