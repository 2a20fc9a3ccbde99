//! What is declared on the broker, by channels of the protocol that are thrown away: a mismatch closes them.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use pubsub_core::{
    ChannelName, ChannelPolicy, Durability, Error, ErrorKind, Ordering, Result,
    driver::{Difference, Topology, TopologyMode, TopologyReport},
};
use tokio::{sync::Mutex, time::timeout};

use super::{
    connection::Link,
    delay::{rung_arguments, rung_key, rungs},
    error::{convert, is_different, is_missing, late},
    names::{DIGITS, Names, binding_key, later_key, short},
    options::RabbitMqOptions,
    publisher::Sender,
};
use crate::common::policies::DeclaredPolicies;

/// How long the broker may take for one declaration.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(20);
/// How many bytes of dead letters a channel keeps: their number cannot be bounded on a stream.
const DEAD_LETTER_BYTES: u64 = 256 << 20;
/// How many bytes of events are kept whose destination was deleted while they waited.
const UNROUTED_BYTES: u64 = 64 << 20;

pub(super) fn text(arguments: &mut FieldTable, name: &str, value: &str) {
    arguments.insert(short(name), AMQPValue::LongString(value.into()));
}

pub(super) fn number(arguments: &mut FieldTable, name: &str, value: u64) {
    arguments.insert(short(name), AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX)));
}

/// Declares, and remembers what is declared.
#[derive(Debug)]
pub(super) struct Topologist {
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) policies: DeclaredPolicies,
    options: Arc<RabbitMqOptions>,
    /// The connection on which the exchanges of the deployment were declared.
    base: Mutex<Option<u64>>,
    ladder: Mutex<Ladder>,
    sender: OnceLock<Weak<Sender>>,
}

#[derive(Debug, Default)]
struct Ladder {
    levels: bool,
    rungs: HashSet<(usize, u8)>,
}

impl Topologist {
    pub(super) fn new(link: Arc<Link>, options: Arc<RabbitMqOptions>) -> Arc<Self> {
        Arc::new(Self {
            link,
            names: Names::new(options.broker.prefix.as_deref()),
            policies: DeclaredPolicies::default(),
            options,
            base: Mutex::default(),
            ladder: Mutex::default(),
            sender: OnceLock::new(),
        })
    }

    /// Who publishes; none once the adapter is gone.
    pub(super) fn sender(&self) -> Option<Arc<Sender>> {
        self.sender.get().and_then(Weak::upgrade)
    }

    /// Makes known who publishes.
    pub(super) fn set_sender(&self, sender: &Arc<Sender>) {
        // It is set once, when the adapter is made.
        let _ = self.sender.set(Arc::downgrade(sender));
    }

    /// Opens a channel of the protocol to declare things on.
    pub(super) async fn scratch(&self, operation: &'static str) -> Result<Channel> {
        self.link.live(operation, self.options.broker.connect_timeout).await?.channel(operation).await
    }

    /// Declares the exchanges of the deployment, once per connection.
    pub(super) async fn base(&self, again: bool) -> Result<()> {
        let live = self.link.live("declare exchanges", self.options.broker.connect_timeout).await?;
        let mut base = self.base.lock().await;
        if !again && *base == Some(live.number) {
            return Ok(());
        }
        let channel = live.channel("declare exchanges").await?;
        let mut later = FieldTable::default();
        text(&mut later, "alternate-exchange", &self.names.unrouted());
        let exchanges = [
            (self.names.events(), FieldTable::default()),
            (self.names.internal(), FieldTable::default()),
            (self.names.live(), FieldTable::default()),
            (self.names.later(), later),
        ];
        for (name, arguments) in exchanges {
            let declared = channel.exchange_declare(short(&name), ExchangeKind::Topic, lasting(), arguments);
            within("declare exchanges", declared).await?.map_err(|error| convert("declare exchanges", error))?;
        }
        *base = Some(live.number);
        Ok(())
    }

    /// A channel is used that nobody declared through this adapter.
    pub(super) async fn used(&self, channel: &ChannelName) -> Result<()> {
        if self.policies.get(channel).is_some() {
            return Ok(());
        }
        let mode = if self.options.broker.strict { TopologyMode::Validate } else { TopologyMode::Create };
        let mut report = TopologyReport::default();
        self.channel(channel, &ChannelPolicy::default(), mode, &mut report).await?;
        report.into_result().map(drop)
    }

    /// Declares a channel again on a broker that has lost it.
    pub(super) async fn restore(&self, channel: &ChannelName) -> Result<()> {
        self.base(true).await?;
        let policy = self.policies.get(channel).unwrap_or_default();
        let mut report = TopologyReport::default();
        self.channel(channel, &policy, TopologyMode::Create, &mut report).await
    }

