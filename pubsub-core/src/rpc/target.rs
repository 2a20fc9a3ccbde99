//! `ReplyTo`: where a request wants its reply, and until when.

use smol_str::SmolStr;

use super::{WINDOW, malformed, number};
use crate::{ChannelName, EventId, Message, Meta, Result, Timestamp};

/// Where a request wants its reply.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyTo {
    pub(super) channel: ChannelName,
    pub(super) correlation_id: String,
    pub(super) request: EventId,
    pub(super) responder: Option<SmolStr>,
    deadline: Option<Timestamp>,
    window: Option<u64>,
}

impl ReplyTo {
    /// What a message says about its reply; `None` if it wants none, and is no request.
    ///
    /// A reply may be asked for in a private inbox or on a channel of the users', never on another channel of the library.
    ///
    /// # Errors
    /// `Codec` if the address is no such channel.
    pub fn of(message: &Message) -> Result<Option<Self>> {
        let meta = message.meta();
        let Some(address) = &meta.reply_to else { return Ok(None) };
        let refuse = |problem| Err(malformed("read request", message.channel(), problem));
        let channel = match ChannelName::parse_internal(address) {
            Ok(channel) if channel.is_inbox() || !channel.is_internal() => channel,
            Ok(channel) => return refuse(format!("field `replyTo` names the library's own channel `{channel}`")),
            Err(error) => return refuse(format!("field `replyTo` is no channel: {}", error.message())),
        };
        let correlation_id = meta.correlation_id.clone().unwrap_or_else(|| message.id().to_string());
        Ok(Some(Self {
            channel,
            correlation_id,
            request: message.id().clone(),
            responder: None,
            deadline: meta.deadline,
            window: number(message, WINDOW),
        }))
    }

    /// Writes into a request's metadata where its reply is wanted; [`ReplyTo::of`] reads it. The correlation id is the
    /// request's own id, unless the request belongs to a conversation, and so has one already. With a `window` it asks for a
    /// stream, of which at most so many items may be on their way.
    pub fn ask(meta: &mut Meta, inbox: &ChannelName, request: &EventId, deadline: Timestamp, window: Option<u64>) {
        meta.reply_to = Some(inbox.as_str().to_owned());
        meta.correlation_id.get_or_insert_with(|| request.to_string());
        meta.deadline = Some(deadline);
        meta.extra.extend(window.map(|items| (WINDOW.to_owned(), items.into())));
    }

    /// Sets who replies: one name per group, so that a second answer of the same group is known as such.
    #[must_use]
    pub fn by(mut self, responder: &str) -> Self {
        self.responder = Some(SmolStr::new(responder));
        self
    }

    /// The channel on which the reply is awaited.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The conversation that the reply belongs to.
    pub fn correlation_id(&self) -> &str {
        &self.correlation_id
    }

    /// The id of the request, by which its caller knows the reply.
    pub fn request(&self) -> &EventId {
        &self.request
    }

    /// When nobody waits any more.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// How many items of a stream may be on their way before the caller asks for more; `None` if it wants one reply.
    pub fn window(&self) -> Option<u64> {
        self.window
    }

    /// Whether nobody waits any more: such a request must not be executed.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventName, Payload};

    fn request(reply_to: Option<&str>) -> Message {
        let channel = ChannelName::parse("quotes").unwrap();
        let mut message = Message::new(EventName::parse("quotes:get").unwrap(), channel, Payload::json("{}"));
        message.envelope_mut().meta.reply_to = reply_to.map(str::to_owned);
        message
    }

    #[test]
    fn a_reply_goes_to_an_inbox_or_to_a_channel_of_the_users() {
        for (address, good) in [
            ("_inbox.abc", true),
            ("answers", true),
            ("_dlq.billing.orders", false),
            ("_retry.billing.orders", false),
            ("_inbox.", false),
            ("_other.x", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(ReplyTo::of(&request(Some(address))).is_ok(), good, "{address:?}");
        }
        assert_eq!(ReplyTo::of(&request(None)).unwrap(), None);
    }

    #[test]
    fn a_request_without_a_correlation_id_is_known_by_its_own() {
        let mut message = request(Some("_inbox.abc"));
        assert_eq!(ReplyTo::of(&message).unwrap().unwrap().correlation_id(), message.id().to_string());
        message.envelope_mut().meta.correlation_id = Some("c-1".into());
        assert_eq!(ReplyTo::of(&message).unwrap().unwrap().correlation_id(), "c-1");
    }

    #[test]
    fn what_is_asked_is_read() {
        let (inbox, deadline) = (ChannelName::inbox("abc").unwrap(), Timestamp::from_millis(9).unwrap());
        let mut message = request(None);
        let id = message.id().clone();
        ReplyTo::ask(&mut message.envelope_mut().meta, &inbox, &id, deadline, Some(16));
        let to = ReplyTo::of(&message).unwrap().unwrap();
        assert_eq!((to.channel(), to.request(), to.deadline()), (&inbox, &id, Some(deadline)));
        assert_eq!((to.correlation_id(), to.window()), (&*id.to_string(), Some(16)));
    }

    #[test]
    fn a_request_stays_in_its_conversation() {
        let (inbox, deadline) = (ChannelName::inbox("abc").unwrap(), Timestamp::from_millis(9).unwrap());
        let mut message = request(None);
        let id = message.id().clone();
        message.envelope_mut().meta.correlation_id = Some("c-1".into());
        ReplyTo::ask(&mut message.envelope_mut().meta, &inbox, &id, deadline, None);
        let to = ReplyTo::of(&message).unwrap().unwrap();
        assert_eq!((to.request(), to.correlation_id()), (&id, "c-1"));
    }

    #[test]
    fn at_the_deadline_it_is_over() {
        let mut message = request(Some("_inbox.abc"));
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        assert!(!ReplyTo::of(&message).unwrap().unwrap().is_expired(Timestamp::MAX));
        message.envelope_mut().meta.deadline = Some(at(5));
        let to = ReplyTo::of(&message).unwrap().unwrap();
        assert!(!to.is_expired(at(4)) && to.is_expired(at(5)));
    }
}
