//! Which channels clients may reach, and what for. What no policy names does not exist for them.

use std::fmt;

use pubsub_core::{ChannelName, ChannelPattern, ChannelPolicy, Error, ErrorKind, Result};

use crate::User;

/// What a caller wants of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Subscribe, read history, see the channel.
    Read,
    /// Send an event, which runs its action.
    Write,
    /// Publish an event as it is.
    Publish,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Publish => "publish",
        })
    }
}

/// Who may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Nobody.
    Nobody,
    /// Everybody, without a name, too.
    Public,
    /// Users with every one of these scopes among their roles.
    Scopes(Vec<String>),
}

impl Access {
    /// Users with this scope.
    pub fn scope(scope: impl Into<String>) -> Self {
        Self::Scopes(vec![scope.into()])
    }

    pub(crate) fn admits(&self, user: Option<&User>) -> bool {
        match self {
            Self::Nobody => false,
            Self::Public => true,
            Self::Scopes(scopes) => user.is_some_and(|user| scopes.iter().all(|scope| user.has_role(scope))),
        }
    }

    /// What the channel's own policy says, or else this.
    fn of_scopes(scopes: &[String], otherwise: Self) -> Self {
        if scopes.is_empty() { otherwise } else { Self::Scopes(scopes.to_vec()) }
    }
}

/// How clients may use a channel, or a family of channels. Ordering, history and sizes are those of the bus's own
/// [`ChannelPolicy`]; this adds what matters at the web edge.
#[derive(Clone, Debug)]
pub struct WebPolicy {
    pub(crate) pattern: String,
    pub(crate) family: Option<String>,
    pub(crate) description: Option<String>,
    read: Option<Access>,
    write: Option<Access>,
    publish: Option<Access>,
    max_subscribers: Option<u32>,
    pub(crate) max_event_size: Option<usize>,
}

impl WebPolicy {
    /// Exposes a channel by name, or all of `family.*`. Who may do what is taken from the scopes of the bus's channel
    /// policy; where it has none, everybody may read and write, and nobody may publish.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            family: None,
            description: None,
            read: None,
            write: None,
            publish: None,
            max_subscribers: None,
            max_event_size: None,
        }
    }

    /// As [`WebPolicy::new`]; everybody may do everything.
    pub fn public(pattern: impl Into<String>) -> Self {
        Self::new(pattern).read(Access::Public).write(Access::Public).publish(Access::Public)
    }

    /// Sets who may read.
    #[must_use]
    pub fn read(mut self, access: Access) -> Self {
        self.read = Some(access);
        self
    }

    /// Sets who may send events.
    #[must_use]
    pub fn write(mut self, access: Access) -> Self {
        self.write = Some(access);
        self
    }

    /// Sets who may publish.
    #[must_use]
    pub fn publish(mut self, access: Access) -> Self {
        self.publish = Some(access);
        self
    }

    /// Sets the family under which the channel is listed.
    #[must_use]
    pub fn family(mut self, family: impl Into<String>) -> Self {
        self.family = Some(family.into());
        self
    }

    /// Sets the sentence that explains the channel.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets how many clients may be subscribed to each channel at one node.
    #[must_use]
    pub fn max_subscribers(mut self, clients: u32) -> Self {
        self.max_subscribers = Some(clients);
        self
    }

    /// Sets the largest payload, in bytes of its JSON text.
    #[must_use]
    pub fn max_event_size(mut self, bytes: usize) -> Self {
        self.max_event_size = Some(bytes);
        self
    }

    pub(crate) fn access(&self, operation: Operation, channel: &ChannelPolicy) -> Access {
        let (own, scopes, otherwise) = match operation {
            Operation::Read => (&self.read, &channel.read_scopes, Access::Public),
            Operation::Write => (&self.write, &channel.write_scopes, Access::Public),
            Operation::Publish => (&self.publish, &channel.publish_scopes, Access::Nobody),
        };
        own.clone().unwrap_or_else(|| Access::of_scopes(scopes, otherwise))
    }

    pub(crate) fn subscribers(&self, channel: &ChannelPolicy) -> Option<u32> {
        self.max_subscribers.or(channel.max_subscribers)
    }
}

/// The policies of a server: exact names win over families, longer families over shorter ones.
#[derive(Debug, Default)]
pub(crate) struct WebPolicies {
    rules: Vec<(ChannelPattern, WebPolicy)>,
}

impl WebPolicies {
    /// Reads the patterns.
    ///
    /// # Errors
    /// `Invalid` for a bad pattern, `*` among them; `Conflict` if a pattern has a policy already.
    pub(crate) fn new(policies: Vec<WebPolicy>) -> Result<Self> {
        let mut rules: Vec<(ChannelPattern, WebPolicy)> = Vec::with_capacity(policies.len());
        for policy in policies {
            let pattern = ChannelPattern::parse(&policy.pattern)?;
            if pattern == ChannelPattern::All {
                let text = "name channels or families: a policy for `*` would expose every channel of the bus";
                return Err(Error::new(ErrorKind::Invalid, "build server", text));
            }
            if rules.iter().any(|(known, _)| *known == pattern) {
                let text = format!("channel `{pattern}` has a policy already");
                return Err(Error::new(ErrorKind::Conflict, "build server", text));
            }
            rules.push((pattern, policy));
        }
        Ok(Self { rules })
    }

    pub(crate) fn of(&self, channel: &ChannelName) -> Option<&WebPolicy> {
        let weight = |pattern: &ChannelPattern| match pattern {
            ChannelPattern::Family(family) => family.as_str().len(),
            _ => usize::MAX,
        };
        let matching = self.rules.iter().filter(|(pattern, _)| pattern.matches(channel));
        matching.max_by_key(|(pattern, _)| weight(pattern)).map(|(_, policy)| policy)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(ChannelPattern, WebPolicy)> {
        self.rules.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn what_no_policy_names_is_not_there_and_the_longest_pattern_counts() {
        let policies = WebPolicies::new(vec![
            WebPolicy::new("a.*").family("wide"),
            WebPolicy::new("a.b.*").family("narrow"),
            WebPolicy::new("a.b.c").family("exact"),
        ])
        .unwrap();
        let family = |name: &str| policies.of(&channel(name)).and_then(|policy| policy.family.as_deref());
        assert_eq!(family("a.x"), Some("wide"));
        assert_eq!(family("a.b.x"), Some("narrow"));
        assert_eq!(family("a.b.c"), Some("exact"));
        assert_eq!((family("a"), family("b")), (None, None));
    }

    #[test]
    fn nobody_publishes_unless_told() {
        let (policy, core) = (WebPolicy::new("a"), ChannelPolicy::default());
        assert!(policy.access(Operation::Read, &core).admits(None));
        assert!(!policy.access(Operation::Publish, &core).admits(Some(&User::new("u", ["publish"]))));
        let mut scoped = core;
        scoped.read_scopes = vec!["reader".into(), "vip".into()];
        let access = policy.access(Operation::Read, &scoped);
        assert!(!access.admits(Some(&User::new("u", ["reader"]))), "all scopes are needed");
        assert!(access.admits(Some(&User::new("u", ["vip", "reader"]))) && !access.admits(None));
    }

    #[test]
    fn a_policy_for_everything_is_refused() {
        assert_eq!(WebPolicies::new(vec![WebPolicy::public("*")]).unwrap_err().kind(), ErrorKind::Invalid);
        let twice = vec![WebPolicy::new("a"), WebPolicy::new("a")];
        assert_eq!(WebPolicies::new(twice).unwrap_err().kind(), ErrorKind::Conflict);
    }
}
