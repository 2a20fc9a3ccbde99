//! Channels on the broker: declaring them, and holding what is there against what is wanted.

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use pubsub_core::{
    ChannelName, ChannelPolicy, Durability, Error, ErrorKind, Ordering, Result,
    driver::{Difference, Topology, TopologyMode, TopologyReport},
};

use super::{
    super::{
        error::{convert, is_different, is_missing},
        group::exists,
        names::{binding_key, later_key, short},
        registry::Entry,
        stream::bear,
    },
    ALTERNATE, Topologist, bind, lasting, stream_arguments, text, within,
};

const OPERATION: &str = "ensure topology";
/// How many bytes of dead letters a channel keeps: their number cannot be bounded on a stream.
const DEAD_LETTER_BYTES: u64 = 256 << 20;
/// What a stream keeps beyond its policy: what is written in one go is removed in one go, and were it larger than the
/// limit, then the very next message would take all before it away.
const MARGIN: u64 = 2 << 20;
const EPHEMERAL: &str = "ephemeral";
/// How many arguments of a stream can differ.
const ARGUMENTS: usize = 4;

impl Topologist {
    /// As [`Adapter::ensure`](pubsub_core::driver::Adapter::ensure), for channels.
    pub(in super::super) async fn ensure(&self, topology: &Topology) -> Result<TopologyReport> {
        for spec in &topology.channels {
            check(&spec.channel, &spec.policy)?;
            if spec.policy.durability == Durability::Ephemeral && !spec.groups.is_empty() {
                let text = "an ephemeral channel has no groups";
                return Err(Error::new(ErrorKind::Unsupported, OPERATION, text).on(&spec.channel));
            }
        }
        let mut report = TopologyReport::default();
        for spec in &topology.channels {
            let ensured = self.channel(&spec.channel, &spec.policy, topology.mode, &mut report).await;
            ensured.map_err(|error| error.on(&spec.channel))?;
        }
        Ok(report)
    }

    /// The order that a channel has on the broker, or would have here.
    pub(in super::super) async fn ordering(&self, channel: &ChannelName) -> Result<Ordering> {
        let own = || self.policies.get(channel).unwrap_or_default().ordering;
        Ok(self.stands(channel).await?.map_or_else(own, |text| ordering_of(&text)))
    }

    pub(super) async fn channel(
        &self,
        channel: &ChannelName,
        policy: &ChannelPolicy,
        mode: TopologyMode,
        report: &mut TopologyReport,
    ) -> Result<()> {
        let before = report.differences.len();
        let wanted = order_text(policy);
        let mut may_make = mode != TopologyMode::Validate;
        if may_make {
            self.base(false).await?;
        }
        match self.stands(channel).await? {
            Some(found) if found == wanted => {}
            Some(found) => {
                let field = if found == EPHEMERAL || wanted == EPHEMERAL { "durability" } else { "ordering" };
                let tell = |text: &str| match (field, text == EPHEMERAL) {
                    ("durability", false) => "durable".to_owned(),
                    _ => text.to_owned(),
                };
                report.push(Difference::new(channel, field, tell(&wanted), tell(&found)));
                may_make = false;
            }
            None => {
                let missing = Difference::new(channel, "channel", "declared", "missing");
                if !may_make {
                    report.push(missing);
                    return Ok(());
                }
                let scratch = self.scratch(OPERATION).await?;
                let declared = self.declare_channel(&scratch, channel, &wanted).await?;
                // Whoever else declares it at this moment may say something else.
                declared.map_err(|error| convert(OPERATION, error))?;
                report.push(missing.mended());
            }
        }
        if policy.durability == Durability::Durable && policy.retention.history {
            self.stream(channel, policy, may_make, report).await?;
        }
        if report.differences.iter().skip(before).all(|difference| difference.mended) {
            self.policies.insert(channel, policy);
        }
        Ok(())
    }

    /// What cannot change later is kept where the broker compares it: an alternate exchange that nothing uses.
    async fn declare_channel(
        &self,
        scratch: &lapin::Channel,
        channel: &ChannelName,
        order: &str,
    ) -> Result<lapin::Result<()>> {
        let mut arguments = FieldTable::default();
        text(&mut arguments, ALTERNATE, &format!("{MARK}{order}"));
        let name = short(&self.names.channel(channel));
        within(OPERATION, scratch.exchange_declare(name, ExchangeKind::Fanout, lasting(), arguments)).await
    }

