//! Plain clients to look at a broker's objects and change them behind an adapter's back.

pub(crate) mod nats;
pub(crate) mod redis;

use std::time::Duration;

use super::{BrokerError, HandshakeError};

/// How long one request may take.
const WITHIN: Duration = Duration::from_secs(10);

fn failed(action: &str) -> impl Fn(HandshakeError) -> BrokerError + use<> {
    let action = action.to_owned();
    move |fault| BrokerError::io(action.clone())(std::io::Error::other(fault))
}
