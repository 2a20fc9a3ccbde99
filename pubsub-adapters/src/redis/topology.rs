//! Declaring channels and groups.

use std::{collections::HashMap, time::Duration};

use ::redis::{RedisResult, Value, cmd};
use pubsub_core::{
    ChannelName, ChannelPolicy, Durability, Error, ErrorKind, GroupName, Ordering, Result, Retention, StartPosition,
    driver::{ChannelSpec, Difference, Topology, TopologyMode, TopologyReport},
};

use super::{
    channel::{Channel, MAX_SHARDS},
    connection::{Hub, Link},
    error::unexpected,
    history, scripts, wire,
};

/// Compares and mends.
///
/// # Errors
/// As [`Adapter::ensure`](pubsub_core::driver::Adapter::ensure).
pub(super) async fn ensure(hub: &Hub, topology: &Topology) -> Result<TopologyReport> {
    for spec in &topology.channels {
        check(spec)?;
    }
    let mut report = TopologyReport::default();
    for spec in &topology.channels {
        ensure_channel(hub, topology.mode, spec, &mut report).await?;
    }
    report.into_result()
}

fn check(spec: &ChannelSpec) -> Result<()> {
    spec.policy.check()?;
    let refuse =
        |text: &'static str| Err(Error::new(ErrorKind::Unsupported, "ensure topology", text).on(&spec.channel));
    match &spec.policy {
        policy if policy.durability == Durability::Ephemeral && !spec.groups.is_empty() => {
            refuse("an ephemeral channel has no groups")
        }
        ChannelPolicy { retention: Retention { bytes: Some(_), .. }, .. } => {
            refuse("the adapter `redis` does not keep `retention.bytes`: give `retention.count` or `retention.age`")
        }
        ChannelPolicy { ttl: Some(_), .. } => refuse("the adapter `redis` does not offer a time to live per event"),
        ChannelPolicy { ordering: Ordering::PerKey { shards }, .. } if *shards > MAX_SHARDS => {
            refuse("the adapter `redis` takes at most 256 shards per channel")
        }
        _ => Ok(()),
    }
}

async fn ensure_channel(hub: &Hub, mode: TopologyMode, spec: &ChannelSpec, report: &mut TopologyReport) -> Result<()> {
    let create = mode != TopologyMode::Validate;
    let on_channel = |error: Error| error.on(&spec.channel);
    let found = hub.declared_policy("ensure topology", &spec.channel).await?;
    let (policy, exists) = match found {
        Some(found) => (compare(hub, mode, spec, found, report).await?, true),
        None => {
            let difference = Difference::new(&spec.channel, "channel", "declared", "missing");
            report.push(if create { difference.mended() } else { difference });
            let found = if create { declare(hub, spec).await.map_err(on_channel)? } else { None };
            match found {
                // Somebody else was quicker.
                Some(found) => (compare(hub, mode, spec, found, report).await?, true),
                None => (spec.policy.clone(), create),
            }
        }
    };
    if exists {
        // What the server does not know of is this process's own affair: the largest event, the rate.
        let mut ours = policy;
        (ours.max_payload, ours.rate) = (spec.policy.max_payload, spec.policy.rate);
        hub.policies.insert(&spec.channel, &ours);
        let changed = hub.known(&spec.channel).is_none_or(|known| !known.declared || known.policy != ours);
        if changed {
            hub.remember(Channel::new(hub, &spec.channel, ours, true));
        }
        if create && let Some(channel) = hub.known(&spec.channel) {
            for open in openings(&channel) {
                hub.ask("ensure topology", &open).await.map_err(on_channel)?;
            }
        }
    }
    for (group, start) in &spec.groups {
        ensure_group(hub, create, spec, group, start, report).await.map_err(on_channel)?;
    }
    Ok(())
}

async fn declare(hub: &Hub, spec: &ChannelSpec) -> Result<Option<ChannelPolicy>> {
    let mut declare = scripts::DECLARE.call(&[&hub.names.keys(&spec.channel).policy()]);
    for (name, value) in fields(&spec.policy) {
        declare.arg(name).arg(value);
    }
    let answer = hub.ask("ensure topology", &declare).await?;
    Ok(parse(wire::list(answer).unwrap_or_default()))
}

