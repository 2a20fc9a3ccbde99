//! What the outbox sends, in its order.

use std::{fmt::Write as _, sync::Arc};

use async_nats::{Client, connection::State as ConnectionState, header::NATS_MESSAGE_ID};
use bytes::Bytes;
use futures_util::FutureExt;
use pubsub_core::{Error, ErrorKind, Result};
use tokio::{task::unconstrained, time::Instant};

use super::{
    connection::Shared,
    error,
    outbox::{BUNDLE, Echo, Job, Sent, State},
    post::{Post, Stage},
    publisher::{Encoded, encode},
};

impl State {
    /// Sends some of what is to be sent; what is new comes behind what is to be sent again.
    pub(super) fn send_some(&mut self, shared: &Arc<Shared>) -> Sent {
        if !self.up || self.client.is_none() {
            return Sent::All; // until there is a connection
        }
        if !self.send_due(shared) || !self.end_batch() || !self.send_echo() {
            return Sent::NoMore;
        }
        let sent = self.send_waiting(shared);
        if self.send_echo() { sent } else { Sent::NoMore }
    }

    /// Sends an event to a stream, or holds it until there is one. Gives it back if the client does not take it now.
    pub(super) fn send(&mut self, shared: &Arc<Shared>, mut post: Box<Post>) -> Option<Box<Post>> {
        if self.is_reviving(&post) {
            post.stage = Stage::Held;
            self.sent.push_back(Some(post));
            return None;
        }
        let number = self.first + self.sent.len() as u64;
        let within = self.reply_within(shared, &post);
        let batched = within.is_some();
        match self.hand_over(shared, &mut post, within.unwrap_or_else(|| self.reply(number))) {
            Ok(true) => {
                self.sent.push_back(Some(post));
                if batched {
                    self.went_within(number);
                }
            }
            Ok(false) => return Some(post),
            Err(error) => post.finish(Err(error)),
        }
        None
    }

    /// Hands over what waits, as far as the client takes it.
    fn send_waiting(&mut self, shared: &Arc<Shared>) -> Sent {
        let (mut bundle, mut askers) = (Vec::new(), Vec::new());
        let mut sent = Sent::Some;
        for _ in 0..BUNDLE {
            if self.is_ending() && matches!(self.waiting.front(), Some(Job::Post(post)) if post.confirmed) {
                sent = Sent::All; // until the batch before it is over
                break;
            }
            match self.waiting.pop_front() {
                Some(Job::Echo(asker)) => askers.push(asker),
                Some(Job::Post(post)) if post.confirmed => {
                    if let Some(post) = self.send(shared, post) {
                        self.waiting.push_front(Job::Post(post));
                        sent = Sent::NoMore;
                        break;
                    }
                }
                Some(Job::Post(mut post)) => match self.hand_over(shared, &mut post, String::new()) {
                    Ok(true) => bundle.push(post),
                    Ok(false) => {
                        self.waiting.push_front(Job::Post(post));
                        sent = Sent::NoMore;
                        break;
                    }
                    Err(error) => post.finish(Err(error)),
                },
                None => {
                    sent = Sent::All;
                    break;
                }
            }
        }
        if !bundle.is_empty() || !askers.is_empty() {
            let number = self.next_echo;
            self.next_echo += 1;
            self.echoes.push_back(Echo { number, posts: bundle, askers, sent: Instant::now() });
            self.echo_due = true;
        }
        sent
    }

    /// Sends the message behind the last bundle, if it is not sent yet. False if the client does not take it now.
    fn send_echo(&mut self) -> bool {
        let (Some(client), Some(echo)) = (&self.client, self.echoes.back()) else {
            self.echo_due = false;
            return true;
        };
        if !self.echo_due {
            return true;
        }
        let subject = format!("{}.e{}", self.private, echo.number);
        match at_once(client.publish(subject, Bytes::new())) {
            None => return false,
            Some(Ok(())) => {}
            Some(Err(_)) => self.lost_connection(),
        }
        self.echo_due = false;
        true
    }

    /// Gives an event to the client; if a stream confirms it, that comes to `reply`. False if it does not take it now.
    pub(super) fn hand_over(&self, shared: &Shared, post: &mut Post, reply: String) -> Result<bool> {
        // What the client takes now it would send before those that are to be sent again.
        let connected = |client: &&Client| client.connection_state() == ConnectionState::Connected;
        let Some(client) = self.client.as_ref().filter(connected) else { return Ok(false) };
        let encoded = match post.encoded.take() {
            Some(encoded) => encoded,
            None => encode(shared, &post.route, &post.message, &post.options)?,
        };
        let Encoded { subject, mut headers, body } = encoded;
        let accepted = if post.confirmed {
            headers.insert(NATS_MESSAGE_ID, shared.outbox.dedup_id(post));
            at_once(client.publish_with_reply_and_headers(subject, reply, headers, body))
        } else if headers.is_empty() {
            at_once(client.publish(subject, body))
        } else {
            at_once(client.publish_with_headers(subject, headers, body))
        };
        match accepted {
            None => Ok(false),
            Some(Ok(())) => {
                let now = Instant::now();
                post.first_sent.get_or_insert(now);
                post.last_sent = Some(now);
                Ok(true)
            }
            Some(Err(cause)) => Err(match cause.kind() {
                async_nats::PublishErrorKind::MaxPayloadExceeded => {
                    let limit = client.server_info().max_payload;
                    let text = format!(
                        "the event is larger than the {limit} bytes that the server allows: publish where the data is \
                         instead, or raise `max_payload` in the server's configuration"
                    );
                    Error::new(ErrorKind::TooLarge, "publish", text).because(cause)
                }
                _ => error::client("publish", cause),
            }),
        }
    }

    /// Where the confirmation of an event that goes out alone comes to.
    pub(super) fn reply(&self, number: u64) -> String {
        let mut reply = String::with_capacity(self.private.len() + 21);
        let _ = write!(reply, "{}.{number}", self.private); // a string takes whatever there is memory for
        reply
    }
}

/// What comes of handing something to the client; `None` if it does not take it now.
pub(super) fn at_once<E>(publish: impl Future<Output = Result<(), E>>) -> Option<Result<(), E>> {
    // Outside of tokio's budget, which would say that there is no room where there is.
    unconstrained(publish).now_or_never()
}
