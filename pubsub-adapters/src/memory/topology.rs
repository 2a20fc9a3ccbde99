//! Declaring channels and groups.

use pubsub_core::{
    ChannelPolicy, Durability, Error, ErrorKind, Result,
    driver::{ChannelSpec, Difference, Topology, TopologyMode, TopologyReport},
};

use super::bus::Bus;

/// Compares and mends.
pub(super) fn ensure(bus: &Bus, topology: &Topology) -> Result<TopologyReport> {
    let mut report = TopologyReport::default();
    for spec in &topology.channels {
        spec.policy.check()?;
        if spec.policy.durability == Durability::Ephemeral && !spec.groups.is_empty() {
            let error = Error::new(ErrorKind::Unsupported, "ensure topology", "an ephemeral channel has no groups");
            return Err(error.on(&spec.channel));
        }
        ensure_channel(bus, topology.mode, spec, &mut report)?;
    }
    report.into_result()
}

fn ensure_channel(bus: &Bus, mode: TopologyMode, spec: &ChannelSpec, report: &mut TopologyReport) -> Result<()> {
    let create = mode != TopologyMode::Validate;
    let channel = match bus.find(&spec.channel) {
        Some(channel) => channel,
        None if create => {
            report.push(Difference::new(&spec.channel, "channel", "declared", "missing").mended());
            bus.create(&spec.channel, spec.policy.clone())?
        }
        None => {
            report.push(Difference::new(&spec.channel, "channel", "declared", "missing"));
            return Ok(());
        }
    };
    let found = channel.lock().policy.clone();
    let declared_before = channel.lock().declared;
    let differences = compare(&spec.policy, &found);
    // A channel that somebody merely used has the default policy, which nobody asked for. Only its order cannot change
    // once it has groups.
    let free = !declared_before && create;
    let mut mended = true;
    for (field, declared, found) in differences {
        let fixed = field == "ordering" && !channel.lock().groups.is_empty();
        let may = !fixed && (free || mode == TopologyMode::Update);
        mended &= may;
        let difference = Difference::new(&spec.channel, field, declared, found);
        report.push(if may { difference.mended() } else { difference });
    }
    if mended && create {
        channel.set_policy(spec.policy.clone());
        channel.lock().declared = true;
    }
    for (group, start) in &spec.groups {
        let exists = channel.has_group(group);
        if exists {
            continue;
        }
        let difference = Difference::new(&spec.channel, format!("group:{group}"), "declared", "missing");
        if create {
            let base = channel.resolve(&channel.lock(), start, false)?;
            channel.group(group, base);
            report.push(difference.mended());
        } else {
            report.push(difference);
        }
    }
    Ok(())
}

/// The fields that the adapter keeps, and in which the two policies differ.
fn compare(declared: &ChannelPolicy, found: &ChannelPolicy) -> Vec<(&'static str, String, String)> {
    let mut differences = Vec::new();
    let mut field = |name, a: String, b: String| {
        if a != b {
            differences.push((name, a, b));
        }
    };
    field("durability", format!("{:?}", declared.durability), format!("{:?}", found.durability));
    field("ordering", format!("{:?}", declared.ordering), format!("{:?}", found.ordering));
    field("retention", format!("{:?}", declared.retention), format!("{:?}", found.retention));
    field("dedup_window", format!("{:?}", declared.dedup_window), format!("{:?}", found.dedup_window));
    field("ttl", format!("{:?}", declared.ttl), format!("{:?}", found.ttl));
    differences
}
