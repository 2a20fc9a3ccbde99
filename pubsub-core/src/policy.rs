//! Channel policies: what a channel promises, and what it refuses.

use std::time::Duration;

use crate::{
    ChannelName, ChannelPattern, Error, ErrorKind, Result,
    driver::{Feature, Reach},
};

/// The default limit of a message on the wire, in bytes: what NATS takes by default, and Kafka nearly.
pub const DEFAULT_MAX_PAYLOAD: usize = 1_000_000;

/// Whether a channel outlives its subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Events are stored until every group has settled them: groups, retry and history are offered.
    #[default]
    Durable,
    /// Events reach whoever listens now; groups and history are refused.
    Ephemeral,
}

/// Which events of a channel keep their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ordering {
    /// None is promised; the channel is not sharded.
    #[default]
    None,
    /// Events of one key keep their order, also across redelivery; keys run concurrently.
    PerKey {
        /// Over how many shards the keys are spread, at least 1; adapters without shards ignore the number.
        shards: u16,
    },
    /// All events keep their order; one member of a group works at a time.
    Total,
}

/// How long events stay readable. Age, count and bytes may remove what a group has not acknowledged: the group is
/// told by a gap event. A mere lack of room never removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Whether history is offered at all.
    pub history: bool,
    /// Events older than this are removed.
    pub age: Option<Duration>,
    /// Only this many of the latest events stay.
    pub count: Option<u64>,
    /// Only this many bytes of payload stay, counted from the latest event.
    pub bytes: Option<u64>,
}

impl Retention {
    /// No history is offered; an event goes once every group has settled it.
    pub const fn none() -> Self {
        Self { history: false, age: None, count: None, bytes: None }
    }

    /// Sets the age beyond which events are removed.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Sets how many of the latest events stay.
    #[must_use]
    pub const fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Sets how many bytes of payload stay.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }
}

impl Default for Retention {
    /// History within the adapter's own bound, and no limit that could remove what a group still needs.
    fn default() -> Self {
        Self { history: true, age: None, count: None, bytes: None }
    }
}

/// How many events one process may publish on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events per second in the long run.
    pub per_second: u32,
    /// How many may come at once.
    pub burst: u32,
}

/// What a channel promises and refuses. The default is a durable, unordered channel with history, 1 MB per event, no
/// rate limit, and any event name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelPolicy {
    /// Whether the channel outlives its subscribers.
    pub durability: Durability,
    /// Which events keep their order.
    pub ordering: Ordering,
    /// How long events stay readable.
    pub retention: Retention,
    /// The largest event in bytes: payload, key and metadata together.
    pub max_payload: usize,
    /// The publish rate per process.
    pub rate: Option<Rate>,
    /// Whether event names that are not in the catalog are taken.
    pub allow_undeclared: bool,
    /// Within which time a second event of the same id is dropped on publish.
    pub dedup_window: Option<Duration>,
    /// How long an event may wait before it is no longer delivered, unless its publisher says otherwise.
    pub ttl: Option<Duration>,
    /// Scopes a client needs to read the channel at the web edge; the server enforces them.
    pub read_scopes: Vec<String>,
    /// Scopes a client needs to send events to it.
    pub write_scopes: Vec<String>,
    /// Scopes a client needs to publish on it directly.
    pub publish_scopes: Vec<String>,
    /// How many clients may be subscribed at one node; the server enforces it.
    pub max_subscribers: Option<u32>,
}

impl Default for ChannelPolicy {
    fn default() -> Self {
        Self {
            durability: Durability::Durable,
            ordering: Ordering::None,
            retention: Retention::default(),
            max_payload: DEFAULT_MAX_PAYLOAD,
            rate: None,
            allow_undeclared: true,
            dedup_window: None,
            ttl: None,
            read_scopes: Vec::new(),
            write_scopes: Vec::new(),
            publish_scopes: Vec::new(),
            max_subscribers: None,
        }
    }
}

impl ChannelPolicy {
    /// The default policy.
    pub fn new() -> Self {
        Self::default()
    }

    /// An ephemeral channel: no groups, no history.
    #[must_use]
    pub fn ephemeral(mut self) -> Self {
        self.durability = Durability::Ephemeral;
        self.retention = Retention::none();
        self
    }

    /// Keeps the order of events of one key, over this many shards.
    #[must_use]
    pub fn ordered_per_key(mut self, shards: u16) -> Self {
        self.ordering = Ordering::PerKey { shards };
        self
    }