    /// What is kept of a channel; none if it is not there. The broker tells it only in its refusal of something else.
    async fn stands(&self, channel: &ChannelName) -> Result<Option<String>> {
        let scratch = self.scratch(OPERATION).await?;
        let look = ExchangeDeclareOptions { passive: true, ..lasting() };
        let name = short(&self.names.channel(channel));
        let found = scratch.exchange_declare(name, ExchangeKind::Fanout, look, FieldTable::default());
        match within(OPERATION, found).await? {
            Ok(()) => {}
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(convert(OPERATION, error)),
        }
        match self.declare_channel(&scratch, channel, "?").await? {
            // It was deleted at this moment, and stands for nothing now: whoever declares it finds the difference.
            Ok(()) => Ok(Some("?".to_owned())),
            Err(error) if is_different(&error) => {
                let found = Unlike::parse(&error).and_then(|unlike| unlike.found).unwrap_or_default();
                Ok(Some(found.strip_prefix(MARK).unwrap_or(&found).to_owned()))
            }
            Err(error) => Err(convert(OPERATION, error)),
        }
    }

    async fn stream(
        &self,
        channel: &ChannelName,
        policy: &ChannelPolicy,
        may_make: bool,
        report: &mut TopologyReport,
    ) -> Result<()> {
        let queue = self.names.stream(channel);
        let name = short(&queue);
        let key = binding_key(&channel.clone().into());
        let bindings = vec![(self.names.exchange(channel), key.clone()), (self.names.later(), later_key(&key))];
        if !exists(self, &queue).await? {
            if !may_make {
                report.push(Difference::new(channel, "retention.history", "kept", "not kept"));
                return Ok(());
            }
            self.register(&[Entry::Bound { queue, bindings: bindings.clone() }]).await?;
            bear(self, channel, OPERATION).await?;
        }
        let mut arguments = stream_arguments(self.bytes(channel, policy), policy.retention.age);
        // The broker names one argument at a time: what it has there is taken over to hear of the next.
        let mut fields = Vec::new();
        let scratch = loop {
            let scratch = self.scratch(OPERATION).await?;
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let declared = scratch.queue_declare(name.clone(), options, arguments.clone());
            match within(OPERATION, declared).await? {
                Ok(_) => break scratch,
                Err(error) if is_different(&error) => {
                    let Some(unlike) = Unlike::parse(&error).filter(|_| fields.len() < ARGUMENTS) else {
                        return Err(convert(OPERATION, error));
                    };
                    let field = match unlike.argument.as_str() {
                        "x-max-age" => "retention.age",
                        // Segments go by it.
                        _ => "retention.bytes",
                    };
                    let told = fields.contains(&field);
                    fields.push(field);
                    if !told {
                        let tell = |value: &Option<String>| value.clone().unwrap_or_else(|| "unbounded".to_owned());
                        report.push(Difference::new(channel, field, tell(&unlike.wanted), tell(&unlike.found)));
                    }
                    if !unlike.take_over(&mut arguments) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(convert(OPERATION, error)),
            }
        };
        if may_make && fields.is_empty() {
            for (exchange, key) in bindings {
                bind(&scratch, OPERATION, name.as_str(), &exchange, &key).await?;
            }
        }
        Ok(())
    }

    fn bytes(&self, channel: &ChannelName, policy: &ChannelPolicy) -> u64 {
        let own = if channel.is_dead_letter() { DEAD_LETTER_BYTES } else { self.options.history_bytes };
        policy.retention.bytes.map_or(own, |bytes| bytes.saturating_add(MARGIN))
    }
}

/// The report, if nothing is left that was not put right.
///
/// # Errors
/// As [`TopologyReport::into_result`]; an update says why it changed nothing.
pub(in super::super) fn settled(report: TopologyReport, mode: TopologyMode) -> Result<TopologyReport> {
    let stays = report.differences.iter().any(|found| !found.mended && found.field.starts_with("retention"));
    report.into_result().map_err(|error| {
        if mode != TopologyMode::Update || !stays {
            return error;
        }
        let text = format!(
            "{}; the arguments of a stream stay as they were declared: bound it with a policy of the broker \
             (`max-age`, `max-length-bytes`), or delete it with its history and declare the channel again",
            error.message()
        );
        let told = Error::new(error.kind(), OPERATION, text);
        match error.channel() {
            Some(channel) => told.on(channel),
            None => told,
        }
    })
}

/// What a policy asks for that no broker of this kind has.
fn check(channel: &ChannelName, policy: &ChannelPolicy) -> Result<()> {
    if policy.retention.count.is_some() && !channel.is_internal() {
        let text = "field `retention.count` cannot be kept: a stream is bounded by age and bytes";
        return Err(Error::new(ErrorKind::Unsupported, OPERATION, text).on(channel));
    }
    Ok(())
}

/// What stands before the text of an order on the broker.
const MARK: &str = "pubsub: ";
const PER_KEY: (&str, &str) = ("ordered per key over ", " shards");
const TOTAL: &str = "totally ordered";

fn order_text(policy: &ChannelPolicy) -> String {
    match (policy.durability, policy.ordering) {
        (Durability::Ephemeral, _) => EPHEMERAL.to_owned(),
        (_, Ordering::PerKey { shards }) => format!("{}{shards}{}", PER_KEY.0, PER_KEY.1),
        (_, Ordering::Total) => TOTAL.to_owned(),
        _ => "unordered".to_owned(),
    }
}

fn ordering_of(text: &str) -> Ordering {
    let shards = text.strip_prefix(PER_KEY.0).and_then(|rest| rest.strip_suffix(PER_KEY.1));
    match shards.and_then(|shards| shards.parse().ok()) {
        Some(shards) => Ordering::PerKey { shards },
        None if text == TOTAL => Ordering::Total,
        None => Ordering::None,
    }
}

/// What the broker says of a declaration that differs from what is there.
#[derive(Debug, PartialEq, Eq)]
struct Unlike {
    argument: String,
    wanted: Option<String>,
    found: Option<String>,
}

impl Unlike {
    fn parse(error: &lapin::Error) -> Option<Self> {
        Self::read(&error.to_string())
    }

