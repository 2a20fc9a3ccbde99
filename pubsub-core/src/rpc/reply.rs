//! `Reply`: answers as messages, written and read.

use smol_str::SmolStr;

use super::{Failure, RESPONDER, ReplyTo, SEQUENCE, malformed, number};
use crate::{ChannelName, Envelope, EventId, EventName, Message, Payload, Result, Timestamp};

const VALUE: &str = "_reply:value";
const FAILURE: &str = "_reply:failure";
const ITEM: &str = "_reply:item";
const END: &str = "_reply:end";

/// One answer of a responder.
///
/// A request for one reply gets one `Value` or `Failure`. A request for a stream gets items, then `End` or `Failure`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ReplyBody {
    /// The answer.
    Value(Payload),
    /// Why there is none, or why there are no more items.
    Failure(Failure),
    /// One item of a stream.
    Item {
        /// Its place in the stream; the first is 0.
        sequence: u64,
        /// The item.
        payload: Payload,
        /// Where the responder listens for [`StreamControl`](super::StreamControl) messages about this stream.
        control: Option<ChannelName>,
    },
    /// The stream is complete.
    End {
        /// How many items there were.
        items: u64,
    },
}

impl ReplyBody {
    /// A value as JSON.
    ///
    /// # Errors
    /// `Codec` if it cannot be written as JSON.
    pub fn value<T: serde::Serialize>(value: &T) -> Result<Self> {
        Payload::encode(value).map(Self::Value)
    }

    /// An item of a stream as JSON.
    ///
    /// # Errors
    /// `Codec` if it cannot be written as JSON.
    pub fn item<T: serde::Serialize>(sequence: u64, item: &T, control: Option<ChannelName>) -> Result<Self> {
        Ok(Self::Item { sequence, payload: Payload::encode(item)?, control })
    }

    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Item { .. })
    }

    /// The answer as a message to whoever asked.
    ///
    /// # Errors
    /// `Codec` if the details of a failure cannot be written as JSON.
    pub fn into_message(self, to: &ReplyTo, id: EventId, now: Timestamp) -> Result<Message> {
        let (name, payload, sequence, control) = match self {
            Self::Value(payload) => (VALUE, payload, None, None),
            Self::Failure(failure) => (FAILURE, Payload::encode(&failure)?, None, None),
            Self::Item { sequence, payload, control } => (ITEM, payload, Some(sequence), control),
            Self::End { items } => (END, Payload::json("null"), Some(items), None),
        };
        let name = EventName::from_static(name)?;
        let mut envelope = Envelope { id, timestamp: now, ..Envelope::new(name, to.channel.clone(), payload) };
        let meta = &mut envelope.meta;
        meta.correlation_id = Some(to.correlation_id.clone());
        meta.causation_id = Some(to.request.to_string());
        meta.reply_to = control.map(|channel| channel.as_str().to_owned());
        meta.extra.extend(sequence.map(|number| (SEQUENCE.to_owned(), number.into())));
        meta.extra.extend(to.responder.as_ref().map(|name| (RESPONDER.to_owned(), name.as_str().into())));
        Ok(envelope.into())
    }
}

/// An answer, read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reply {
    /// Who answered, where it tells: the group.
    pub responder: Option<SmolStr>,
    /// The answer.
    pub body: ReplyBody,
    /// The span in which it was sent, where it names one.
    pub traceparent: Option<String>,
}

impl Reply {
    /// Whether a message has the name of a reply; it may still be malformed.
    pub fn is_reply(message: &Message) -> bool {
        [VALUE, FAILURE, ITEM, END].contains(&message.name().as_str())
    }

    /// The id of the request that a message answers, if it says so. Responders that name no cause give back the correlation
    /// id alone, which is the request's id where the request did not belong to a conversation.
    pub fn request(message: &Message) -> Option<&str> {
        let meta = message.meta();
        meta.causation_id.as_deref().or(meta.correlation_id.as_deref())
    }

    /// The conversation that a message belongs to, if it says so.
    pub fn correlation_id(message: &Message) -> Option<&str> {
        message.meta().correlation_id.as_deref()
    }

