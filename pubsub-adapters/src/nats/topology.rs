//! Channels as streams: how a policy is written there, compared and mended.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_nats::{
    Subject,
    jetstream::stream::{Config, Info, RetentionPolicy, StorageType},
};
use pubsub_core::{
    ChannelName, ChannelPolicy, Durability, Error, ErrorKind, Key, Message, Ordering, Result, Retention,
    driver::{ChannelSpec, Difference, Topology, TopologyMode, TopologyReport},
};
use serde::Serialize;

use super::{
    connection::Shared,
    names::UNSHARDED,
    options::{NatsOptions, NatsStorage},
};

/// The window of the server that drops what is sent again after a broken connection.
const RESEND_WINDOW: Duration = Duration::from_secs(60);
const DURABILITY: &str = "durability";
const DECLARED: &str = "pubsub-declared";
const ORDERING: &str = "pubsub-ordering";
const DEDUP: &str = "pubsub-dedup-ms";
const TTL: &str = "pubsub-ttl-ms";
/// Its stream takes batches.
const BATCHED: &str = "pubsub-batched";

/// How events of a channel go, and where.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) channel: ChannelName,
    pub(super) policy: ChannelPolicy,
    /// When its stream was made, which tells positions of streams of one name apart; 0 where there is none.
    pub(super) born: u64,
    /// Whether its events may be confirmed together. A batch does not tell which of them the stream had already.
    pub(super) batched: bool,
    /// One subject for each shard; one alone where there are none.
    subjects: Vec<Subject>,
}

impl Route {
    fn new(shared: &Shared, channel: &ChannelName, policy: ChannelPolicy, born: u64, batched: bool) -> Self {
        let names = &shared.names;
        let subjects = if policy.durability == Durability::Ephemeral {
            vec![names.ephemeral(channel).into()]
        } else {
            match shards(&policy) {
                0 => vec![names.durable(channel, UNSHARDED).into()],
                shards => (0..shards).map(|shard| names.durable(channel, &shard.to_string()).into()).collect(),
            }
        };
        let batched = batched && policy.dedup_window.is_none();
        Self { channel: channel.clone(), policy, born, batched, subjects }
    }

    /// A subject of its stream, for what is no event.
    pub(super) fn any_subject(&self) -> Subject {
        self.subjects[0].clone()
    }

    pub(super) fn is_durable(&self) -> bool {
        self.policy.durability == Durability::Durable
    }

    /// The subject on which an event goes out.
    pub(super) fn subject(&self, message: &Message) -> Subject {
        let shard = match (self.subjects.len(), message.key()) {
            (1, _) => 0,
            (shards, Some(key)) => key.stable_hash() % shards as u64,
            // Without a key there is no order to keep: any shard does, and the id chooses one.
            (shards, None) => Key::new(&message.id().to_string()).map_or(0, |key| key.stable_hash() % shards as u64),
        };
        self.subjects[shard as usize].clone()
    }
}

/// How many shards a channel has; none where it has no order.
pub(super) fn shards(policy: &ChannelPolicy) -> u16 {
    match policy.ordering {
        Ordering::PerKey { shards } => shards,
        Ordering::Total => 1,
        _ => 0,
    }
}

/// The channels that were used.
#[derive(Debug, Default)]
pub(super) struct Routes(RwLock<HashMap<ChannelName, Arc<Route>>>);