    /// As [`Adapter::ensure`](pubsub_core::driver::Adapter::ensure), for channels.
    pub(super) async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        for spec in &topology.channels {
            check(&spec.channel, &spec.policy)?;
        }
        let mut report = TopologyReport::default();
        for spec in &topology.channels {
            let ensured = self.channel(&spec.channel, &spec.policy, topology.mode, &mut report).await;
            ensured.map_err(|error| error.on(&spec.channel))?;
        }
        Ok(report)
    }

    async fn channel(
        &self,
        channel: &ChannelName,
        policy: &ChannelPolicy,
        mode: TopologyMode,
        report: &mut TopologyReport,
    ) -> Result<()> {
        const OPERATION: &str = "ensure topology";
        let before = report.differences.len();
        let name = short(&self.names.channel(channel));
        if mode == TopologyMode::Validate {
            let look = ExchangeDeclareOptions { passive: true, ..lasting() };
            let scratch = self.scratch(OPERATION).await?;
            let found = scratch.exchange_declare(name.clone(), ExchangeKind::Fanout, look, FieldTable::default());
            match within(OPERATION, found).await? {
                Ok(()) => {}
                Err(error) if is_missing(&error) => {
                    report.push(Difference::new(channel, "channel", "declared", "missing"));
                    return Ok(());
                }
                Err(error) => return Err(convert(OPERATION, error)),
            }
        }
        self.base(false).await?;
        // What cannot change later is kept where the broker compares it: an alternate exchange that nothing uses.
        let mut arguments = FieldTable::default();
        text(&mut arguments, "alternate-exchange", &order_text(policy));
        let scratch = self.scratch(OPERATION).await?;
        let declared = scratch.exchange_declare(name, ExchangeKind::Fanout, lasting(), arguments);
        match within(OPERATION, declared).await? {
            Ok(()) => {}
            Err(error) if is_different(&error) => report.push(difference(channel, "ordering", &error)),
            Err(error) => return Err(convert(OPERATION, error)),
        }
        if policy.durability == Durability::Durable && policy.retention.history {
            self.stream(channel, policy, report).await?;
        }
        if report.differences.len() == before {
            self.policies.insert(channel, policy);
        }
        Ok(())
    }

    async fn stream(&self, channel: &ChannelName, policy: &ChannelPolicy, report: &mut TopologyReport) -> Result<()> {
        const OPERATION: &str = "ensure topology";
        let name = short(&self.names.stream(channel));
        let scratch = self.scratch(OPERATION).await?;
        let arguments = stream_arguments(self.bytes(channel, policy), policy.retention.age);
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        match within(OPERATION, scratch.queue_declare(name.clone(), options, arguments)).await? {
            Ok(_) => {}
            Err(error) if is_different(&error) => {
                report.push(difference(channel, "retention", &error));
                return Ok(());
            }
            Err(error) => return Err(convert(OPERATION, error)),
        }
        let key = binding_key(&channel.clone().into());
        for (exchange, key) in [(self.names.exchange(channel), key.clone()), (self.names.later(), later_key(&key))] {
            bind(&scratch, OPERATION, name.as_str(), &exchange, &key).await?;
        }
        Ok(())
    }

    fn bytes(&self, channel: &ChannelName, policy: &ChannelPolicy) -> u64 {
        let own = if channel.is_dead_letter() { DEAD_LETTER_BYTES } else { self.options.history_bytes };
        policy.retention.bytes.unwrap_or(own)
    }

    /// Makes sure that the ladder has the rungs of a delay.
    pub(super) async fn ladder(&self, units: u64, again: bool) -> Result<()> {
        const OPERATION: &str = "declare delays";
        let wanted = rungs(units);
        let mut ladder = self.ladder.lock().await;
        if again {
            *ladder = Ladder::default();
        }
        if ladder.levels && wanted.iter().all(|rung| ladder.rungs.contains(rung)) {
            return Ok(());
        }
        self.base(again).await?;
        let scratch = self.scratch(OPERATION).await?;
        if !ladder.levels {
            self.levels(&scratch).await?;
            ladder.levels = true;
        }
        for rung @ (level, digit) in wanted {
            if ladder.rungs.contains(&rung) {
                continue;
            }
            let queue = self.names.rung(level, digit);
            let arguments = rung_arguments(level, digit, &self.below(level));
            quorum(&scratch, OPERATION, &queue, arguments).await?;
            bind(&scratch, OPERATION, &queue, &self.names.level(level), &rung_key(level, digit)).await?;
            ladder.rungs.insert(rung);
        }
        Ok(())
    }

    /// Where events go after a level.
    fn below(&self, level: usize) -> String {
        level.checked_sub(1).map_or_else(|| self.names.later(), |level| self.names.level(level))
    }

    async fn levels(&self, scratch: &Channel) -> Result<()> {
        const OPERATION: &str = "declare delays";
        let failed = |error| convert(OPERATION, error);
        let unrouted = self.names.unrouted();
        let declared =
            scratch.exchange_declare(short(&unrouted), ExchangeKind::Fanout, lasting(), FieldTable::default());
        within(OPERATION, declared).await?.map_err(failed)?;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = scratch.queue_declare(short(&unrouted), options, stream_arguments(UNROUTED_BYTES, None));
        within(OPERATION, declared).await?.map_err(failed)?;
        bind(scratch, OPERATION, &unrouted, &unrouted, "").await?;
        for level in 0..DIGITS {
            let name = short(&self.names.level(level));
            let declared =
                scratch.exchange_declare(name.clone(), ExchangeKind::Topic, lasting(), FieldTable::default());
            within(OPERATION, declared).await?.map_err(failed)?;
            let bound = scratch.exchange_bind(
                short(&self.below(level)),
                name,
                short(&rung_key(level, 0)),
                ExchangeBindOptions::default(),
                FieldTable::default(),
            );
            within(OPERATION, bound).await?.map_err(failed)?;
        }
        Ok(())
    }
}

