//! What exists, held against what is declared.

use std::collections::BTreeMap;

use pubsub_core::{
    ChannelName, Durability, Ordering, Result,
    driver::{ChannelSpec, Difference, TopologyMode, TopologyReport},
};
use rdkafka::{
    admin::{AlterConfig, NewPartitions, ResourceSpecifier},
    consumer::Consumer,
    error::KafkaError,
};

use super::{
    Topic, patience,
    settings::{BIRTH, Entries, Settings, Traits, with_traits},
};
use crate::kafka::{
    connection::{ANSWER, Link},
    error::error,
};

/// How a setting has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Same,
    /// More is as good.
    AtLeast,
}

/// Settings that are held against what exists where they are declared, and what their differences are called.
const COMPARED: &[(&str, &str, Rule)] = &[
    ("retention.ms", "retention.age", Rule::Same),
    ("retention.bytes", "retention.bytes", Rule::Same),
    ("cleanup.policy", "cleanup.policy", Rule::Same),
    ("min.insync.replicas", "min.insync.replicas", Rule::AtLeast),
];

/// A setting that is not as declared.
struct Differing<'a> {
    field: &'static str,
    wanted: &'a str,
    found: Option<&'a str>,
}

impl Rule {
    fn holds(self, wanted: &str, found: Option<&str>) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        match (self, found) {
            (_, None) => false,
            (Self::Same, Some(found)) => found == wanted,
            (Self::AtLeast, Some(found)) => number(found) >= number(wanted),
        }
    }
}

fn differing<'a>(wanted: &'a Settings, found: &'a Entries) -> Vec<Differing<'a>> {
    let one = |(key, field, rule): &(&'static str, &'static str, Rule)| {
        let (wanted, found) = (wanted.entries.get(key)?, found.get(*key).map(|entry| entry.value.as_str()));
        (!rule.holds(wanted, found)).then_some(Differing { field, wanted, found })
    };
    COMPARED.iter().filter_map(one).collect()
}

/// All that a channel's settings are to be. The broker replaces them as a whole, so what an operator has set stays only
/// if it is sent along: everything that is the topic's own and that nothing here is about.
fn changed(wanted: &Settings, found: &Entries, traits: Traits) -> BTreeMap<String, String> {
    let own = found.iter().filter(|(_, entry)| entry.own);
    let mut all: BTreeMap<_, _> = own.map(|(key, entry)| (key.clone(), entry.value.clone())).collect();
    for (key, value) in &wanted.entries {
        let rule = COMPARED.iter().find(|(compared, ..)| compared == key).map_or(Rule::Same, |(_, _, rule)| *rule);
        if !rule.holds(value, all.get(*key).map(String::as_str)) {
            all.insert((*key).to_owned(), value.clone());
        }
    }
    if let Some(mark) = all.get_mut(BIRTH) {
        *mark = with_traits(mark, traits);
    }
    all
}

impl Link {
    /// Compares a channel that exists with what is declared, and mends what the mode allows.
    pub(super) async fn compare(
        &self,
        mode: TopologyMode,
        spec: &ChannelSpec,
        topic: &Topic,
        report: &mut TopologyReport,
    ) -> Result<()> {
        let channel = &spec.channel;
        let mends = mode == TopologyMode::Update;
        let mut push = |difference: Difference, mended: bool| {
            report.push(if mended { difference.mended() } else { difference });
        };
        let wanted = Settings::of(&spec.policy, channel, self.options.partitions, self.options.replication);
        let mut all = self.settings(&[&topic.name]).await?;
        let found = all.remove(&*topic.name).unwrap_or_default();
        let (declared, before) = (Traits::of(&spec.policy), Traits::read(&found));
        let ordering = spec.policy.ordering;
        // Keys would move to other partitions, and their order with them.
        let resharded = ordering != Ordering::None && topic.partitions != wanted.partitions;
        if resharded || before.is_some_and(|before| before.ordering != declared.ordering) {
            let found = match before {
                Some(before) => format!("{:?}", before.ordering(topic.partitions)),
                None => format!("{} partitions", topic.partitions),
            };
            push(Difference::new(channel, "ordering", ordering, format_args!("{found}")), mends && !resharded);
        }
        if ordering == Ordering::None && topic.partitions < wanted.partitions {
            if mends {
                self.grow(topic, wanted.partitions).await.map_err(|error| error.on(channel))?;
                self.find(channel).await?;
            }
            push(Difference::new(channel, "partitions", wanted.partitions, topic.partitions), mends);
        }
        if let Some(copies) = self.options.replication.map(usize::from) {
            let found = self.copies(topic).await.map_err(|error| error.on(channel))?;
            if found.is_some_and(|found| found != copies) {
                // Which nodes take them is for whoever runs the cluster to say.
                push(Difference::new(channel, "replication", copies, found.unwrap_or_default()), false);
            }
        }
        if before.is_some_and(|before| before.ephemeral != declared.ephemeral) {
            let found = if declared.ephemeral { Durability::Durable } else { Durability::Ephemeral };
            push(Difference::new(channel, "durability", spec.policy.durability, found), mends);
        }
        let differing = differing(&wanted, &found);
        let traits = if resharded { before.unwrap_or(declared) } else { declared };
        if mends && (!differing.is_empty() || before.is_some_and(|before| before != traits)) {
            self.alter(channel, topic, &changed(&wanted, &found, traits)).await?;
        }
        for Differing { field, wanted, found } in differing {
            push(Difference::new(channel, field, wanted, found.unwrap_or_default()), mends);
        }
        Ok(())
    }

