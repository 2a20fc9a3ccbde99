//! What is declared on the broker, by channels of the protocol that are thrown away: a mismatch closes them.

mod channels;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use lapin::{
    Channel, ExchangeKind,
    options::{
        ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use pubsub_core::{
    ChannelName, ChannelPolicy, ErrorKind, Result,
    driver::{TopologyMode, TopologyReport},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    connection::{Link, Live},
    delay::{rung_arguments, rung_key, rungs},
    error::{convert, is_missing, late},
    group::exists,
    names::{DIGITS, Names, short},
    options::RabbitMqOptions,
    publisher::Sender,
    registry::{Entry, Registry, ready},
};
pub(super) use channels::settled;

use crate::common::policies::DeclaredPolicies;

const DECLARE: &str = "declare exchanges";
/// The argument that names where an exchange sends what nothing bound to it takes.
pub(super) const ALTERNATE: &str = "alternate-exchange";
/// How long the broker may take for one declaration.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(20);
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
    registry: Registry,
    options: Arc<RabbitMqOptions>,
    base: Mutex<Base>,
    /// Since when a channel is known to be there.
    restored: Mutex<HashMap<ChannelName, Instant>>,
    ladder: Mutex<Ladder>,
    sender: OnceLock<Weak<Sender>>,
}

/// What is known of the exchanges of the deployment.
#[derive(Debug, Default)]
struct Base {
    /// The connection on which they were found.
    on: Option<u64>,
    /// When they were last begun to be made again.
    made: Option<Instant>,
    /// When they were last begun to be looked at, and found.
    whole: Option<Instant>,
}

#[derive(Debug, Default)]
struct Ladder {
    levels: bool,
    rungs: HashSet<(usize, u8)>,
}

impl Topologist {
    pub(super) fn new(link: Arc<Link>, publish: Arc<Link>, options: Arc<RabbitMqOptions>) -> Arc<Self> {
        let names = Names::new(options.broker.prefix.as_deref());
        Arc::new(Self {
            link,
            registry: Registry::new(publish, &names),
            names,
            policies: DeclaredPolicies::default(),
            options,
            base: Mutex::default(),
            restored: Mutex::default(),
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

    /// Sees to the exchanges of the deployment: once per connection, or `again` when something of them is missing.
    pub(super) async fn base(&self, again: bool) -> Result<()> {
        let asked = Instant::now();
        let live = self.link.live(DECLARE, self.options.broker.connect_timeout).await?;
        let mut base = self.base.lock().await;
        let known = if again { base.made.is_some_and(|made| made >= asked) } else { base.on == Some(live.number) };
        if known {
            return Ok(());
        }
        let begun = Instant::now();
        if again || !self.is_whole(&live).await? {
            self.rebuild(&live).await?;
            base.made = Some(begun);
        }
        base.on = Some(live.number);
        Ok(())
    }

    /// Looks whether the exchanges of the deployment are there, and makes them again where they are not.
    pub(super) async fn look(&self) -> Result<()> {
        let asked = Instant::now();
        let live = self.link.live(DECLARE, self.options.broker.connect_timeout).await?;
        let mut base = self.base.lock().await;
        if base.whole.is_some_and(|whole| whole >= asked) {
            return Ok(());
        }
        let begun = Instant::now();
        if self.is_whole(&live).await? {
            base.whole = Some(begun);
            return Ok(());
        }
        drop(base);
        self.base(true).await
    }

    /// The exchanges to which queues are bound, each with a gate.
    fn gated(&self) -> [String; 3] {
        [self.names.events(), self.names.internal(), self.names.later()]
    }

    async fn is_whole(&self, live: &Live) -> Result<bool> {
        let channel = live.channel(DECLARE).await?;
        for exchange in self.gated() {
            if !is_there(&channel, &self.names.gate(&exchange)).await? || !is_there(&channel, &exchange).await? {
                return Ok(false);
            }
        }
        is_there(&channel, &self.names.live()).await
    }

    /// Makes the exchanges with all that was ever bound to them, and then the gates through which events come. A gate is
    /// nothing but an exchange whose alternate exchange is the one behind it, so that it is open as soon as it is there.
    async fn rebuild(&self, live: &Live) -> Result<()> {
        let mut channel = live.channel(DECLARE).await?;
        for exchange in self.gated().into_iter().chain([self.names.live()]) {
            if !is_there(&channel, &exchange).await? {
                channel = live.channel(DECLARE).await?;
                // Nothing may come through to it before it has its bindings.
                let gate = short(&self.names.gate(&exchange));
                let closed = channel.exchange_delete(gate, ExchangeDeleteOptions::default());
                within(DECLARE, closed).await?.map_err(|error| convert(DECLARE, error))?;
            }
            let mut arguments = FieldTable::default();
            if exchange == self.names.later() {
                text(&mut arguments, ALTERNATE, &self.names.unrouted());
            }
            declare(&channel, &exchange, ExchangeKind::Topic, arguments).await?;
        }
        let limit = self.options.broker.connect_timeout;
        let known: BTreeMap<_, _> = self.registry.read(live.channel(DECLARE).await?, limit).await?;
        for entry in known.into_values() {
            match entry {
                Entry::Bound { queue, bindings } => {
                    for (exchange, key) in bindings {
                        match bind(&channel, DECLARE, &queue, &exchange, &key).await {
                            Ok(()) => {}
                            Err(error) if error.kind() == ErrorKind::NotFound && !exists(self, &queue).await? => {
                                channel = live.channel(DECLARE).await?;
                                break;
                            }
                            Err(error) => return Err(error),
                        }
                    }
                }
                Entry::Ready { exchange, token } => ready(&channel, &exchange, &token).await?,
                Entry::Gone(_) => {}
            }
        }
        for exchange in self.gated() {
            let mut arguments = FieldTable::default();
            text(&mut arguments, ALTERNATE, &exchange);
            declare(&channel, &self.names.gate(&exchange), ExchangeKind::Fanout, arguments).await?;
        }
        Ok(())
    }

    /// Writes down what is going to be bound, for whoever has to make the exchanges again.
    pub(super) async fn register(&self, entries: &[Entry]) -> Result<()> {
        self.registry.write(entries, self.options.broker.connect_timeout).await
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

    /// Declares a channel again on a broker that has lost it, once for all who ask meanwhile.
    pub(super) async fn restore(&self, channel: &ChannelName) -> Result<()> {
        let asked = Instant::now();
        let mut restored = self.restored.lock().await;
        if restored.get(channel).is_some_and(|begun| *begun >= asked) {
            return Ok(());
        }
        let begun = Instant::now();
        self.base(true).await?;
        let policy = self.policies.get(channel).unwrap_or_default();
        let mut report = TopologyReport::default();
        self.channel(channel, &policy, TopologyMode::Create, &mut report).await?;
        restored.insert(channel.clone(), begun);
        Ok(())
    }

    /// Makes sure that the ladder has the rungs of a delay.
    pub(super) async fn ladder(&self, units: u64, again: bool) -> Result<()> {
        const OPERATION: &str = "declare delays";
        let wanted = rungs(units);
        let mut ladder = self.ladder.lock().await;
        if again {
            *ladder = Ladder::default();
            self.look().await?;
        }
        if ladder.levels && wanted.iter().all(|rung| ladder.rungs.contains(rung)) {
            return Ok(());
        }
        self.base(false).await?;
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
        let later = || self.names.gate(&self.names.later());
        level.checked_sub(1).map_or_else(later, |level| self.names.level(level))
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

/// Whether an exchange is there; if not, the channel is used up.
async fn is_there(channel: &Channel, exchange: &str) -> Result<bool> {
    let look = ExchangeDeclareOptions { passive: true, ..lasting() };
    // What it is does not matter to the broker.
    let found = channel.exchange_declare(short(exchange), ExchangeKind::Topic, look, FieldTable::default());
    match within(DECLARE, found).await? {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(convert(DECLARE, error)),
    }
}

pub(super) async fn declare(scratch: &Channel, name: &str, kind: ExchangeKind, arguments: FieldTable) -> Result<()> {
    let declared = within(DECLARE, scratch.exchange_declare(short(name), kind, lasting(), arguments)).await?;
    declared.map_err(|error| convert(DECLARE, error))
}

pub(super) fn lasting() -> ExchangeDeclareOptions {
    ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() }
}

pub(super) fn stream_arguments(bytes: u64, age: Option<Duration>) -> FieldTable {
    let mut arguments = FieldTable::default();
    text(&mut arguments, "x-queue-type", "stream");
    number(&mut arguments, "x-max-length-bytes", bytes);
    // The broker removes whole segments, and keeps the last one always.
    number(&mut arguments, "x-stream-max-segment-size-bytes", (bytes / 16).clamp(4_096, 100_000_000));
    if let Some(age) = age {
        text(&mut arguments, "x-max-age", &format!("{}s", age.as_millis().div_ceil(1_000).max(1)));
    }
    arguments
}
