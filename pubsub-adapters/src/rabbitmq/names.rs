//! What everything on the broker is called.
//!
//! Every name begins with the deployment's prefix and a slash, which no prefix, channel or group can hold: two
//! deployments never meet, not even through wildcards, for each has exchanges of its own.

use lapin::types::ShortString;
use pubsub_core::{ChannelName, ChannelPattern, GroupName, Message, Ordering};

/// The longest name on the broker, in bytes; longer ones keep their start and end in a hash.
const LONGEST: usize = 240;
/// How many decimal digits of a delay the ladder has, in units of [`UNIT_MS`].
pub(super) const DIGITS: usize = 8;
/// The ladder's unit.
pub(super) const UNIT_MS: u64 = 10;

/// A short string of the protocol; names and keys of this module always fit.
pub(super) fn short(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::try_new(&text[..end]).unwrap_or_default()
}

/// The names of one deployment.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: Option<&str>) -> Self {
        Self { prefix: prefix.unwrap_or("pubsub").to_owned() }
    }

    fn name(&self, rest: &str) -> String {
        let name = format!("{}/{rest}", self.prefix);
        if name.len() <= LONGEST {
            return name;
        }
        let hash = hash(&name);
        let mut end = LONGEST - 33;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}~{hash}", &name[..end])
    }

    /// The exchange of durable channels, to which queues are bound.
    pub(super) fn events(&self) -> String {
        self.name("events")
    }

    /// The exchange of the library's own durable channels, which no wildcard of users takes.
    pub(super) fn internal(&self) -> String {
        self.name("internal")
    }

    /// The exchange of ephemeral channels.
    pub(super) fn live(&self) -> String {
        self.name("live")
    }

    /// The exchange behind the ladder of delays, to which queues are bound.
    pub(super) fn later(&self) -> String {
        self.name("later")
    }

    /// The way into an exchange, for publishers: it is there only if the exchange has all its bindings.
    pub(super) fn gate(&self, exchange: &str) -> String {
        let own = exchange.strip_prefix(self.prefix.as_str()).and_then(|rest| rest.strip_prefix('/'));
        self.name(&format!("gate/{}", own.unwrap_or(exchange)))
    }

    /// The stream that says what is bound to exchanges.
    pub(super) fn registry(&self) -> String {
        self.name("registry")
    }

    /// Where events go whose group or channel was deleted while they waited in the ladder.
    pub(super) fn unrouted(&self) -> String {
        self.name("unrouted")
    }

    /// The exchange of one level of the ladder.
    pub(super) fn level(&self, level: usize) -> String {
        self.name(&format!("delay/{level}"))
    }

    /// The queue of one digit of one level, which holds events for `digit` units of the level.
    pub(super) fn rung(&self, level: usize, digit: u8) -> String {
        self.name(&format!("delay/{level}/{digit}"))
    }

    /// The exchange to which the queues of a durable channel are bound.
    pub(super) fn exchange(&self, channel: &ChannelName) -> String {
        if channel.is_internal() { self.internal() } else { self.events() }
    }

    /// The exchange that stands for a channel and carries its unchangeable policy.
    pub(super) fn channel(&self, channel: &ChannelName) -> String {
        self.name(&format!("channel/{channel}"))
    }

    /// The stream that keeps a channel's history.
    pub(super) fn stream(&self, channel: &ChannelName) -> String {
        self.name(&format!("stream/{channel}"))
    }

    /// The exchange that tells one life of a channel's stream from another.
    pub(super) fn born(&self, channel: &ChannelName) -> String {
        self.name(&format!("born/{channel}"))
    }

    /// A queue of a group.
    pub(super) fn queue(&self, group: &GroupName, scope: &str, shard: &str) -> String {
        self.name(&format!("group/{group}/{scope}/{shard}"))
    }

    /// What a fresh group reads before its queue.
    pub(super) fn backlog(&self, group: &GroupName, scope: &str, shard: &str) -> String {
        self.name(&format!("backlog/{group}/{scope}/{shard}"))
    }

    /// The exchange that says that a group is complete.
    pub(super) fn ready(&self, group: &GroupName, scope: &str) -> String {
        self.name(&format!("ready/{group}/{scope}"))
    }

    /// The queue whose only consumer may create or delete a group.
    pub(super) fn lock(&self, group: &GroupName, scope: &str) -> String {
        self.name(&format!("lock/{group}/{scope}"))
    }

    /// The queue that counts the members of an ordered group.
    pub(super) fn members(&self, group: &GroupName, scope: &str) -> String {
        self.name(&format!("members/{group}/{scope}"))
    }

    /// The queue of one wildcard broadcast.
    pub(super) fn reader(&self, token: &str) -> String {
        self.name(&format!("reader/{token}"))
    }

    /// The queue behind the address of an inbox.
    pub(super) fn inbox(&self, address: &ChannelName) -> String {
        self.name(&format!("inbox/{address}"))
    }
}

/// The part of a channel that events without a shard are in.
pub(super) const WHOLE: &str = "-";

/// The shards of a channel of this order.
pub(super) fn shards(ordering: Ordering) -> Vec<String> {
    match ordering {
        Ordering::PerKey { shards } => (0..shards.max(1)).map(|shard| shard.to_string()).collect(),
        Ordering::Total => vec!["0".to_owned()],
        _ => vec![WHOLE.to_owned()],
    }
}

