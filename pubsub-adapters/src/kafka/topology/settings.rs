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

/// So many bits of that number tell apart the lives; those above say how the channel was declared.
const LIFE: u32 = 40;

/// A setting of a channel that exists.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: String,
    /// It was set for this channel; otherwise it is the broker's.
    pub(super) own: bool,
}

pub(super) type Entries = BTreeMap<String, Entry>;

/// How a channel was declared, as far as the broker has no setting for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    pub(super) ordering: Kind,
    pub(super) ephemeral: bool,
}

/// An [`Ordering`] without its number of shards, which the broker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    None = 1,
    PerKey = 2,
    Total = 3,
}

impl Traits {
    pub(super) fn of(policy: &ChannelPolicy) -> Self {
        let ordering = match policy.ordering {
            Ordering::None => Kind::None,
            Ordering::PerKey { .. } => Kind::PerKey,
            _ => Kind::Total,
        };
        Self { ordering, ephemeral: policy.durability == Durability::Ephemeral }
    }

    /// As a channel's mark says; `None` for a channel that somebody else has made.
    pub(super) fn read(found: &Entries) -> Option<Self> {
        let bits = mark_of(found) >> LIFE;
        let ordering = match bits & 3 {
            1 => Kind::None,
            2 => Kind::PerKey,
            3 => Kind::Total,
            _ => return None,
        };
        Some(Self { ordering, ephemeral: bits & 4 != 0 })
    }

    pub(super) fn ordering(self, partitions: i32) -> Ordering {
        match self.ordering {
            Kind::None => Ordering::None,
            Kind::PerKey => Ordering::PerKey { shards: u16::try_from(partitions).unwrap_or(u16::MAX) },
            Kind::Total => Ordering::Total,
        }
    }

    fn bits(self) -> u64 {
        (self.ordering as u64 | u64::from(self.ephemeral) << 2) << LIFE
    }
}

fn mark_in(text: &str) -> u64 {
    text.parse::<i64>().map_or(0, |lag| i64::MAX.abs_diff(lag))
}

fn mark_of(found: &Entries) -> u64 {
    found.get(BIRTH).map_or(0, |entry| mark_in(&entry.value))
}

fn written(mark: u64) -> String {
    i64::MAX.saturating_sub_unsigned(mark).to_string()
}

/// The mark of the same life of a channel that is declared otherwise.
pub(super) fn with_traits(mark: &str, traits: Traits) -> String {
    written(mark_in(mark) & ((1 << LIFE) - 1) | traits.bits())
}

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

/// Which life of a channel this is; 0 where it is not known.
pub(super) fn born_of(found: &Entries) -> u64 {
    mark_of(found) & ((1 << LIFE) - 1)
}

/// How a channel is made.
pub(in crate::kafka) struct Settings {
    pub(super) partitions: i32,
    pub(super) entries: BTreeMap<&'static str, String>,
    traits: Traits,
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
        Self { partitions: i32::from(partitions), entries, traits: Traits::of(policy) }
    }

    /// As they are when a channel is made: with the mark of its life.
    pub(super) fn with_birth(&self) -> BTreeMap<&'static str, String> {
        let id = pubsub_core::EventId::random();
        let mut buffer = [0; 36];
        // FNV-1a over a random id: as many bits of it as a life has, and never zero.
        let hash = id
            .encode(&mut buffer)
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let born = (hash >> (64 - LIFE)).max(1);
        let mut entries = self.entries.clone();
        entries.insert(BIRTH, written(born | self.traits.bits()));
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
            let entry = |(key, value): (&str, String)| (key.to_owned(), Entry { value, own: true });
            let found: Entries = entries.into_iter().map(entry).collect();
            assert_eq!(Traits::read(&found), Some(Traits::of(&ChannelPolicy::new())));
            born_of(&found)
        };
        let (one, two) = (born(), born());
        assert!(one != two && one > 0 && two > 0, "{one} {two}");
        assert_eq!((born_of(&Entries::new()), Traits::read(&Entries::new())), (0, None));
    }
}