impl Routes {
    pub(super) fn get(&self, channel: &ChannelName) -> Option<Arc<Route>> {
        // The table is whole at every point where a panic could come from.
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    fn put(&self, route: Arc<Route>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(route.channel.clone(), route);
    }

    pub(super) fn forget(&self, channel: &ChannelName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(channel);
    }
}

impl Shared {
    /// The route of a channel. One that is not there is made, unless channels must be declared.
    ///
    /// # Errors
    /// `NotFound` for a channel that must be declared, and what the server says.
    pub(super) async fn route(self: &Arc<Self>, operation: &'static str, channel: &ChannelName) -> Result<Arc<Route>> {
        if let Some(route) = self.routes.get(channel) {
            return Ok(route);
        }
        let declared = self.declared.get(channel);
        let (policy, born, batched) = match declared {
            _ if channel.is_inbox() => (ChannelPolicy::new().ephemeral(), 0, false),
            Some(policy) if policy.durability == Durability::Ephemeral => (policy, 0, false),
            declared => {
                let info = match self.stream(operation, channel).await? {
                    Some(info) => info,
                    None => self.make(operation, channel, declared).await?,
                };
                (policy_of(&info.config), born(&info), is_batched(&info.config))
            }
        };
        let route = Arc::new(Route::new(self, channel, policy, born, batched));
        self.routes.put(route.clone());
        Ok(route)
    }

    /// Makes a channel's stream anew, as it was declared.
    async fn make(
        &self,
        operation: &'static str,
        channel: &ChannelName,
        declared: Option<ChannelPolicy>,
    ) -> Result<Info> {
        // One that was declared here and is gone was deleted: that is for whoever declares it anew.
        if self.options.broker.strict && !channel.is_internal() {
            let text = "the channel does not exist, and channels must be declared";
            return Err(Error::new(ErrorKind::NotFound, operation, text).on(channel));
        }
        let known = declared.is_some();
        self.create(operation, channel, &declared.unwrap_or_default(), known).await
    }

    /// Makes sure that the stream of a durable channel that was in use is there.
    pub(super) async fn restore(&self, route: &Route) -> Result<Info> {
        if let Some(info) = self.stream("restore channel", &route.channel).await? {
            return Ok(info);
        }
        let known = self.declared.get(&route.channel).is_some();
        if self.options.broker.strict && !known && !route.channel.is_internal() {
            let text = "the channel is gone, and channels must be declared";
            return Err(Error::new(ErrorKind::NotFound, "restore channel", text).on(&route.channel));
        }
        let info = self.create("restore channel", &route.channel, &route.policy, known).await?;
        let (policy, batched) = (policy_of(&info.config), is_batched(&info.config));
        self.routes.put(Arc::new(Route::new(self, &route.channel, policy, born(&info), batched)));
        Ok(info)
    }

    /// As [`Shared::restore`], for an event that nothing took. In the strict mode nothing is made.
    pub(super) async fn find_or_restore(&self, route: &Route) -> Result<Info> {
        if !self.options.broker.strict || route.channel.is_internal() {
            return self.restore(route).await;
        }
        let gone = || Error::new(ErrorKind::NotFound, "publish", "the channel is gone, and channels must be declared");
        self.stream("publish", &route.channel).await?.ok_or_else(gone)
    }

    /// Lets a stream take scheduled events, from the first one on: the server takes this back from no stream, and
    /// streams that take them can do less.
    pub(super) async fn allow_schedules(&self, channel: &ChannelName, info: Info) -> Result<()> {
        let (mut config, subject) = (info.config, self.names.scheduled(channel, "*"));
        if !config.subjects.contains(&subject) {
            config.subjects.push(subject);
        }
        config.allow_message_schedules = true;
        let subject = format!("STREAM.UPDATE.{}", config.name);
        let updated: Result<Info> = self.api("publish", subject, &Settings::new(config)).await;
        updated.map(drop)
    }

