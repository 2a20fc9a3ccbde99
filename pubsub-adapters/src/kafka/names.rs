//! How channels and groups are called on the broker.

use pubsub_core::{ChannelName, Error, ErrorKind, GroupName, Result};

/// The longest name that a broker takes.
const MAX_LEN: usize = 249;
/// What scheduled events of a channel wait under.
const LATER: &str = "_later.";

/// The names of one deployment. With a prefix they begin with its length and the prefix itself, `_p4.shop.orders`: no
/// channel without a prefix begins so, and no two prefixes share a name.
#[derive(Clone, Debug)]
pub(super) struct Names {
    lead: String,
}

impl Names {
    pub(super) fn new(prefix: Option<&str>) -> Self {
        Self { lead: prefix.map(|prefix| format!("_p{}.{prefix}.", prefix.len())).unwrap_or_default() }
    }

    /// What a channel is stored under.
    ///
    /// # Errors
    /// `Invalid` if the broker could not take it.
    pub(super) fn topic(&self, channel: &ChannelName) -> Result<String> {
        self.checked(format!("{}{channel}", self.lead), channel)
    }

    /// What a channel's scheduled events wait under.
    ///
    /// # Errors
    /// `Invalid` if the broker could not take it.
    pub(super) fn later(&self, channel: &ChannelName) -> Result<String> {
        self.checked(format!("{}{LATER}{channel}", self.lead), channel)
    }

    fn checked(&self, name: String, channel: &ChannelName) -> Result<String> {
        if name.len() <= MAX_LEN {
            return Ok(name);
        }
        let text =
            format!("field `channel` is too long for Kafka: with prefix and group it has {} characters", name.len());
        Err(Error::new(ErrorKind::Invalid, "name channel", text).on(channel))
    }

    /// The user's channel that is stored under a name, if it is one of this deployment.
    pub(super) fn channel(&self, topic: &str) -> Option<ChannelName> {
        ChannelName::parse(topic.strip_prefix(&self.lead)?).ok()
    }

    /// What the members of a group on something stored share their progress under.
    pub(super) fn group(&self, topic: &str, group: &str) -> String {
        format!("{topic}/{group}")
    }

    /// As [`Names::group`], for a group of users.
    pub(super) fn group_on(&self, topic: &str, group: &GroupName) -> String {
        self.group(topic, group.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_never_meet() {
        let names = |prefix: &str| Names::new(Some(prefix));
        let channel = |name: &str| ChannelName::parse(name).unwrap();
        let plain = Names::new(None);
        assert_eq!(plain.topic(&channel("shop.orders")).unwrap(), "shop.orders");
        assert_eq!(names("shop").topic(&channel("orders")).unwrap(), "_p4.shop.orders");
        assert_eq!(names("shop").channel("_p4.shop.orders"), Some(channel("orders")));
        assert_eq!(plain.channel("_p4.shop.orders"), None);
        assert_eq!(names("shop").channel("_p7.shop.eu.orders"), None);
        assert_eq!(names("shop.eu").channel("_p4.shop.eu.orders"), None);
        let dead = channel("orders").dead_letter(&GroupName::parse("billing").unwrap());
        assert_eq!(plain.topic(&dead).unwrap(), "_dlq.billing.orders");
        assert_eq!(plain.channel("_dlq.billing.orders"), None);
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let prefix = "p".repeat(64);
        let channel = ChannelName::parse(&"c".repeat(128)).unwrap();
        assert!(Names::new(Some(&prefix)).topic(&channel).is_ok());
        let dead = channel.dead_letter(&GroupName::parse(&"g".repeat(64)).unwrap());
        assert_eq!(Names::new(Some(&prefix)).topic(&dead).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
