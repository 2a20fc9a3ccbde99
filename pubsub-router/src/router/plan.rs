//! From handlers to subscriptions: one per group and channel. Everything that is wrong is found here, at once.

use std::fmt;

use pubsub_core::{ChannelName, Error, ErrorKind, EventName, GroupName, PubSub, Raw, Result, Subscribe};

use super::{ConsumerOptions, Entry, Kind, group_of};
use crate::{Route, Settle};

/// One subscription to be opened.
pub(crate) struct Plan {
    pub(crate) group: GroupName,
    pub(crate) channel: ChannelName,
    pub(crate) options: ConsumerOptions,
    pub(crate) served: Vec<Served>,
}

/// A handler of a subscription.
pub(crate) struct Served {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) name: EventName,
    pub(crate) settle: Settle,
    pub(crate) route: Route,
    take: fn(Subscribe<Raw>, &str) -> Subscribe<Raw>,
}

impl Plan {
    /// The subscription, to be awaited; the same each time it has to be opened again.
    pub(crate) fn subscribe(&self, bus: &PubSub) -> Subscribe<Raw> {
        let mut subscribe = bus.subscribe_events();
        let mut taken: Vec<&EventName> = Vec::new();
        for served in &self.served {
            if !taken.contains(&&served.name) {
                subscribe = (served.take)(subscribe, self.channel.as_str());
                taken.push(&served.name);
            }
        }
        self.options.apply(subscribe.group(self.group.as_str()))
    }

    /// Adds a handler.
    fn serve(&mut self, entry: &Entry<()>, route: Route) -> Result<()> {
        let name = EventName::parse(entry.event)?;
        if let Some(other) = self.served.iter().find(|served| served.name == name && served.kind.rivals(entry.kind)) {
            // The same registration, included twice.
            if other.id == entry.id {
                return Ok(());
            }
            let (group, channel) = (&self.group, &self.channel);
            let text = format!("group `{group}` has two handlers of `{name}` on `{channel}`: give one another group");
            return Err(Error::new(ErrorKind::Conflict, "build router", text));
        }
        let contradicting = self.options.join(&entry.options);
        if !contradicting.is_empty() {
            let (group, channel) = (&self.group, &self.channel);
            let text = format!(
                "handlers of group `{group}` on `{channel}` share a subscription and contradict each other in {}",
                contradicting.join(", ")
            );
            return Err(Error::new(ErrorKind::Conflict, "build router", text));
        }
        let settle = entry.settle.unwrap_or_default();
        self.served.push(Served { id: entry.id, kind: entry.kind, name, settle, route, take: entry.take });
        Ok(())
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.served.iter().map(|served| served.name.as_str()).collect();
        f.debug_struct("Plan")
            .field("group", &self.group.as_str())
            .field("channel", &self.channel.as_str())
            .field("names", &names)
            .finish_non_exhaustive()
    }
}

pub(super) fn plan(entries: &[Entry<()>], bus: &PubSub, mut problems: Vec<Error>) -> Result<Vec<Plan>> {
    if entries.is_empty() {
        problems.push(Error::new(ErrorKind::Invalid, "build router", "the router has no handlers"));
    }
    let mut plans = Vec::new();
    for entry in entries {
        if let Err(error) = add(&mut plans, entry, bus) {
            problems.push(error);
        }
    }
    match problems.as_slice() {
        [] => Ok(plans),
        [one] => Err(one.clone()),
        [first, ..] => {
            let mut texts: Vec<String> = problems.iter().map(|error| error.message().to_owned()).collect();
            texts.dedup();
            Err(Error::new(first.kind(), "build router", texts.join("; ")))
        }
    }
}

/// One request has one action: two groups would both execute it, and both answer.
fn claim(plans: &[Plan], entry: &Entry<()>) -> Result<()> {
    let on_channel = plans.iter().filter(|plan| plan.channel.as_str() == entry.channel);
    let mut claimed = on_channel.flat_map(|plan| &plan.served);
    let same = |served: &&Served| served.kind == Kind::Action && served.name.as_str() == entry.event;
    match claimed.find(|served| same(served) && served.id != entry.id) {
        None => Ok(()),
        Some(_) => {
            let text = format!("two actions claim the request `{}` on `{}`", entry.event, entry.channel);
            Err(Error::new(ErrorKind::Conflict, "build router", text))
        }
    }
}

fn add(plans: &mut Vec<Plan>, entry: &Entry<()>, bus: &PubSub) -> Result<()> {
    let group = group_of(entry.group.as_deref(), entry.event)?;
    if entry.kind == Kind::Action {
        claim(plans, entry)?;
    }
    let definition = (entry.define)(bus)?;
    let channel = ChannelName::parse(&entry.channel)?;
    entry.options.check()?;
    let mut route = (entry.make)(&(), definition);
    for layer in &entry.layers {
        route = layer(route);
    }
    if let Some(plan) = plans.iter_mut().find(|plan| plan.group == group && plan.channel == channel) {
        return plan.serve(entry, route);
    }
    let mut plan = Plan { group, channel, options: ConsumerOptions::default(), served: Vec::new() };
    plan.serve(entry, route)?;
    plans.push(plan);
    Ok(())
}