/// The policy that holds in the end.
async fn compare(
    hub: &Hub,
    mode: TopologyMode,
    spec: &ChannelSpec,
    found: ChannelPolicy,
    report: &mut TopologyReport,
) -> Result<ChannelPolicy> {
    let differences: Vec<_> = fields(&spec.policy).into_iter().zip(fields(&found)).filter(|(a, b)| a != b).collect();
    if differences.is_empty() {
        return Ok(found);
    }
    let mut policy = found;
    for ((field, declared), (_, found)) in differences {
        // Events of before lie where the former policy put them.
        let fixed = matches!(field, "durability" | "ordering") && is_used(hub, spec, &policy).await?;
        let may = mode == TopologyMode::Update && !fixed;
        let difference = Difference::new(&spec.channel, field, &declared, &found);
        report.push(if may { difference.mended() } else { difference });
        if may {
            let mut set = cmd("HSET");
            set.arg(hub.names.keys(&spec.channel).policy()).arg(field).arg(&declared);
            hub.ask("ensure topology", &set).await.map_err(|error| error.on(&spec.channel))?;
            match field {
                "durability" => policy.durability = spec.policy.durability,
                "ordering" => policy.ordering = spec.policy.ordering,
                "retention" => policy.retention = spec.policy.retention,
                _ => policy.dedup_window = spec.policy.dedup_window,
            }
        }
    }
    Ok(policy)
}

async fn is_used(hub: &Hub, spec: &ChannelSpec, policy: &ChannelPolicy) -> Result<bool> {
    let channel = Channel::new(hub, &spec.channel, policy.clone(), true);
    for stream in &channel.streams {
        let look = history::look(hub, "ensure topology", stream).await?;
        if look.added > 0 || look.exists && !groups(hub, "ensure topology", stream).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The commands that make the streams of a channel, unless they are there.
fn openings(channel: &Channel) -> Vec<::redis::Cmd> {
    let streams = if channel.live.is_some() { &[][..] } else { &channel.streams };
    streams.iter().map(|stream| scripts::OPEN.call(&[stream])).collect()
}

async fn ensure_group(
    hub: &Hub,
    create: bool,
    spec: &ChannelSpec,
    group: &GroupName,
    start: &StartPosition,
    report: &mut TopologyReport,
) -> Result<()> {
    let difference = Difference::new(&spec.channel, format!("group:{group}"), "declared", "missing");
    let channel = Channel::new(hub, &spec.channel, spec.policy.clone(), true);
    if create {
        if create_group(hub, "ensure topology", &channel, group, start).await? {
            report.push(difference.mended());
        }
    } else if !has_group(hub, &channel, group).await? {
        report.push(difference);
    }
    Ok(())
}

async fn has_group(hub: &Hub, channel: &Channel, group: &GroupName) -> Result<bool> {
    let mut exists = cmd("EXISTS");
    exists.arg(&channel.streams[0]);
    if wire::int(&hub.ask("ensure topology", &exists).await?) != Some(1) {
        return Ok(false);
    }
    let groups = groups(hub, "ensure topology", &channel.streams[0]).await?;
    let named = |item: Value| wire::list(item)?.into_iter().nth(1).and_then(wire::text);
    Ok(groups.into_iter().filter_map(named).any(|name| name.as_ref() == group.as_str().as_bytes()))
}

/// The groups of a stream that exists.
async fn groups(hub: &Hub, operation: &'static str, stream: &str) -> Result<Vec<Value>> {
    let mut info = cmd("XINFO");
    info.arg("GROUPS").arg(stream);
    Ok(wire::list(hub.ask(operation, &info).await?).unwrap_or_default())
}

/// A field of what the server tells as names and values in turn.
fn field<'a>(fields: &'a [Value], name: &str) -> Option<&'a Value> {
    let mut pairs = fields.chunks_exact(2);
    pairs
        .find(|pair| wire::text(pair[0].clone()).is_some_and(|text| text.as_ref() == name.as_bytes()))
        .map(|pair| &pair[1])
}

/// How many entries no member of a group has had yet, over all shards.
pub(super) async fn lag(hub: &Hub, operation: &'static str, channel: &Channel, group: &GroupName) -> Result<u64> {
    let missing = || Error::new(ErrorKind::NotFound, operation, format!("the channel has no group `{group}`"));
    // It has none, and the server would say that there is no such stream.
    if !has_group(hub, channel, group).await? {
        return Err(missing());
    }
    let mut lag = 0;
    for stream in &channel.streams {
        let groups = groups(hub, operation, stream).await?.into_iter().filter_map(wire::list);
        let named = |fields: &Vec<Value>| {
            let name = field(fields, "name").cloned().and_then(wire::text);
            name.is_some_and(|name| name.as_ref() == group.as_str().as_bytes())
        };
        let found = groups.into_iter().find(named).ok_or_else(missing)?;
        // The server does not know it where entries were deleted in the middle of the stream.
        let unknown = || Error::new(ErrorKind::Unsupported, operation, "the server does not know the lag any more");
        let known = field(&found, "lag").and_then(wire::int).and_then(|lag| u64::try_from(lag).ok());
        lag += known.ok_or_else(unknown)?;
    }
    Ok(lag)
}