    fn read(text: &str) -> Option<Self> {
        let rest = text.split_once("inequivalent arg '")?.1;
        let (argument, rest) = rest.split_once('\'')?;
        let (wanted, found) = rest.rsplit_once("received ")?.1.split_once(" but current is ")?;
        // `none`, or a value in quotes, with other words around it.
        let value = |text: &str| {
            text.split_once('\'').and_then(|(_, rest)| rest.split_once('\'')).map(|(value, _)| value.to_owned())
        };
        Some(Self { argument: argument.to_owned(), wanted: value(wanted), found: value(found) })
    }

    /// Puts what is there into the arguments of a declaration; false where that cannot be told.
    fn take_over(&self, arguments: &mut FieldTable) -> bool {
        let mut kept = FieldTable::default();
        for (name, value) in arguments.inner() {
            if name.as_str() != self.argument {
                kept.insert(name.clone(), value.clone());
            }
        }
        if let Some(found) = &self.found {
            let value = match found.parse() {
                Ok(number) => AMQPValue::LongLongInt(number),
                Err(_) => AMQPValue::LongString(found.as_str().into()),
            };
            kept.insert(short(&self.argument), value);
        }
        let changed = kept != *arguments;
        *arguments = kept;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_back() {
        for ordering in [Ordering::None, Ordering::Total, Ordering::PerKey { shards: 7 }] {
            let policy = match ordering {
                Ordering::PerKey { shards } => ChannelPolicy::new().ordered_per_key(shards),
                Ordering::Total => ChannelPolicy::new().totally_ordered(),
                _ => ChannelPolicy::new(),
            };
            assert_eq!(ordering_of(&order_text(&policy)), ordering);
        }
    }

    #[test]
    fn what_differs_is_read_from_the_refusal() {
        let tell = |received: &str, current: &str| {
            let text = format!(
                "PRECONDITION_FAILED - inequivalent arg 'x-max-age' for queue 'a received' in vhost '/': received \
                 {received} but current is {current}"
            );
            Unlike::read(&text).map(|unlike| (unlike.argument, unlike.wanted, unlike.found))
        };
        let value = |text: &str| Some(text.to_owned());
        let argument = || "x-max-age".to_owned();
        assert_eq!(tell("'7s'", "'8s'"), Some((argument(), value("7s"), value("8s"))));
        let typed = "the value '7s' of type 'longstr'";
        assert_eq!(tell(typed, "none"), Some((argument(), value("7s"), None)));
        assert_eq!(tell("none", typed), Some((argument(), None, value("7s"))));
        assert_eq!(Unlike::read("NOT_FOUND - no exchange"), None);
    }
}
