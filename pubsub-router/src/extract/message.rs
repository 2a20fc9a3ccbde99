//! What came with the event.

use std::sync::Arc;

use pubsub_core::{Ack, Control, EventId, Key, Message, Meta, Position, Timestamp};

use super::FromDelivery;
use crate::{HandlerError, Incoming};

/// Which delivery of the event to this group this is; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// The user on whose behalf the event was published. Without one the event is rejected; `Option<User>` takes it anyway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User(pub String);

/// The right and duty to settle, for handlers under [`Settle::Manual`](crate::Settle::Manual). Under any other policy the
/// event is given up: the handler could not keep what it promises.
#[derive(Debug)]
pub struct ManualAck(pub Ack);

macro_rules! extract {
    ($($type:ty: |$incoming:ident| $value:expr;)*) => {
        $(impl<S> FromDelivery<S> for $type {
            fn from_delivery($incoming: &Incoming, _: &S) -> Result<Self, HandlerError> {
                Ok($value)
            }
        })*
    };
}

extract! {
    Attempt: |incoming| Self(incoming.attempt());
    Meta: |incoming| incoming.message().meta().clone();
    EventId: |incoming| incoming.message().id().clone();
    Timestamp: |incoming| incoming.message().timestamp();
    Arc<Message>: |incoming| incoming.message().clone();
    Control: |incoming| incoming.control().clone();
    Incoming: |incoming| incoming.clone();
    Option<Key>: |incoming| incoming.message().key().cloned();
    Option<Position>: |incoming| incoming.position().cloned();
    Option<ManualAck>: |incoming| incoming.take_ack().map(ManualAck);
    Option<User>: |incoming| incoming.message().meta().user_id.clone().map(User);
}

impl<S> FromDelivery<S> for User {
    fn from_delivery(incoming: &Incoming, _: &S) -> Result<Self, HandlerError> {
        let user = incoming.message().meta().user_id.clone();
        user.map(User).ok_or_else(|| HandlerError::reject("the event names no user"))
    }
}

impl<S> FromDelivery<S> for ManualAck {
    fn from_delivery(incoming: &Incoming, _: &S) -> Result<Self, HandlerError> {
        let ack = incoming.take_ack();
        ack.map(Self)
            .ok_or_else(|| HandlerError::give_up("this handler is not set to settle by itself: `Settle::Manual`"))
    }
}
