//! `StreamControl`: what a caller tells the responder of a stream while it runs.

use super::{SEQUENCE, malformed, number};
use crate::{ChannelName, Envelope, EventId, EventName, Message, Payload, Result, Timestamp};

const MORE: &str = "_stream:more";
const CANCEL: &str = "_stream:cancel";

/// What a caller tells the responder of a stream while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamControl {
    /// The caller has room for the items below this number.
    More {
        /// The first item that there is no room for yet.
        limit: u64,
    },
    /// Nobody reads on.
    Cancel,
}

impl StreamControl {
    /// The word as a message to the responder's inbox, about the stream that answers `request`.
    ///
    /// # Errors
    /// None with the names of this library; the signature keeps the check in one place.
    pub fn into_message(self, to: &ChannelName, request: &str, id: EventId, now: Timestamp) -> Result<Message> {
        let (name, limit) = match self {
            Self::More { limit } => (MORE, Some(limit)),
            Self::Cancel => (CANCEL, None),
        };
        let name = EventName::from_static(name)?;
        let mut envelope = Envelope { id, timestamp: now, ..Envelope::new(name, to.clone(), Payload::json("null")) };
        envelope.meta.correlation_id = Some(request.to_owned());
        envelope.meta.extra.extend(limit.map(|number| (SEQUENCE.to_owned(), number.into())));
        Ok(envelope.into())
    }

    /// Reads such a message, which may be foreign bytes, and the id of the request that it is about.
    ///
    /// # Errors
    /// `Codec` if it is none, or breaks the form of one.
    pub fn read(message: &Message) -> Result<(&str, Self)> {
        let refuse = |problem: &str| malformed("read control message", message.channel(), problem.to_owned());
        let call =
            message.meta().correlation_id.as_deref().ok_or_else(|| refuse("field `correlationId` is missing"))?;
        match message.name().as_str() {
            MORE => match number(message, SEQUENCE) {
                Some(limit) => Ok((call, Self::More { limit })),
                None => Err(refuse("field `sequence` must be a whole number")),
            },
            CANCEL => Ok((call, Self::Cancel)),
            other => Err(refuse(&format!("the message `{other}` steers no stream"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_nothing_else_is() {
        let inbox = ChannelName::inbox("responder").unwrap();
        for word in [StreamControl::More { limit: 9 }, StreamControl::Cancel] {
            let mut message = word.into_message(&inbox, "c-1", EventId::random(), Timestamp::now()).unwrap();
            assert_eq!(StreamControl::read(&message).unwrap(), ("c-1", word));
            message.envelope_mut().meta.correlation_id = None;
            assert!(StreamControl::read(&message).is_err());
        }
        let word = StreamControl::More { limit: 9 };
        let mut message = word.into_message(&inbox, "c-1", EventId::random(), Timestamp::now()).unwrap();
        message.envelope_mut().meta.extra.clear();
        assert!(StreamControl::read(&message).is_err());
        message.envelope_mut().name = EventName::parse("quotes:get").unwrap();
        assert!(StreamControl::read(&message).is_err());
    }
}