    /// Keeps the order of all events.
    #[must_use]
    pub fn totally_ordered(mut self) -> Self {
        self.ordering = Ordering::Total;
        self
    }

    /// Sets how long events stay readable.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets the largest event in bytes.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Sets the publish rate of this process.
    #[must_use]
    pub fn rate(mut self, per_second: u32, burst: u32) -> Self {
        self.rate = Some(Rate { per_second, burst });
        self
    }

    /// Takes only event names of the catalog.
    #[must_use]
    pub fn declared_only(mut self) -> Self {
        self.allow_undeclared = false;
        self
    }

    /// Drops a second event of the same id within `window`.
    #[must_use]
    pub fn dedup_window(mut self, window: Duration) -> Self {
        self.dedup_window = Some(window);
        self
    }

    /// Sets how long an event may wait.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What an adapter must offer to keep this policy.
    pub fn demands(&self) -> impl Iterator<Item = Feature> {
        let demands = [
            (self.durability == Durability::Ephemeral, Feature::EphemeralBroadcast),
            (matches!(self.ordering, Ordering::PerKey { .. }), Feature::KeyOrder),
            (self.ordering == Ordering::Total, Feature::TotalOrder),
            (self.dedup_window.is_some(), Feature::PublishDedup),
            (self.ttl.is_some(), Feature::Ttl),
        ];
        demands.into_iter().filter(|(wanted, _)| *wanted).map(|(_, feature)| feature)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// `Invalid` that names the field.
    pub fn check(&self) -> Result<()> {
        let zero = |field: &str| {
            Err(Error::new(ErrorKind::Invalid, "check channel policy", format!("field `{field}` must not be zero")))
        };
        match self {
            Self { ordering: Ordering::PerKey { shards: 0 }, .. } => zero("ordering.shards"),
            Self { max_payload: 0, .. } => zero("max_payload"),
            Self { rate: Some(Rate { per_second: 0, .. }), .. } => zero("rate.per_second"),
            Self { rate: Some(Rate { burst: 0, .. }), .. } => zero("rate.burst"),
            Self { retention: Retention { count: Some(0), .. }, .. } => zero("retention.count"),
            Self { retention: Retention { bytes: Some(0), .. }, .. } => zero("retention.bytes"),
            Self { retention: Retention { age: Some(Duration::ZERO), .. }, .. } => zero("retention.age"),
            Self { dedup_window: Some(Duration::ZERO), .. } => zero("dedup_window"),
            Self { ttl: Some(Duration::ZERO), .. } => zero("ttl"),
            Self { durability: Durability::Ephemeral, retention: Retention { history: true, .. }, .. } => {
                let message = "field `retention` offers history, which an ephemeral channel does not have";
                Err(Error::new(ErrorKind::Invalid, "check channel policy", message))
            }
            _ => Ok(()),
        }
    }
}

/// The policies of a deployment: exact names win over families, longer families over shorter ones.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    rules: Vec<(ChannelPattern, ChannelPolicy)>,
    fallback: ChannelPolicy,
}

impl Policies {
    /// Policies with one default for every channel.
    pub fn new(fallback: ChannelPolicy) -> Self {
        Self { rules: Vec::new(), fallback }
    }

    /// Adds a rule for one channel, `family.*` or `*`.
    ///
    /// # Errors
    /// `Invalid` if the policy contradicts itself, `Conflict` if the pattern has one already.
    pub fn insert(&mut self, pattern: ChannelPattern, policy: ChannelPolicy) -> Result<&mut Self> {
        policy.check()?;
        if self.rules.iter().any(|(known, _)| *known == pattern) {
            let message = format!("channel `{pattern}` has a policy already");
            return Err(Error::new(ErrorKind::Conflict, "add channel policy", message));
        }
        self.rules.push((pattern, policy));
        Ok(self)
    }

    /// The policy of a channel. The library's own channels follow none of the users' rules.
    pub fn of(&self, channel: &ChannelName) -> ChannelPolicy {
        if channel.is_internal() {
            return ChannelPolicy { max_payload: usize::MAX, ..ChannelPolicy::default() };
        }
        let weight = |pattern: &ChannelPattern| match pattern {
            ChannelPattern::Exact(_) => usize::MAX,
            ChannelPattern::Family(family) => family.as_str().len(),
            ChannelPattern::All => 0,
        };
        let best = self
            .rules
            .iter()
            .filter(|(pattern, _)| pattern.matches(channel))
            .max_by_key(|(pattern, _)| weight(pattern));
        best.map_or_else(|| self.fallback.clone(), |(_, policy)| policy.clone())
    }

