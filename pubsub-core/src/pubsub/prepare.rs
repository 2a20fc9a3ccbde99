//! Events that were checked to be published later.

use std::{sync::Arc, time::Duration};

use super::{PubSub, publish::Draft, registry};
use crate::{Error, ErrorKind, Message, Ordering, Result, Timestamp, driver::ChannelSpec, observe::Hop};

/// An event that passed every check of a publish, and was not sent. [`Publish::prepare`](super::Publish::prepare) makes it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Prepared {
    /// The event.
    pub message: Arc<Message>,
    /// Not to be delivered before this time.
    pub deliver_at: Option<Timestamp>,
    /// Not to be delivered once this much time has passed since the broker got it.
    pub ttl: Option<Duration>,
    /// Which order the channel keeps.
    pub ordering: Ordering,
}

impl Prepared {
    /// The name of what keeps its order together with this event: the channel, one key of it, or nothing. An event for
    /// later is in no order: its time decides.
    pub fn lane(&self) -> Option<String> {
        let (channel, key) = (self.message.channel(), self.message.key());
        match (self.ordering, key) {
            _ if self.deliver_at.is_some() => None,
            (Ordering::Total, _) => Some(channel.to_string()),
            // A channel's name has no blank.
            (Ordering::PerKey { .. }, Some(key)) => Some(format!("{channel} {}", key.as_str())),
            _ => None,
        }
    }
}

pub(super) fn prepare(bus: &PubSub, mut draft: Draft) -> Result<Prepared> {
    bus.open("prepare event")?;
    // Whoever publishes it later goes on from here.
    let _hop = Hop::create(&bus.inner.observer, &mut draft.message);
    draft.check(bus)?;
    let Draft { message, channel, options, .. } = draft;
    let capabilities = bus.capabilities();
    registry::check_policy(&ChannelSpec::new(channel.name.clone(), channel.policy.clone()), &capabilities)?;
    let size = message.wire_len();
    if let Some(limit) = capabilities.limits.max_payload
        && size > limit
    {
        let text = format!("the event has {size} bytes, the adapter takes {limit}");
        return Err(Error::new(ErrorKind::TooLarge, "prepare event", text).on(&channel.name));
    }
    let ttl = options.ttl.or(channel.policy.ttl);
    Ok(Prepared { message, deliver_at: options.deliver_at, ttl, ordering: channel.policy.ordering })
}
