//! How a channel is made: its policy as settings of the broker, and the mark of its life.

use std::{collections::BTreeMap, time::Duration};

use pubsub_core::{ChannelName, ChannelPolicy, Durability, Error, ErrorKind, Ordering, Result, driver::ChannelSpec};

/// A number that only compacted topics would heed, and there without a bound: its distance from the largest tells apart
/// the lives of a channel, for the client does not hand out the broker's own ids.
pub(super) const BIRTH: &str = "max.compaction.lag.ms";
/// For how long events of ephemeral channels stay.
const BRIEF: Duration = Duration::from_secs(600);
/// How much of a group's dead letters stays.
const DEAD_LETTERS: u64 = 256 << 20;

/// Settings that are held against what exists, and the fields of a policy that they come from.
pub(super) const COMPARED: &[(&str, &str)] =
    &[("retention.ms", "retention.age"), ("retention.bytes", "retention.bytes")];

/// What the adapter cannot keep.
pub(super) fn check(spec: &ChannelSpec) -> Result<()> {
    let unsupported = |text| Err(Error::new(ErrorKind::Unsupported, "ensure topology", text));
    if spec.policy.durability == Durability::Ephemeral && !spec.groups.is_empty() {
        return unsupported("an ephemeral channel has no groups");
    }
    if spec.policy.retention.count.is_some() && !spec.channel.is_internal() {
        return unsupported("field `retention.count`: Kafka removes events by age and bytes only");
    }
    Ok(())
}

pub(super) fn born_of(settings: &BTreeMap<String, String>) -> u64 {
    let lag = settings.get(BIRTH).and_then(|text| text.parse::<i64>().ok()).unwrap_or(i64::MAX);
    i64::MAX.abs_diff(lag)
}

/// How a channel is made.
pub(in crate::kafka) struct Settings {
    pub(super) partitions: i32,
    pub(super) entries: BTreeMap<&'static str, String>,
}

impl Settings {
    pub(in crate::kafka) fn of(
        policy: &ChannelPolicy,
        channel: &ChannelName,
        unordered: u16,
        replication: Option<u16>,
    ) -> Self {
        let partitions = match policy.ordering {
            Ordering::None if channel.is_internal() => 1,
            Ordering::None => unordered,
            Ordering::PerKey { shards } => shards,
            _ => 1,
        };
        let retention = &policy.retention;
        let brief = policy.durability == Durability::Ephemeral || channel.is_inbox();
        let age = if brief { Some(BRIEF) } else { retention.age };
        let bytes = retention.bytes.or(retention.count.filter(|_| channel.is_dead_letter()).map(|_| DEAD_LETTERS));
        let mut entries = BTreeMap::from([
            ("cleanup.policy", "delete".to_owned()),
            ("message.timestamp.type", "LogAppendTime".to_owned()),
        ]);
        let mut set = |key, value: Option<u64>| {
            entries.insert(key, value.map_or_else(|| "-1".to_owned(), |value| value.to_string()));
        };
        let age = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(i64::MAX as u64));
        let share = bytes.map(|bytes| bytes.div_ceil(u64::from(partitions).max(1)));
        set("retention.ms", age);
        set("retention.bytes", share);
        // What is removed goes in whole segments: small enough for the limit to show.
        if let Some(age) = age {
            set("segment.ms", Some((age / 4).max(1_000)));
        }
        if let Some(share) = share {
            set("segment.bytes", Some((share / 4).clamp(1 << 20, 1 << 30)));
        }
        if replication.is_some_and(|nodes| nodes >= 3) {
            set("min.insync.replicas", Some(2));
        }
        Self { partitions: i32::from(partitions), entries }
    }

    /// As they are when a channel is made: with the mark of its life.
    pub(super) fn with_birth(&self) -> BTreeMap<&'static str, String> {
        let id = pubsub_core::EventId::random();
        let mut buffer = [0; 36];
        // FNV-1a over a random id: 40 bits of it, and never zero.
        let hash = id
            .encode(&mut buffer)
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let born = (hash >> 24).max(1);
        let mut entries = self.entries.clone();
        entries.insert(BIRTH, i64::MAX.saturating_sub_unsigned(born).to_string());
        entries
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::Retention;

    use super::*;

    #[test]
    fn policies_become_settings() {
        let channel = ChannelName::parse("orders").unwrap();
        let of = |policy: ChannelPolicy| Settings::of(&policy, &channel, 3, None);
        let plain = of(ChannelPolicy::new());
        assert_eq!((plain.partitions, plain.entries["retention.ms"].as_str()), (3, "-1"));
        assert_eq!(of(ChannelPolicy::new().ordered_per_key(4)).partitions, 4);
        assert_eq!(of(ChannelPolicy::new().totally_ordered()).partitions, 1);
        let kept =
            of(ChannelPolicy::new().retention(Retention::default().bytes(9_000_000).age(Duration::from_secs(60))));
        assert_eq!(kept.entries["retention.bytes"], "3000000");
        assert_eq!(kept.entries["retention.ms"], "60000");
        assert_eq!(kept.entries["segment.ms"], "15000");
        assert_eq!(of(ChannelPolicy::new().ephemeral()).entries["retention.ms"], "600000");
    }

    #[test]
    fn each_life_has_a_mark_of_its_own() {
        let settings = Settings::of(&ChannelPolicy::new(), &ChannelName::parse("a").unwrap(), 1, None);
        let born = || {
            let entries = settings.with_birth();
            born_of(&entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        };
        let (one, two) = (born(), born());
        assert!(one != two && one > 0 && two > 0, "{one} {two}");
        assert_eq!(born_of(&BTreeMap::new()), 0);
    }
}