    /// Which kinds of channel a wildcard takes as far as the rules tell: that of the longest rule which takes all of
    /// them, and those of the rules within.
    pub(crate) fn reach(&self, wildcard: &ChannelPattern) -> Reach {
        let takes_all = |rule: &ChannelPattern| match (rule, wildcard) {
            (ChannelPattern::All, _) => Some(0),
            (ChannelPattern::Family(rule), ChannelPattern::Family(family)) => {
                let whole = rule == family || ChannelPattern::Family(rule.clone()).matches(family);
                whole.then(|| rule.as_str().len())
            }
            _ => None,
        };
        let within = |rule: &ChannelPattern| match rule {
            ChannelPattern::All => false,
            ChannelPattern::Family(channel) | ChannelPattern::Exact(channel) => wildcard.matches(channel),
        };
        let whole = self.rules.iter().filter_map(|(rule, policy)| Some((takes_all(rule)?, policy)));
        let whole = whole.max_by_key(|(weight, _)| *weight).map_or(&self.fallback, |(_, policy)| policy);
        let parts = self.rules.iter().filter(|(rule, _)| within(rule)).map(|(_, policy)| policy);
        let mut reach = Reach { durable: false, ephemeral: false };
        for policy in parts.chain([whole]) {
            match policy.durability {
                Durability::Durable => reach.durable = true,
                Durability::Ephemeral => reach.ephemeral = true,
            }
        }
        reach
    }

    /// The strictest order that a channel of this wildcard may have as far as the rules tell.
    pub(crate) fn ordering_within(&self, wildcard: &ChannelPattern) -> Ordering {
        let rules = self.rules.iter().filter(|(rule, _)| rule.overlaps(wildcard)).map(|(_, policy)| policy.ordering);
        rules
            .chain([self.fallback.ordering])
            .max_by_key(|ordering| match ordering {
                Ordering::Total => 2,
                Ordering::PerKey { .. } => 1,
                _ => 0,
            })
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ChannelPattern {
        ChannelPattern::parse(text).unwrap()
    }

    #[test]
    fn the_most_specific_rule_wins() {
        let mut policies = Policies::default();
        for (text, size) in [("*", 1), ("shop.*", 2), ("shop.eu.*", 3), ("shop.eu.orders", 4)] {
            policies.insert(pattern(text), ChannelPolicy::new().max_payload(size)).unwrap();
        }
        for (name, size) in [("x", 1), ("shop.a", 2), ("shop.eu.a", 3), ("shop.eu.orders", 4)] {
            assert_eq!(policies.of(&ChannelName::parse(name).unwrap()).max_payload, size, "{name}");
        }
        assert!(policies.insert(pattern("shop.*"), ChannelPolicy::new()).is_err());
    }

    #[test]
    fn contradictions_name_the_field() {
        let bad = [
            (ChannelPolicy::new().ordered_per_key(0), "ordering.shards"),
            (ChannelPolicy::new().max_payload(0), "max_payload"),
            (ChannelPolicy::new().rate(0, 1), "rate.per_second"),
            (ChannelPolicy::new().retention(Retention::default().count(0)), "retention.count"),
            (ChannelPolicy::new().ephemeral().retention(Retention::default()), "retention"),
        ];
        for (policy, field) in bad {
            let error = policy.check().unwrap_err();
            assert!(error.message().contains(&format!("`{field}`")), "{error}");
        }
        assert!(ChannelPolicy::new().ephemeral().check().is_ok());
    }

    #[test]
    fn a_wildcard_takes_the_kinds_that_the_rules_within_and_around_it_name() {
        let mut policies = Policies::default();
        policies.insert(pattern("live.*"), ChannelPolicy::new().ephemeral()).unwrap();
        let reach = |policies: &Policies, text| {
            let Reach { durable, ephemeral } = policies.reach(&pattern(text));
            (durable, ephemeral)
        };
        for (text, expected) in
            [("live.*", (false, true)), ("live.eu.*", (false, true)), ("other.*", (true, false)), ("*", (true, true))]
        {
            assert_eq!(reach(&policies, text), expected, "{text}");
        }
        policies.insert(pattern("live.eu.orders"), ChannelPolicy::new()).unwrap();
        assert_eq!(reach(&policies, "live.*"), (true, true));
        assert_eq!(reach(&policies, "live.us.*"), (false, true));
        assert_eq!(reach(&Policies::new(ChannelPolicy::new().ephemeral()), "*"), (false, true));
    }
}
