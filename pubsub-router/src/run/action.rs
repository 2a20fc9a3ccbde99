//! Executing a request and answering it.

use std::fmt;

use pubsub_core::{
    Error, Payload,
    rpc::{Failure, FailureCode, ReplyBody, ReplyTo},
};

use crate::{Decision, HandlerError, Incoming, Route, Verdict};

/// What became of a request. But for the last two it is settled: an answer that cannot be delivered is no reason to
/// execute it again.
pub(super) enum Answered {
    /// The reply is confirmed.
    Replied {
        /// Whether it is what was asked for.
        success: bool,
    },
    /// It was executed, and the reply did not reach anyone.
    Undelivered {
        /// Whether the action succeeded.
        success: bool,
    },
    /// Nobody waits any more: not executed, or dropped at its deadline.
    Expired,
    /// Its own words about the reply make no sense.
    Malformed(Error),
    /// Nothing was done.
    Released,
}

pub(super) async fn answer(route: &Route, incoming: &Incoming) -> Answered {
    let bus = incoming.bus();
    let to = match ReplyTo::of(incoming.message()) {
        Ok(Some(to)) => to.by(incoming.group().as_str()),
        // Only what wants a reply is given to an action.
        Ok(None) => return Answered::Expired,
        Err(error) => return Answered::Malformed(error),
    };
    let verdict = execute(route, incoming.clone()).await;
    match &verdict {
        Err(error) if error.decision() == Decision::Release => return Answered::Released,
        // An action that came by this text in another way says itself that nobody waits.
        Err(error) if error.cause().is::<Late>() => return Answered::Expired,
        _ => {}
    }
    let success = verdict.is_ok();
    match incoming.hop().run(bus.reply(&to, body_of(verdict))).await {
        Ok(()) => Answered::Replied { success },
        Err(_) => Answered::Undelivered { success },
    }
}

/// Nobody waits for the answer any more.
#[derive(Debug)]
struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline of the request has passed")
    }
}

impl std::error::Error for Late {}

/// Runs an action within the deadline of its request.
pub(super) async fn execute(route: &Route, incoming: Incoming) -> Verdict {
    let Some(deadline) = incoming.message().meta().deadline else { return route.run(incoming).await };
    let clock = incoming.bus().clock().clone();
    let late = || Err(HandlerError::give_up(Late));
    if deadline <= clock.now() {
        return late();
    }
    tokio::select! {
        biased;
        verdict = route.run(incoming) => verdict,
        () = clock.sleep_until(deadline) => late(),
    }
}

/// What a caller gets to know.
pub(super) fn answer_of(verdict: Verdict) -> Result<Payload, Failure> {
    match body_of(verdict) {
        ReplyBody::Value(payload) => Ok(payload),
        ReplyBody::Failure(failure) => Err(failure),
        _ => Err(Failure::internal("the action gave no answer")),
    }
}

fn body_of(verdict: Verdict) -> ReplyBody {
    match verdict {
        Ok(done) => match done.reply {
            Some(reply) => ReplyBody::Value(reply),
            None => {
                let text = "the request was executed before, and its answer was not kept";
                ReplyBody::Failure(Failure::new(FailureCode::Conflict, text))
            }
        },
        Err(error) if error.cause().is::<Late>() => {
            ReplyBody::Failure(Failure::new(FailureCode::GatewayTimeout, error.to_string()))
        }
        Err(error) => ReplyBody::Failure(error.failure()),
    }
}