    /// What is known of a channel's stream, if it is there.
    pub(super) async fn stream(&self, operation: &'static str, channel: &ChannelName) -> Result<Option<Info>> {
        let subject = format!("STREAM.INFO.{}", self.names.stream(channel));
        match self.api(operation, subject, &HashMap::<String, u64>::new()).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.on(channel)),
        }
    }

    async fn create(
        &self,
        operation: &'static str,
        channel: &ChannelName,
        policy: &ChannelPolicy,
        declared: bool,
    ) -> Result<Info> {
        let config = self.config(channel, policy, declared, false);
        let subject = format!("STREAM.CREATE.{}", config.name);
        match self.api(operation, subject, &Settings::new(config)).await {
            Ok(info) => Ok(info),
            // Somebody else was quicker; what is there is compared by whoever cares.
            Err(error) if error.kind() == ErrorKind::Conflict => match self.stream(operation, channel).await? {
                Some(info) => Ok(info),
                None => Err(error.on(channel)),
            },
            Err(error) => Err(error.on(channel)),
        }
    }

    fn config(&self, channel: &ChannelName, policy: &ChannelPolicy, declared: bool, scheduled: bool) -> Config {
        let retention = policy.retention;
        let number = |value: Option<u64>| value.map_or(-1, |value| i64::try_from(value).unwrap_or(i64::MAX));
        let mut metadata = HashMap::from([
            (DECLARED.to_owned(), declared.to_string()),
            (ORDERING.to_owned(), ordering_text(policy.ordering)),
        ]);
        for (name, value) in [(DEDUP, policy.dedup_window), (TTL, policy.ttl)] {
            metadata.extend(value.map(|value| (name.to_owned(), value.as_millis().to_string())));
        }
        if self.is_at_least(2, 14) {
            metadata.insert(BATCHED.to_owned(), true.to_string());
        }
        let age = retention.age.unwrap_or_default();
        let mut subjects = vec![self.names.durable(channel, "*")];
        subjects.extend(scheduled.then(|| self.names.scheduled(channel, "*")));
        Config {
            name: self.names.stream(channel),
            subjects,
            retention: if retention.history { RetentionPolicy::Limits } else { RetentionPolicy::Interest },
            max_age: age,
            max_messages: number(retention.count),
            max_bytes: number(retention.bytes),
            max_messages_per_subject: -1,
            max_consumers: -1,
            storage: storage(&self.options),
            num_replicas: self.options.replicas,
            duplicate_window: remembered(policy),
            allow_direct: true,
            allow_message_ttl: self.is_at_least(2, 11),
            allow_message_schedules: scheduled,
            metadata,
            ..Config::default()
        }
    }

    /// Compares, and mends what the mode allows.
    ///
    /// # Errors
    /// As [`Adapter::ensure`](pubsub_core::driver::Adapter::ensure).
    pub(super) async fn ensure(self: &Arc<Self>, topology: &Topology) -> Result<TopologyReport> {
        let mut report = TopologyReport::default();
        for spec in &topology.channels {
            spec.policy.check()?;
            if spec.policy.durability == Durability::Ephemeral {
                if !spec.groups.is_empty() {
                    let text = "an ephemeral channel has no groups";
                    return Err(Error::new(ErrorKind::Unsupported, "ensure topology", text).on(&spec.channel));
                }
                self.ensure_ephemeral(spec, &mut report).await?;
                continue;
            }
            self.ensure_channel(topology.mode, spec, &mut report).await?;
        }
        report.into_result()
    }

    /// Whether the channel was declared as ephemeral here: nobody else knows of it.
    fn is_ephemeral(&self, channel: &ChannelName) -> bool {
        self.declared.get(channel).is_some_and(|policy| policy.durability == Durability::Ephemeral)
    }

    /// An ephemeral channel leaves nothing on the server; a stream of its name makes it a durable one.
    async fn ensure_ephemeral(&self, spec: &ChannelSpec, report: &mut TopologyReport) -> Result<()> {
        if spec.channel.is_inbox() {
            self.learn(spec, 0, false); // no stream has such a name
            return Ok(());
        }
        let is_off = |kind| matches!(kind, ErrorKind::Unsupported | ErrorKind::Unavailable);
        let found = match self.stream("ensure topology", &spec.channel).await {
            // Where JetStream is turned off, no channel is durable.
            Err(error) if is_off(error.kind()) && self.link.borrow().up => None,
            found => found?,
        };
        match found {
            // Not even an update deletes the events of a stream.
            Some(_) => report.push(Difference::new(&spec.channel, DURABILITY, "ephemeral", "durable")),
            None => self.learn(spec, 0, false),
        }
        Ok(())
    }

    fn learn(&self, spec: &ChannelSpec, born: u64, batched: bool) {
        self.declared.insert(&spec.channel, &spec.policy);
        self.routes.put(Arc::new(Route::new(self, &spec.channel, spec.policy.clone(), born, batched)));
    }

    async fn ensure_channel(
        self: &Arc<Self>,
        mode: TopologyMode,
        spec: &ChannelSpec,
        report: &mut TopologyReport,
    ) -> Result<()> {
        const OPERATION: &str = "ensure topology";
        if let (Some(window), Some(age)) = (spec.policy.dedup_window, spec.policy.retention.age)
            && window > age
        {
            let text = format!(
                "field `dedup_window` is {window:?}: the server remembers an event no longer than it \
                                keeps it, which is {age:?} by `retention.age`"
            );
            return Err(Error::new(ErrorKind::Unsupported, OPERATION, text).on(&spec.channel));
        }
        let create = mode != TopologyMode::Validate;
        let mut found = match self.stream(OPERATION, &spec.channel).await? {
            Some(info) => info,
            None if self.is_ephemeral(&spec.channel) && mode != TopologyMode::Update => {
                report.push(Difference::new(&spec.channel, DURABILITY, "durable", "ephemeral"));
                return Ok(());
            }
            None if create => {
                report.push(Difference::new(&spec.channel, "channel", "declared", "missing").mended());
                self.create(OPERATION, &spec.channel, &spec.policy, true).await?
            }
            None => {
                report.push(Difference::new(&spec.channel, "channel", "declared", "missing"));
                return Ok(());
            }
        };
        // A channel that somebody merely used has the default policy, which nobody asked for. Only its order cannot
        // change once it has groups.
        let free = create && found.config.metadata.get(DECLARED).is_some_and(|declared| declared == "false");
        let mut all = true;
        let mut changed = false;
        for (field, declared, existing) in differences(&spec.policy, &self.options, &found.config) {
            let fixed = field == "storage" || field == "ordering" && found.state.consumer_count > 0;
            let may = !fixed && (free || mode == TopologyMode::Update);
            (all, changed) = (all && may, true);
            let difference = Difference::new(&spec.channel, field, declared, existing);
            report.push(if may { difference.mended() } else { difference });
        }
        if all && (changed || free) {
            let mut config = self.config(&spec.channel, &spec.policy, true, found.config.allow_message_schedules);
            config.num_replicas = config.num_replicas.max(found.config.num_replicas);
            let subject = format!("STREAM.UPDATE.{}", config.name);
            let updated: Result<Info> = self.api(OPERATION, subject, &Settings::new(config)).await;
            found = updated.map_err(|error| error.on(&spec.channel))?;
        }
        if all {
            self.learn(spec, born(&found), is_batched(&found.config));
        }
        for (group, start) in &spec.groups {
            let made = self.ensure_group(&spec.channel, &spec.policy, group, start, create).await?;
            if made {
                let difference = Difference::new(&spec.channel, format!("group:{group}"), "declared", "missing");
                report.push(if create { difference.mended() } else { difference });
            }
        }
        Ok(())
    }
}

