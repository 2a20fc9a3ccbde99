//! A channel as this process knows it: its policy, its keys and its shards.

use std::{sync::Arc, time::Duration};

use ::redis::{Cmd, cmd};
use pubsub_core::{
    ChannelName, ChannelPolicy, Durability, Error, ErrorKind, Message, Ordering, Result, driver::SubscribeOptions,
};

use super::{connection::Hub, names::Keys, scripts, topology, wire};

/// More shards than this are refused: each is a stream.
pub(super) const MAX_SHARDS: u16 = 256;

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    pub(super) keys: Keys,
    pub(super) policy: ChannelPolicy,
    /// Whether somebody declared it.
    pub(super) declared: bool,
    /// The streams of its shards; one, unless it is ordered per key.
    pub(super) streams: Vec<String>,
    /// The pub/sub channel, if it is ephemeral.
    pub(super) live: Option<String>,
}

impl Channel {
    pub(super) fn new(hub: &Hub, name: &ChannelName, policy: ChannelPolicy, declared: bool) -> Self {
        let keys = hub.names.keys(name);
        let shards = match policy.ordering {
            Ordering::PerKey { shards } => usize::from(shards),
            _ => 1,
        };
        let ephemeral = policy.durability == Durability::Ephemeral || name.is_inbox();
        Self {
            streams: (0..shards).map(|shard| keys.stream(shard, shards)).collect(),
            live: ephemeral.then(|| hub.names.live(name)),
            name: name.clone(),
            keys,
            policy,
            declared,
        }
    }

    /// Whether one member at a time reads a shard.
    pub(super) fn is_ordered(&self) -> bool {
        self.policy.ordering != Ordering::None
    }

    /// Whether retention may remove what a reader has not seen.
    pub(super) fn is_bounded(&self) -> bool {
        self.policy.retention.age.is_some() || self.policy.retention.count.is_some()
    }

    /// The shard of an event. Events without a key need no order, and are spread by their ids.
    pub(super) fn shard_of(&self, message: &Message) -> usize {
        let shards = self.streams.len();
        if shards == 1 {
            return 0;
        }
        let hash = match message.key() {
            Some(key) => key.stable_hash(),
            None => message
                .id()
                .encode(&mut [0; 36])
                .bytes()
                .fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte))),
        };
        (hash % shards as u64) as usize
    }

    /// Whether what a broadcast has not read may be removed.
    pub(super) fn may_overtake(&self) -> bool {
        self.is_bounded() || !self.policy.retention.history
    }

    /// Adds what an XADD removes to make room.
    pub(super) fn trim(&self, hub: &Hub, cmd: &mut Cmd) {
        let retention = &self.policy.retention;
        // One command takes one limit; the janitor sees to the age where both are set.
        if let Some(count) = retention.count {
            cmd.arg("MAXLEN").arg("~").arg(count);
        } else if let Some(age) = retention.age {
            cmd.arg("MINID").arg("~").arg(oldest(hub, age));
        }
    }

    /// The commands that remove what is too old, or what nobody needs any more where no history is offered.
    pub(super) fn sweep(&self, hub: &Hub) -> Vec<Cmd> {
        if self.live.is_some() {
            return Vec::new();
        }
        let forget = self.streams.iter().filter(|_| !self.policy.retention.history);
        let mut cmds: Vec<_> = forget.map(|stream| scripts::FORGET.call(&[stream])).collect();
        let Some(age) = self.policy.retention.age else { return cmds };
        let trim = |stream: &String| {
            let mut trim = cmd("XTRIM");
            trim.arg(stream).arg("MINID").arg(oldest(hub, age));
            trim
        };
        cmds.extend(self.streams.iter().map(trim));
        cmds
    }
}

fn oldest(hub: &Hub, age: Duration) -> i64 {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    hub.server_now().saturating_sub(age).max(0)
}

impl Hub {
    /// A channel in use. On the first use the server is asked what was declared.
    ///
    /// # Errors
    /// `NotFound` where channels must be declared and this one was not; what the server says.
    pub(super) async fn channel(&self, operation: &'static str, name: &ChannelName) -> Result<Arc<Channel>> {
        let must_exist = self.options.broker.strict && !name.is_inbox();
        if let Some(channel) = self.known(name).filter(|channel| channel.declared || !must_exist) {
            return Ok(channel);
        }
        if name.is_inbox() {
            return Ok(self.passing(name));
        }
        // A server that has lost it is told again; until then, what was declared here holds.
        let found = self.declared_policy(operation, name).await?.or_else(|| self.policies.get(name));
        if found.is_none() && must_exist {
            return Err(missing(operation, name));
        }
        let declared = found.is_some();
        Ok(self.remember(Channel::new(self, name, found.unwrap_or_default(), declared)))
    }

    /// A channel that is not kept in the table, as inboxes of others.
    pub(super) fn passing(&self, name: &ChannelName) -> Arc<Channel> {
        Arc::new(Channel::new(self, name, ChannelPolicy::new().ephemeral(), true))
    }

    /// A channel as a subscription takes it: one that nobody declared is what the subscription believes it is.
    ///
    /// # Errors
    /// As [`Hub::channel`].
    pub(super) async fn subscribed(&self, name: &ChannelName, options: &SubscribeOptions) -> Result<Arc<Channel>> {
        let channel = self.channel("subscribe", name).await?;
        let live = options.reach.ephemeral && !options.reach.durable;
        if !channel.declared && live && channel.live.is_none() {
            return Ok(self.passing(name));
        }
        Ok(channel)
    }

    /// What was declared of a channel, by the server.
    ///
    /// # Errors
    /// What the server says.
    pub(super) async fn declared_policy(
        &self,
        operation: &'static str,
        name: &ChannelName,
    ) -> Result<Option<ChannelPolicy>> {
        let mut get = cmd("HGETALL");
        get.arg(self.names.keys(name).policy());
        let answer = self.ask(operation, &get).await.map_err(|error| error.on(name))?;
        Ok(topology::parse(wire::list(answer).unwrap_or_default()))
    }
}

/// The error of a channel that must be declared and is not.
pub(super) fn missing(operation: &'static str, name: &ChannelName) -> Error {
    Error::new(ErrorKind::NotFound, operation, "nobody has declared the channel").on(name)
}