/// Waits for the broker, but not for ever.
pub(super) async fn within<T>(operation: &'static str, work: impl Future<Output = T>) -> Result<T> {
    timeout(DECLARE_TIMEOUT, work).await.map_err(|_| late(operation))
}

/// Declares a durable quorum queue.
pub(super) async fn quorum(
    scratch: &Channel,
    operation: &'static str,
    name: &str,
    arguments: FieldTable,
) -> Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declared = within(operation, scratch.queue_declare(short(name), options, arguments)).await?;
    declared.map(drop).map_err(|error| convert(operation, error))
}

/// Binds a queue to an exchange.
pub(super) async fn bind(
    scratch: &Channel,
    operation: &'static str,
    queue: &str,
    exchange: &str,
    key: &str,
) -> Result<()> {
    let options = QueueBindOptions::default();
    let bound = scratch.queue_bind(short(queue), short(exchange), short(key), options, FieldTable::default());
    within(operation, bound).await?.map_err(|error| convert(operation, error))
}

pub(super) fn lasting() -> ExchangeDeclareOptions {
    ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() }
}

/// What a policy asks for that no broker of this kind has.
fn check(channel: &ChannelName, policy: &ChannelPolicy) -> Result<()> {
    if policy.retention.count.is_some() && !channel.is_internal() {
        let text = "field `retention.count` cannot be kept: a stream is bounded by age and bytes";
        return Err(Error::new(ErrorKind::Unsupported, "ensure topology", text).on(channel));
    }
    Ok(())
}

fn order_text(policy: &ChannelPolicy) -> String {
    match (policy.durability, policy.ordering) {
        (Durability::Ephemeral, _) => "pubsub: ephemeral".to_owned(),
        (_, Ordering::PerKey { shards }) => format!("pubsub: ordered per key over {shards} shards"),
        (_, Ordering::Total) => "pubsub: totally ordered".to_owned(),
        _ => "pubsub: unordered".to_owned(),
    }
}

fn stream_arguments(bytes: u64, age: Option<Duration>) -> FieldTable {
    let mut arguments = FieldTable::default();
    text(&mut arguments, "x-queue-type", "stream");
    number(&mut arguments, "x-max-length-bytes", bytes);
    // The broker removes whole segments, and keeps the last one always.
    number(&mut arguments, "x-stream-max-segment-size-bytes", (bytes / 8).clamp(4_096, 100_000_000));
    if let Some(age) = age {
        text(&mut arguments, "x-max-age", &format!("{}s", age.as_millis().div_ceil(1_000).max(1)));
    }
    arguments
}

/// What the broker says about a declaration that differs.
fn difference(channel: &ChannelName, field: &str, error: &lapin::Error) -> Difference {
    let text = error.to_string();
    let quoted = |start: &str| text.split_once(start).and_then(|(_, rest)| rest.split('\'').nth(1)).unwrap_or("other");
    let field = match text.split_once("inequivalent arg '").and_then(|(_, rest)| rest.split('\'').next()) {
        Some("x-max-age") => "retention.age",
        Some("x-max-length-bytes") => "retention.bytes",
        _ => field,
    };
    Difference::new(channel, field, quoted("received"), quoted("but current is"))
}
