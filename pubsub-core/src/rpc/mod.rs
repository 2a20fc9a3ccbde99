//! Request and reply: what both sides, and the web edge, must understand in the same way.
//!
//! A request is an event whose metadata names where its reply is awaited (`reply_to`) and until when (`deadline`), and the
//! conversation that both belong to (`correlation_id`; by itself it is the request's id). [`ReplyTo`] reads that. The reply
//! has the same correlation id, and names the request as its cause (`causation_id`). The answer is one
//! [`ReplyBody`] or several, sent by [`PubSub::reply`](crate::PubSub::reply) and read by [`Reply::read`]. What went wrong at
//! the responder is a [`Failure`], and has the same form for events, HTTP and tRPC.

mod call_error;
mod code;
mod failure;
mod forward;
mod reply;
mod stream_control;
mod target;

pub use call_error::CallError;
pub use code::FailureCode;
pub use failure::Failure;
pub use forward::Forward;
pub use reply::{Reply, ReplyBody};
pub use stream_control::StreamControl;
pub use target::ReplyTo;

use crate::{ChannelName, Error, ErrorKind, Message};

/// The key of [`MetaFields::extra`](crate::MetaFields::extra) that numbers the replies of one stream.
const SEQUENCE: &str = "sequence";
/// The key of [`MetaFields::extra`](crate::MetaFields::extra) that tells who replied.
const RESPONDER: &str = "responder";
/// The key of [`MetaFields::extra`](crate::MetaFields::extra) by which a request asks for a stream of replies.
const WINDOW: &str = "window";

/// The number in an entry of a message's metadata.
fn number(message: &Message, key: &str) -> Option<u64> {
    message.meta().extra.get(key)?.as_u64()
}

/// A message that claims to be part of a call, and is not.
#[cold]
fn malformed(operation: &'static str, channel: &ChannelName, problem: String) -> Error {
    Error::new(ErrorKind::Codec, operation, problem).on(channel)
}
