//! Names on the server: streams, subjects and consumers, each with the deployment's prefix in front.
//!
//! A prefix is one token, in which `=` stands for the dot; so it is in stream and consumer names. `=` is no character of
//! any of our names, so no two of them meet. Subjects keep a channel's dots, so that wildcards work on segments; a
//! segment without characters is `=`.
//!
//! | subject | what |
//! |---|---|
//! | `<prefix>.d.<shard>.<channel>` | events of a durable channel; `-` where it has no shards |
//! | `<prefix>.s.<token>.<channel>` | scheduled events until they are due |
//! | `<prefix>.e.<channel>` | events of an ephemeral channel |
//! | `<prefix>.i.<token>` | a private inbox |
//! | `<prefix>.l.<group>.<channel>.<shard>` | who owns a shard |
//! | `<prefix>.n.<consumer>.<sequence>` | how often an event has failed |
//! | `<prefix>.b.<group>.<channel>` | signs of life of a group's members |

use pubsub_core::{ChannelName, ChannelPattern, GroupName};

/// The token where a channel has no shards.
pub(super) const UNSHARDED: &str = "-";
/// Between the parts of a stream's or consumer's name.
const JOINT: char = '~';
const INBOX: &str = "_inbox.";

/// Makes names of one deployment.
#[derive(Clone, Debug)]
pub(super) struct Names {
    root: String,
}

fn token(text: &str) -> String {
    text.replace('.', "=")
}

fn segments(channel: &str) -> String {
    let filled: Vec<_> = channel.split('.').map(|part| if part.is_empty() { "=" } else { part }).collect();
    filled.join(".")
}

impl Names {
    pub(super) fn new(prefix: Option<&str>) -> Self {
        // No prefix begins with an underscore.
        Self { root: prefix.map_or_else(|| "_".to_owned(), token) }
    }

    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// What the client's private subjects begin with.
    pub(super) fn private(&self) -> String {
        format!("_INBOX.{}", self.root)
    }

    pub(super) fn stream(&self, channel: &ChannelName) -> String {
        format!("{}{JOINT}{}", self.root, token(channel.as_str()))
    }

    /// The channel whose stream has this name.
    pub(super) fn channel_of_stream(&self, stream: &str) -> Option<ChannelName> {
        let rest = stream.strip_prefix(&self.root)?.strip_prefix(JOINT)?;
        ChannelName::parse_internal(&rest.replace('=', ".")).ok()
    }

    /// The stream that says who owns which shard.
    pub(super) fn leases(&self) -> String {
        format!("{}{JOINT}_leases", self.root)
    }

    /// The stream that says how often events have failed.
    pub(super) fn failures(&self) -> String {
        format!("{}{JOINT}_failures", self.root)
    }

    pub(super) fn failure(&self, consumer: &str, sequence: u64) -> String {
        format!("{}.n.{consumer}.{sequence}", self.root)
    }

    pub(super) fn lease(&self, group: &GroupName, channel: &ChannelName, shard: &str) -> String {
        format!("{}.l.{}.{}.{shard}", self.root, token(group.as_str()), token(channel.as_str()))
    }

    pub(super) fn beats(&self, group: &GroupName, channel: &ChannelName) -> String {
        format!("{}.b.{}.{}", self.root, token(group.as_str()), token(channel.as_str()))
    }

    pub(super) fn durable(&self, channel: &ChannelName, shard: &str) -> String {
        format!("{}.d.{shard}.{}", self.root, segments(channel.as_str()))
    }

    pub(super) fn scheduled(&self, channel: &ChannelName, token: &str) -> String {
        format!("{}.s.{token}.{}", self.root, segments(channel.as_str()))
    }

    pub(super) fn ephemeral(&self, channel: &ChannelName) -> String {
        match channel.as_str().strip_prefix(INBOX) {
            Some(inbox) => format!("{}.i.{}", self.root, token(inbox)),
            None => format!("{}.e.{}", self.root, segments(channel.as_str())),
        }
    }

    /// The subject of all ephemeral channels of a pattern.
    pub(super) fn ephemerals(&self, pattern: &ChannelPattern) -> String {
        match pattern {
            ChannelPattern::All => format!("{}.e.>", self.root),
            ChannelPattern::Family(family) => format!("{}.e.{}.>", self.root, segments(family.as_str())),
            ChannelPattern::Exact(channel) => self.ephemeral(channel),
        }
    }

    /// The ephemeral channel of a subject.
    pub(super) fn channel_of_subject(&self, subject: &str) -> Option<ChannelName> {
        let rest = subject.strip_prefix(&self.root)?;
        if let Some(inbox) = rest.strip_prefix(".i.") {
            return ChannelName::inbox(&inbox.replace('=', ".")).ok();
        }
        let parts: Vec<_> =
            rest.strip_prefix(".e.")?.split('.').map(|part| if part == "=" { "" } else { part }).collect();
        ChannelName::parse(&parts.join(".")).ok()
    }
}

/// The consumer of a group, or of one shard of it.
pub(super) fn consumer(group: &GroupName, shard: Option<u16>) -> String {
    match shard {
        Some(shard) => format!("{}{JOINT}{shard}", token(group.as_str())),
        None => token(group.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(text: &str) -> ChannelName {
        ChannelName::parse_internal(text).unwrap()
    }

    #[test]
    fn channels_come_back_from_streams_and_subjects() {
        for prefix in [None, Some("shop"), Some("shop.eu")] {
            let names = Names::new(prefix);
            for text in ["a", "a.b", "a..b", "a.", "A-b_c.d", "_dlq.g.a.b"] {
                let stream = names.stream(&channel(text));
                assert!(!stream.contains(['.', '*', '>', ' ', '/']), "{stream}");
                assert_eq!(names.channel_of_stream(&stream), Some(channel(text)));
            }
            for text in ["a", "a.b", "a..b", "a.", "_inbox.x-1"] {
                let subject = names.ephemeral(&channel(text));
                assert!(subject.split('.').all(|part| !part.is_empty()), "{subject}");
                assert_eq!(names.channel_of_subject(&subject), Some(channel(text)), "{subject}");
            }
            assert_eq!(names.channel_of_stream(&names.leases()), None);
        }
    }

    #[test]
    fn prefixes_share_nothing() {
        let (one, two) = (Names::new(Some("a")), Names::new(Some("a.e")));
        let subject = two.ephemeral(&channel("x"));
        assert_eq!(one.channel_of_subject(&subject), None);
        assert_eq!(one.channel_of_stream(&two.stream(&channel("x"))), None);
        assert!(!subject.starts_with("a.e."));
    }
}