/// How long a stream remembers the ids of its events: no longer than it keeps them.
pub(super) fn remembered(policy: &ChannelPolicy) -> Duration {
    let window = policy.dedup_window.unwrap_or(RESEND_WINDOW).max(Duration::from_millis(100));
    policy.retention.age.filter(|age| !age.is_zero()).map_or(window, |age| window.min(age))
}

/// What a stream is made of, with what the client does not know.
#[derive(Serialize)]
struct Settings {
    #[serde(flatten)]
    config: Config,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_batched: bool,
}

impl Settings {
    fn new(config: Config) -> Self {
        Self { allow_batched: is_batched(&config), config }
    }
}

/// Whether a stream takes batches; the client does not tell, so what made it has written it down.
fn is_batched(config: &Config) -> bool {
    config.metadata.contains_key(BATCHED)
}

/// When a stream was made, in nanoseconds.
pub(super) fn born(info: &Info) -> u64 {
    u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0)
}

fn ordering_text(ordering: Ordering) -> String {
    match ordering {
        Ordering::PerKey { shards } => format!("key-{shards}"),
        Ordering::Total => "total".to_owned(),
        _ => "none".to_owned(),
    }
}

fn ordering_of(text: &str) -> Ordering {
    match (text, text.strip_prefix("key-").and_then(|shards| shards.parse().ok())) {
        ("total", _) => Ordering::Total,
        (_, Some(shards)) if shards > 0 => Ordering::PerKey { shards },
        _ => Ordering::None,
    }
}

