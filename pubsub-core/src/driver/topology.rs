//! Topology: which channels and groups a deployment expects on its broker.

use std::fmt;

use crate::{ChannelName, ChannelPolicy, Error, ErrorKind, GroupName, Result, StartPosition};

/// What `ensure` may do about differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopologyMode {
    /// Only look; a missing or different channel is an error.
    Validate,
    /// Create what is missing; a different one is an error.
    #[default]
    Create,
    /// Create what is missing and change what may be changed without a loss.
    Update,
}

/// One channel and its groups.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelSpec {
    /// The channel.
    pub channel: ChannelName,
    /// What it promises.
    pub policy: ChannelPolicy,
    /// Its groups and where a fresh one starts.
    pub groups: Vec<(GroupName, StartPosition)>,
}

impl ChannelSpec {
    /// A channel without groups.
    pub fn new(channel: ChannelName, policy: ChannelPolicy) -> Self {
        Self { channel, policy, groups: Vec::new() }
    }

    /// Adds a group.
    #[must_use]
    pub fn group(mut self, group: GroupName, start: StartPosition) -> Self {
        self.groups.push((group, start));
        self
    }
}

/// What should exist.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Topology {
    /// What may be done about differences.
    pub mode: TopologyMode,
    /// The channels.
    pub channels: Vec<ChannelSpec>,
}

impl Topology {
    /// An empty topology.
    pub fn new(mode: TopologyMode) -> Self {
        Self { mode, channels: Vec::new() }
    }

    /// Adds a channel.
    #[must_use]
    pub fn channel(mut self, spec: ChannelSpec) -> Self {
        self.channels.push(spec);
        self
    }
}

/// One thing that is not as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The channel.
    pub channel: ChannelName,
    /// What differs: `channel`, `group:<name>`, or a field of the policy.
    pub field: String,
    /// What was declared.
    pub declared: String,
    /// What was found.
    pub found: String,
    /// Whether `ensure` has put it right.
    pub mended: bool,
}

impl Difference {
    /// A difference that was found.
    pub fn new(
        channel: &ChannelName,
        field: impl Into<String>,
        declared: impl fmt::Debug,
        found: impl fmt::Debug,
    ) -> Self {
        Self {
            channel: channel.clone(),
            field: field.into(),
            declared: format!("{declared:?}"),
            found: format!("{found:?}"),
            mended: false,
        }
    }

    /// Marks it as put right.
    #[must_use]
    pub fn mended(mut self) -> Self {
        self.mended = true;
        self
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel `{}`: {} is {}, declared {}", self.channel, self.field, self.found, self.declared)
    }
}

/// What `ensure` found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopologyReport {
    /// Everything that was not as declared.
    pub differences: Vec<Difference>,
}

impl TopologyReport {
    /// Adds a difference.
    pub fn push(&mut self, difference: Difference) {
        self.differences.push(difference);
    }

    /// The report, if nothing is left that was not put right.
    ///
    /// # Errors
    /// `TopologyMismatch` that lists what is left; `NotFound` if all that is left are missing channels.
    pub fn into_result(self) -> Result<Self> {
        let left: Vec<_> = self.differences.iter().filter(|difference| !difference.mended).collect();
        let Some(first) = left.first() else { return Ok(self) };
        let channel = first.channel.clone();
        let message = left.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let missing = left.iter().all(|difference| difference.field == "channel");
        let kind = if missing { ErrorKind::NotFound } else { ErrorKind::TopologyMismatch };
        Err(Error::new(kind, "ensure topology", message).on(&channel))
    }
}
