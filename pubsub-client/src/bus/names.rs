//! Names as an event bus takes them: those of the library, and classic ones without a colon.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use pubsub_core::{ChannelName, ChannelPattern, Error, ErrorKind, Event, EventName, NamePattern, PubSub, Result};

/// The channel, and the category, of all events with classic names.
pub const CLASSIC_CHANNEL: &str = "eventbus";

/// What an event name cannot hold, and the escape itself. All beyond ASCII is escaped too: some of it is white space.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'*');

/// Whether a name follows the classic form, `TARGET_CREATED`, rather than the library's `category:event`.
pub(crate) fn is_classic(name: &str) -> bool {
    !name.contains(':') && !name.contains('*')
}

/// The name that an event has on the bus. Classic names are of the category `eventbus`, with everything that the grammar
/// does not take escaped by percent signs.
pub(crate) fn event_name(name: &str) -> Result<EventName> {
    if !is_classic(name) {
        return EventName::parse(name);
    }
    let escaped: Cow<'_, str> = utf8_percent_encode(name, ESCAPED).into();
    EventName::parse(&format!("{CLASSIC_CHANNEL}:{escaped}")).map_err(|cause| {
        let text = "a classic name must not be empty, and must fit into 119 bytes when it is escaped";
        Error::new(ErrorKind::Invalid, "parse event name", text).because(cause)
    })
}

/// The name that its sender gave an event.
pub(crate) fn sent_name(name: &EventName) -> Cow<'_, str> {
    match name.as_str().split_once(':') {
        Some((CLASSIC_CHANNEL, classic)) => percent_decode_str(classic).decode_utf8_lossy(),
        _ => Cow::Borrowed(name.as_str()),
    }
}

/// What a listener takes, and on which channels that is.
pub(crate) struct Taken {
    /// In the user's words.
    pub(super) text: String,
    pub(super) pattern: NamePattern,
    pub(super) channels: Vec<ChannelPattern>,
}

impl Taken {
    /// The events of one type.
    pub(super) fn by_type<E: Event>() -> Result<Self> {
        let pattern = NamePattern::Exact(EventName::from_static(E::NAME)?);
        Ok(Self { text: E::NAME.to_owned(), pattern, channels: vec![ChannelName::from_static(E::CHANNEL)?.into()] })
    }

    /// The events of a name or of several.
    pub(super) fn by_name(bus: &PubSub, name: &str) -> Result<Self> {
        let (pattern, channels) = if is_classic(name) {
            let channel = ChannelName::from_static(CLASSIC_CHANNEL)?;
            (NamePattern::Exact(event_name(name)?), vec![channel.into()])
        } else {
            let pattern = NamePattern::parse(name)?;
            let channels = bus.channels_of(&pattern)?;
            (pattern, channels)
        };
        Ok(Self { text: name.to_owned(), pattern, channels })
    }
}

/// The channel that an event of this name is published on.
pub(crate) fn channel(bus: &PubSub, name: &EventName) -> Result<ChannelName> {
    match bus.catalog().versions(name).last() {
        Some(definition) => Ok(definition.channel().clone()),
        None => ChannelName::parse(name.category()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_classic_name_travels_and_comes_back() {
        for name in ["TARGET_CREATED", "a b", "größe", "100%", "%41", "tab\tnl\n", "\u{a0}"] {
            let wire = event_name(name).unwrap();
            assert_eq!(wire.category(), "eventbus");
            assert_eq!(sent_name(&wire), name);
        }
        assert_eq!(event_name("TARGET_CREATED").unwrap(), "eventbus:TARGET_CREATED");
        assert!(event_name("").is_err() && event_name(&"x".repeat(120)).is_err());
    }

    #[test]
    fn names_with_a_colon_are_the_librarys_own() {
        assert_eq!(event_name("orders:created").unwrap(), "orders:created");
        assert_eq!(sent_name(&event_name("orders:created").unwrap()), "orders:created");
        assert!(event_name("orders:").is_err() && event_name("a:b c").is_err());
    }
}