/// Makes a group on every shard that lacks it. Says whether it is new.
///
/// # Errors
/// `PositionExpired` or `Invalid` for the start position of a group that is new; what the server says.
pub(super) async fn create_group(
    hub: &Hub,
    operation: &'static str,
    channel: &Channel,
    group: &GroupName,
    start: &StartPosition,
) -> Result<bool> {
    let plain = matches!(start, StartPosition::Stored | StartPosition::Earliest | StartPosition::Latest);
    let starts = if !plain && has_group(hub, channel, group).await? {
        vec!["0".to_owned(); channel.streams.len()]
    } else {
        history::starts(hub, operation, channel, start).await?
    };
    let mut new = false;
    for (stream, start) in channel.streams.iter().zip(&starts) {
        let mut create = scripts::CREATE.call(&[stream]);
        create.arg(group.as_str()).arg(start);
        let answer = wire::list(hub.ask(operation, &create).await?).ok_or_else(|| unexpected(operation))?;
        new |= answer.first().and_then(wire::int) == Some(1);
    }
    Ok(new)
}

/// Declares on a server that may have lost it what was declared before.
///
/// # Errors
/// What the server says.
pub(super) async fn declare_again(hub: &Hub, link: &Link) -> RedisResult<()> {
    let mut declarations = Vec::new();
    for (name, policy) in hub.policies.all() {
        declarations.push(declaration(hub, &name, &policy));
        declarations.extend(openings(&Channel::new(hub, &name, policy, true)));
    }
    if !declarations.is_empty() {
        link.commands(declarations).await?;
    }
    Ok(())
}

fn declaration(hub: &Hub, channel: &ChannelName, policy: &ChannelPolicy) -> ::redis::Cmd {
    let mut declare = scripts::DECLARE.call(&[&hub.names.keys(channel).policy()]);
    for (name, value) in fields(policy) {
        declare.arg(name).arg(value);
    }
    declare
}

/// The parts of a policy that the server keeps for all, as text.
fn fields(policy: &ChannelPolicy) -> [(&'static str, String); 4] {
    let ordering = match policy.ordering {
        Ordering::PerKey { shards } => format!("per-key {shards}"),
        Ordering::Total => "total".to_owned(),
        _ => "none".to_owned(),
    };
    let durability = if policy.durability == Durability::Ephemeral { "ephemeral" } else { "durable" };
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let millis = |time: Option<Duration>| number(time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
    let Retention { history, age, count, .. } = policy.retention;
    let retention = format!("history {history} age {} count {}", millis(age), number(count));
    [
        ("durability", durability.to_owned()),
        ("ordering", ordering),
        ("retention", retention),
        ("dedup_window", millis(policy.dedup_window)),
    ]
}

/// A policy from the fields of its hash; `None` if there is none.
pub(super) fn parse(flat: Vec<Value>) -> Option<ChannelPolicy> {
    if flat.is_empty() {
        return None;
    }
    let mut texts = flat.into_iter().map(|value| match value {
        // A hash may come as pairs, too.
        Value::Array(pair) => pair.into_iter().filter_map(text_of).collect(),
        value => text_of(value).into_iter().collect::<Vec<_>>(),
    });
    let flat: Vec<String> = std::iter::from_fn(|| texts.next()).flatten().collect();
    let table: HashMap<&str, &str> = flat.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let mut policy = ChannelPolicy::new();
    if table.get("durability") == Some(&"ephemeral") {
        policy = policy.ephemeral();
    }
    policy = match table.get("ordering").map(|text| text.split_once(' ').unwrap_or((text, ""))) {
        Some(("total", _)) => policy.totally_ordered(),
        Some(("per-key", shards)) => {
            policy.ordered_per_key(shards.parse().ok().filter(|shards| *shards > 0).unwrap_or(1))
        }
        _ => policy,
    };
    if let Some(text) = table.get("retention") {
        let words: Vec<_> = text.split(' ').collect();
        if let ["history", history, "age", age, "count", count] = words[..] {
            policy.retention.history = history == "true";
            policy.retention.age = age.parse().ok().map(Duration::from_millis);
            policy.retention.count = count.parse().ok();
        }
    }
    policy.dedup_window = table.get("dedup_window").and_then(|text| text.parse().ok()).map(Duration::from_millis);
    Some(policy)
}

fn text_of(value: Value) -> Option<String> {
    String::from_utf8(wire::text(value)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_back() {
        let minute = Duration::from_secs(60);
        for policy in [
            ChannelPolicy::new(),
            ChannelPolicy::new().ephemeral(),
            ChannelPolicy::new().totally_ordered().dedup_window(minute),
            ChannelPolicy::new().ordered_per_key(7).retention(Retention::none().age(minute).count(9)),
        ] {
            let flat = fields(&policy).into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
            let flat = flat.map(|text| Value::BulkString(text.into_bytes())).collect();
            assert_eq!(parse(flat), Some(policy));
        }
        assert_eq!(parse(Vec::new()), None);
        assert_eq!(parse(vec![Value::Int(1)]), Some(ChannelPolicy::new()));
    }
}