/// The policy that a stream keeps.
pub(super) fn policy_of(config: &Config) -> ChannelPolicy {
    let number = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let millis = |name: &str| config.metadata.get(name)?.parse().ok().map(Duration::from_millis);
    let mut retention = Retention::default();
    retention.history = config.retention == RetentionPolicy::Limits;
    retention.age = Some(config.max_age).filter(|age| !age.is_zero());
    retention.count = number(config.max_messages);
    retention.bytes = number(config.max_bytes);
    let mut policy = ChannelPolicy::new().retention(retention);
    policy.ordering = config.metadata.get(ORDERING).map_or(Ordering::None, |text| ordering_of(text));
    policy.dedup_window = millis(DEDUP);
    policy.ttl = millis(TTL);
    policy
}

/// The fields that a stream keeps, and in which it differs from what is declared. More copies than asked for are no
/// difference.
fn differences(
    declared: &ChannelPolicy,
    options: &NatsOptions,
    stream: &Config,
) -> Vec<(&'static str, String, String)> {
    let found = policy_of(stream);
    let mut differences = Vec::new();
    let mut field = |name, declared: String, found: String| {
        if declared != found {
            differences.push((name, declared, found));
        }
    };
    field("ordering", ordering_text(declared.ordering), ordering_text(found.ordering));
    field("retention", format!("{:?}", declared.retention), format!("{:?}", found.retention));
    field("dedup_window", format!("{:?}", declared.dedup_window), format!("{:?}", found.dedup_window));
    field("ttl", format!("{:?}", declared.ttl), format!("{:?}", found.ttl));
    field("storage", format!("{:?}", storage(options)), format!("{:?}", stream.storage));
    let copies = stream.num_replicas.max(1);
    field("replicas", options.replicas.max(copies).to_string(), copies.to_string());
    differences
}

/// Where streams are kept, in the client's terms.
fn storage(options: &NatsOptions) -> StorageType {
    match options.storage {
        NatsStorage::File => StorageType::File,
        NatsStorage::Memory => StorageType::Memory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        for ordering in [Ordering::None, Ordering::Total, Ordering::PerKey { shards: 7 }] {
            assert_eq!(ordering_of(&ordering_text(ordering)), ordering);
        }
        assert_eq!(ordering_of("key-0"), Ordering::None);
        assert_eq!(ordering_of("nonsense"), Ordering::None);
    }

    #[test]
    fn what_differs_is_named() {
        let options = NatsOptions::new();
        let names = |policy: &ChannelPolicy, options: &NatsOptions, stream: &Config| {
            differences(policy, options, stream).into_iter().map(|(name, ..)| name).collect::<Vec<_>>()
        };
        let stream = Config { num_replicas: 3, max_messages: -1, ..Config::default() };
        let policy = ChannelPolicy::new().ordered_per_key(4).ttl(Duration::from_secs(1));
        let plain = policy_of(&stream);
        assert_eq!(names(&policy.retention(plain.retention), &options, &stream), ["ordering", "ttl"]);
        assert!(names(&plain, &options, &stream).is_empty(), "more copies than asked for do no harm");
        let other = options.replicas(5).storage(NatsStorage::Memory);
        assert_eq!(names(&plain, &other, &stream), ["storage", "replicas"]);
    }
}