    /// How many nodes keep a copy of the partition that has the fewest.
    async fn copies(&self, topic: &Topic) -> Result<Option<usize>> {
        let name = topic.name.clone();
        let asked = self.ask("ensure topology", move |explorer| {
            let answer =
                explorer.fetch_metadata(Some(&name), ANSWER).map_err(|cause| error("ensure topology", cause))?;
            let partitions = answer.topics().iter().flat_map(|topic| topic.partitions());
            Ok(partitions.map(|partition| partition.replicas().len()).min())
        });
        asked.await
    }

    async fn grow(&self, topic: &Topic, partitions: i32) -> Result<()> {
        let patience = patience();
        let grown = NewPartitions::new(&topic.name, partitions.unsigned_abs() as usize);
        let answer = self.admin().create_partitions([&grown], &patience).await;
        match answer.map_err(|cause| error("ensure topology", cause))?.into_iter().next() {
            Some(Err((_, code))) => Err(error("ensure topology", KafkaError::AdminOp(code))),
            _ => Ok(()),
        }
    }

    async fn alter(&self, channel: &ChannelName, topic: &Topic, all: &BTreeMap<String, String>) -> Result<()> {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(&topic.name));
        for (key, value) in all {
            change = change.set(key, value);
        }
        let patience = patience();
        let answer = self.admin().alter_configs([&change], &patience).await;
        match answer.map_err(|cause| error("ensure topology", cause).on(channel))?.into_iter().next() {
            Some(Err((_, code))) => Err(error("ensure topology", KafkaError::AdminOp(code)).on(channel)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pubsub_core::{ChannelPolicy, Retention};

    use super::*;
    use crate::kafka::topology::settings::Entry;

    fn wanted(replication: Option<u16>) -> Settings {
        let policy = ChannelPolicy::new().retention(Retention::default().age(Duration::from_secs(60)));
        Settings::of(&policy, &ChannelName::parse("orders").unwrap(), 1, replication)
    }

    fn found(entries: &[(&str, &str, bool)]) -> Entries {
        let entry = |(key, value, own): &(&str, &str, bool)| {
            ((*key).to_owned(), Entry { value: (*value).to_owned(), own: *own })
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn only_what_is_declared_is_compared() {
        let fields = |replication, entries: &[(&str, &str, bool)]| {
            let (wanted, found) = (wanted(replication), found(entries));
            differing(&wanted, &found).iter().map(|one| one.field).collect::<Vec<_>>()
        };
        let fine = [
            ("cleanup.policy", "delete", false),
            ("retention.ms", "60000", true),
            ("retention.bytes", "-1", false),
            ("min.insync.replicas", "1", false),
        ];
        assert_eq!(fields(None, &fine), [""; 0]);
        assert_eq!(fields(Some(3), &fine), ["min.insync.replicas"]);
        let mut other = fine;
        (other[0].1, other[3].1) = ("compact,delete", "3");
        assert_eq!(fields(Some(3), &other), ["cleanup.policy"]);
    }

    #[test]
    fn what_others_have_set_is_sent_along() {
        let there = found(&[
            ("compression.type", "zstd", true),
            ("max.message.bytes", "5", true),
            ("segment.bytes", "1073741824", false),
            ("min.insync.replicas", "3", true),
            ("retention.ms", "1", true),
            (BIRTH, "9223372036854775800", true),
        ]);
        let traits = Traits::of(&ChannelPolicy::new().totally_ordered());
        let all = changed(&wanted(Some(3)), &there, traits);
        for (key, value) in [
            ("compression.type", Some("zstd")),
            ("max.message.bytes", Some("5")),
            ("segment.bytes", None),
            ("min.insync.replicas", Some("3")),
            ("retention.ms", Some("60000")),
        ] {
            assert_eq!(all.get(key).map(String::as_str), value, "{key}");
        }
        let again = found(&[(BIRTH, &all[BIRTH], true)]);
        assert_eq!(Traits::read(&again), Some(traits));
        assert_eq!(super::super::born_of(&again), super::super::born_of(&there), "its life goes on");
    }
}