/// The shard of an event.
pub(super) fn shard_of(message: &Message, ordering: Ordering) -> String {
    match ordering {
        Ordering::PerKey { shards } => {
            let hash = match message.key() {
                Some(key) => key.stable_hash(),
                // Without a key there is no order to keep, so that these may go anywhere.
                None => fnv(message.id().to_string().as_bytes(), 0xcbf2_9ce4_8422_2325),
            };
            (hash % u64::from(shards.max(1))).to_string()
        }
        Ordering::Total => "0".to_owned(),
        _ => WHOLE.to_owned(),
    }
}

/// The routing key of an event.
pub(super) fn routing_key(shard: &str, channel: &ChannelName) -> String {
    format!("{shard}.{channel}")
}

/// What a pattern of channels binds, in all shards.
pub(super) fn binding_key(pattern: &ChannelPattern) -> String {
    match pattern {
        ChannelPattern::All => "#".to_owned(),
        // One word or more: `#` alone would also take the family's own name.
        ChannelPattern::Family(family) => format!("*.{family}.*.#"),
        ChannelPattern::Exact(channel) => format!("*.{channel}"),
    }
}

/// What stands between the digits of a delay and the key of an event.
const SCHEDULED: &str = "c.";

/// The same at the end of the ladder, where the digits of the delay stand before.
pub(super) fn later_key(key: &str) -> String {
    format!("{}{SCHEDULED}{key}", "*.".repeat(DIGITS))
}

/// What binds one queue of a group at the end of the ladder.
pub(super) fn later_queue_key(queue: &str, token: &str) -> String {
    format!("{}{}", "*.".repeat(DIGITS), queue_key(queue, token))
}

/// The routing key of an event that goes through the ladder.
pub(super) fn scheduled_key(digits: &str, key: &str) -> String {
    format!("{digits}{SCHEDULED}{key}")
}

/// The channel that a routing key tells: what stands behind the shard.
pub(super) fn channel_of(key: &str) -> Option<ChannelName> {
    ChannelName::parse_internal(event_key(key)?.1).ok()
}

/// The shard that a routing key tells.
pub(super) fn shard_in(key: &str) -> Option<&str> {
    event_key(key).map(|(shard, _)| shard)
}

/// Shard and channel, whether or not the ladder's words stand before.
fn event_key(key: &str) -> Option<(&str, &str)> {
    let is_digit = |word: &str| word.len() == 1 && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut rest = key;
    if key.split('.').count() > DIGITS && key.split('.').take(DIGITS).all(is_digit) {
        let behind = key.splitn(DIGITS + 1, '.').last()?;
        rest = behind.strip_prefix(SCHEDULED).unwrap_or(key);
    }
    rest.split_once('.')
}

/// The routing key that reaches one queue of a group at the end of the ladder; the token tells the group from others that
/// had its name before.
pub(super) fn queue_key(queue: &str, token: &str) -> String {
    format!("q.{}", hash(&format!("{queue} {token}")))
}

/// Digits of a delay, highest first, and the highest level that is not zero.
pub(super) fn digits(units: u64) -> (String, Option<usize>) {
    let units = units.min(10_u64.pow(DIGITS as u32) - 1);
    let text = format!("{units:0DIGITS$}");
    let highest = text.bytes().position(|digit| digit != b'0').map(|position| DIGITS - 1 - position);
    let dotted = text.chars().map(|digit| format!("{digit}.")).collect();
    (dotted, highest)
}

fn fnv(bytes: &[u8], seed: u64) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The same in every process and every version: two FNV-1a hashes of different seeds, in hexadecimal digits.
pub(super) fn hash(text: &str) -> String {
    format!("{:016x}{:016x}", fnv(text.as_bytes(), 0xcbf2_9ce4_8422_2325), fnv(text.as_bytes(), 0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_protocol_and_apart() {
        let names = Names::new(Some(&"p".repeat(64)));
        let group = GroupName::parse(&"g".repeat(64)).unwrap();
        let channels = ["a", "b"].map(|end| ChannelName::parse(&format!("{}{end}", "c".repeat(127))).unwrap());
        let queues = channels.map(|channel| names.queue(&group, channel.dead_letter(&group).as_str(), "0"));
        assert!(queues.iter().all(|queue| queue.len() <= 255), "{queues:?}");
        assert_ne!(queues[0], queues[1]);
    }

    #[test]
    fn a_delay_is_written_in_digits() {
        assert_eq!(digits(0), ("0.0.0.0.0.0.0.0.".to_owned(), None));
        assert_eq!(digits(205), ("0.0.0.0.0.2.0.5.".to_owned(), Some(2)));
        assert_eq!(digits(u64::MAX).1, Some(7));
    }

    #[test]
    fn a_key_tells_its_channel() {
        let channel = |key: &str| channel_of(key).map(|channel| channel.to_string());
        assert_eq!(channel("-.shop.eu").as_deref(), Some("shop.eu"));
        assert_eq!(channel("3.1.2.3.4.5.6.7.8.9.c.x").as_deref(), Some("1.2.3.4.5.6.7.8.9.c.x"));
        assert_eq!(channel(&scheduled_key(&digits(17).0, "3.shop.eu")).as_deref(), Some("shop.eu"));
        assert_eq!(channel("queue"), None);
    }

    #[test]
    fn families_take_one_segment_or_more() {
        let key = |text: &str| binding_key(&ChannelPattern::parse(text).unwrap());
        assert_eq!((key("*"), key("a.*"), key("a.b")), ("#".into(), "*.a.*.#".into(), "*.a.b".into()));
    }
}