    /// Reads an answer, which may be foreign bytes.
    ///
    /// # Errors
    /// `Codec` if the message is no reply, or breaks the form of one.
    pub fn read(message: &Message) -> Result<Self> {
        let refuse = |problem: &str| malformed("read reply", message.channel(), problem.to_owned());
        let payload = || {
            let payload = message.payload();
            if payload.is_tombstone() { Err(refuse("a tombstone is no answer")) } else { Ok(payload.clone()) }
        };
        let sequence = || {
            number(message, SEQUENCE)
                .ok_or_else(|| refuse("field `sequence` of a stream's reply must be a whole number"))
        };
        let body = match message.name().as_str() {
            VALUE => ReplyBody::Value(payload()?),
            FAILURE => {
                let failure = message.payload().decode::<Failure>();
                ReplyBody::Failure(failure.map_err(|error| refuse("the failure does not fit its form").because(error))?)
            }
            ITEM => {
                let control = message.meta().reply_to.as_deref().map(ChannelName::parse_internal).transpose();
                let control = control.ok().flatten().filter(ChannelName::is_inbox);
                ReplyBody::Item { sequence: sequence()?, payload: payload()?, control }
            }
            END => ReplyBody::End { items: sequence()? },
            other => return Err(refuse(&format!("the message `{other}` is no reply"))),
        };
        let responder = message.meta().extra.get(RESPONDER).and_then(|name| name.as_str()).map(SmolStr::new);
        Ok(Self { responder, body, traceparent: message.meta().traceparent.clone() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::rpc::FailureCode;

    fn to() -> ReplyTo {
        let channel = ChannelName::parse("quotes").unwrap();
        let mut request = Message::new(EventName::parse("quotes:get").unwrap(), channel, Payload::json("{}"));
        request.envelope_mut().meta.reply_to = Some("_inbox.abc".into());
        ReplyTo::of(&request).unwrap().unwrap().by("quoting")
    }

    fn bodies() -> Vec<ReplyBody> {
        vec![
            ReplyBody::value(&json!({"price": 7})).unwrap(),
            ReplyBody::value(&()).unwrap(),
            ReplyBody::Failure(Failure::new(FailureCode::NotFound, "no such thing")),
            ReplyBody::item(3, &"x", Some(ChannelName::inbox("responder").unwrap())).unwrap(),
            ReplyBody::End { items: 4 },
        ]
    }

    #[test]
    fn answers_are_read_back() {
        let to = to();
        for body in bodies() {
            let message = body.clone().into_message(&to, EventId::random(), Timestamp::now()).unwrap();
            assert!(Reply::is_reply(&message));
            assert_eq!(message.channel().as_str(), "_inbox.abc");
            assert_eq!(Reply::correlation_id(&message), Some(to.correlation_id()));
            assert_eq!(Reply::request(&message), Some(&*to.request().to_string()));
            let reply = Reply::read(&message).unwrap();
            assert_eq!((reply.responder.as_deref(), reply.body), (Some("quoting"), body));
        }
    }

    #[test]
    fn replies_cross_a_wire() {
        for body in bodies() {
            let message = body.clone().into_message(&to(), EventId::random(), Timestamp::now()).unwrap();
            let text = serde_json::to_vec(message.envelope()).unwrap();
            let envelope: Envelope = serde_json::from_slice(&text).unwrap();
            assert_eq!(Reply::read(&envelope.into()).unwrap().body, body);
        }
    }

    #[test]
    fn foreign_replies_are_read_strictly() {
        let spoil = |body: ReplyBody, change: &dyn Fn(&mut Envelope)| {
            let mut message = body.into_message(&to(), EventId::random(), Timestamp::now()).unwrap();
            change(message.envelope_mut());
            Reply::read(&message).unwrap_err()
        };
        let item = || ReplyBody::item(0, &1, None).unwrap();
        let set_sequence =
            |value: Value| move |e: &mut Envelope| drop(e.meta.extra.insert(SEQUENCE.into(), value.clone()));
        let errors = [
            spoil(item(), &|e| e.name = EventName::parse("quotes:quoted").unwrap()),
            spoil(item(), &|e| e.payload = Payload::Tombstone),
            spoil(item(), &|e| drop(e.meta.extra.remove(SEQUENCE))),
            spoil(item(), &set_sequence(json!(-1))),
            spoil(ReplyBody::End { items: 1 }, &set_sequence(json!("1"))),
            spoil(ReplyBody::Failure(Failure::internal("x")), &|e| e.payload = Payload::json("\"x\"")),
            spoil(ReplyBody::Failure(Failure::internal("x")), &|e| e.payload = Payload::bytes(&b"\xff"[..])),
        ];
        assert!(errors.iter().all(|error| error.kind() == crate::ErrorKind::Codec), "{errors:?}");
    }

    #[test]
    fn a_stream_is_steered_only_through_an_inbox() {
        let mut message =
            ReplyBody::item(0, &1, None).unwrap().into_message(&to(), EventId::random(), Timestamp::now()).unwrap();
        for address in ["orders", "_dlq.billing.orders", "not a channel"] {
            message.envelope_mut().meta.reply_to = Some(address.into());
            assert!(matches!(Reply::read(&message).unwrap().body, ReplyBody::Item { control: None, .. }), "{address}");
        }
    }
}
