//! Events that cannot be read: they reach the subscription all the same, which buries or refuses them.

use std::sync::Arc;

use bytes::Bytes;
use pubsub_core::{ChannelName, Delivery, Error, EventId, EventName, Message, Payload, Result};

/// The name that unreadable events go by.
const NAME: &str = "pubsub:unreadable";

/// An event as it was read, or its bytes and why it could not be read.
pub(crate) type ReadOut = (Arc<Message>, Option<Error>);

/// Makes of bytes that are no event an event that carries them. `id` names them the same at each delivery.
pub(crate) fn or_raw(
    read: Result<Message>,
    channel: &ChannelName,
    id: impl FnOnce() -> EventId,
    body: &Bytes,
) -> ReadOut {
    match read {
        Ok(message) => (Arc::new(message), None),
        Err(error) => {
            // The name follows the grammar; a test holds it.
            let Ok(name) = EventName::from_static(NAME) else {
                unreachable!("the name of unreadable events follows the grammar")
            };
            let mut message = Message::new(name, channel.clone(), Payload::bytes(body.clone()));
            message.envelope_mut().id = id();
            (Arc::new(message), Some(error.on(channel)))
        }
    }
}

/// Marks a delivery with why it could not be read.
pub(crate) fn mark(delivery: Delivery, fault: Option<Error>) -> Delivery {
    match fault {
        Some(fault) => delivery.unreadable(fault),
        None => delivery,
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::ErrorKind;

    use super::*;

    #[test]
    fn bytes_that_are_no_event_are_kept() {
        let channel = ChannelName::parse("orders").unwrap();
        let id = EventId::parse("7-1").unwrap();
        let body = Bytes::from_static(b"\xff\x00");
        let fault = Error::new(ErrorKind::Codec, "decode", "no event");
        let (message, fault) = or_raw(Err(fault), &channel, || id.clone(), &body);
        assert_eq!((message.name().as_str(), message.id(), message.channel()), (NAME, &id, &channel));
        assert_eq!(message.payload().data(), Some(&body));
        assert_eq!(fault.unwrap().channel(), Some(&channel));
    }
}
