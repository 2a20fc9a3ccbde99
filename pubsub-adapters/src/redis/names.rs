//! What things are called on the server.
//!
//! All keys of a channel share its hash tag, so that one script may touch them in a cluster.

use pubsub_core::{ChannelName, ChannelPattern, GroupName};

/// Makes names under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// What every key begins with: `pubsub:{` and the prefix.
    base: String,
    /// What every pub/sub channel begins with. These know no databases, so the number of one is in the name.
    live: String,
}

impl Names {
    pub(super) fn new(prefix: Option<&str>, db: i64) -> Self {
        let prefix = prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default();
        let database = if db == 0 { String::new() } else { format!("@{db}") };
        Self { base: format!("pubsub:{{{prefix}"), live: format!("pubsub{database}:{{{prefix}") }
    }

    /// The keys of a channel.
    pub(super) fn keys(&self, channel: &ChannelName) -> Keys {
        Keys { base: format!("{}{channel}}}", self.base) }
    }

    /// The set of the channels that have events for later.
    pub(super) fn scheduled(&self) -> String {
        format!("{}}}:scheduled", self.base)
    }

    /// The pub/sub channel of an ephemeral channel.
    pub(super) fn live(&self, channel: &ChannelName) -> String {
        format!("{}{channel}}}", self.live)
    }

    /// The pub/sub pattern of a wildcard. It may match more, which [`Names::parse_live`] and the pattern itself sort out.
    pub(super) fn live_pattern(&self, pattern: &ChannelPattern) -> String {
        format!("{}{pattern}}}", self.live)
    }

    /// The channel behind a pub/sub channel, if it is one of this prefix.
    pub(super) fn parse_live(&self, name: &str) -> Option<ChannelName> {
        ChannelName::parse_internal(name.strip_prefix(&self.live)?.strip_suffix('}')?).ok()
    }
}

/// The keys of one channel.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    base: String,
}

impl Keys {
    /// The stream of a shard; a channel of one shard has the plain name.
    pub(super) fn stream(&self, shard: usize, shards: usize) -> String {
        if shards == 1 { self.base.clone() } else { format!("{}:{shard}", self.base) }
    }

    /// The hash of what was declared.
    pub(super) fn policy(&self) -> String {
        format!("{}:policy", self.base)
    }

    /// Where the id of an event is remembered, to drop the second one.
    pub(super) fn dedup(&self, id: &str) -> String {
        format!("{}:dedup:{id}", self.base)
    }

    /// The set of events for later by their time.
    pub(super) fn later(&self) -> String {
        format!("{}:later", self.base)
    }

    /// The events for later themselves.
    pub(super) fn later_events(&self) -> String {
        format!("{}:later-events", self.base)
    }

    /// The set of what a group failed or gave back, by the time it is due.
    pub(super) fn due(&self, group: &GroupName, shard: usize) -> String {
        format!("{}:due:{group}:{shard}", self.base)
    }

    /// When a group first failed an event, until it is settled.
    pub(super) fn failed(&self, group: &GroupName, shard: usize) -> String {
        format!("{}:failed:{group}:{shard}", self.base)
    }

    /// Who reads a shard for a group.
    pub(super) fn lock(&self, group: &GroupName, shard: usize) -> String {
        format!("{}:lock:{group}:{shard}", self.base)
    }

    /// The set of a group's members by the time until which they are.
    pub(super) fn members(&self, group: &GroupName) -> String {
        format!("{}:members:{group}", self.base)
    }

    /// The name without a suffix, which shards of events for later are made from.
    pub(super) fn base(&self) -> &str {
        &self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_never_meet() {
        let channel = ChannelName::parse("orders.eu").unwrap();
        let (plain, shop) = (Names::new(None, 0), Names::new(Some("shop"), 0));
        assert_eq!(plain.keys(&channel).stream(0, 1), "pubsub:{orders.eu}");
        assert_eq!(shop.keys(&channel).stream(2, 4), "pubsub:{shop/orders.eu}:2");
        assert_eq!(shop.parse_live(&shop.live(&channel)), Some(channel.clone()));
        assert_eq!(plain.parse_live(&shop.live(&channel)), None);
        assert_eq!(shop.parse_live(&plain.live(&channel)), None);
        assert_eq!(plain.parse_live(&Names::new(None, 3).live(&channel)), None);
        assert_eq!(shop.live_pattern(&ChannelPattern::parse("orders.*").unwrap()), "pubsub:{shop/orders.*}");
    }
}
