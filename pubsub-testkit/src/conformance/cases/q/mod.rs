//! Request and reply, and the event bus.

mod calls;
mod deadlines;
mod events;
mod many;
mod streams;

use std::{borrow::Cow, sync::Arc, time::Duration};

use pubsub_client::{EventRpc, rpc::Responder};
use pubsub_core::{
    __private::schemars,
    Event, Events, Message, PubSub, Received, Request,
    rpc::{CallError, ReplyBody, ReplyTo},
};
use serde::{Deserialize, Serialize};

use crate::conformance::{Case, Ctx, Verdict, failed, next};

pub(super) fn cases() -> Vec<Case> {
    [calls::CASES, deadlines::CASES, many::CASES, streams::CASES, events::CASES].concat()
}

/// A question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "pubsub_core::__private::schemars")]
pub(crate) struct Add {
    pub(crate) left: u64,
    pub(crate) right: u64,
}

impl Event for Add {
    const NAME: &'static str = "conformance:add";
    const CHANNEL: &'static str = "conformance-sums";

    fn key(&self) -> Option<Cow<'_, str>> {
        Some(self.left.to_string().into())
    }
}

impl Request for Add {
    type Reply = u64;
}

/// Answers sums as a member of this group.
pub(super) async fn adding(bus: &PubSub, group: &str) -> Verdict<Responder> {
    let add = |asked: Add| async move { Ok(asked.left + asked.right) };
    Ok(EventRpc::new(bus).respond::<Add, _, _>(group, add).await?)
}

/// A call underway in a task of its own.
pub(super) fn call(rpc: &EventRpc, left: u64, timeout: Duration) -> tokio::task::JoinHandle<Result<u64, CallError>> {
    let rpc = rpc.clone();
    tokio::spawn(async move { rpc.request(&Add { left, right: 1 }).timeout(timeout).await })
}

/// Takes the next request, to be answered by hand.
pub(super) async fn asked(ctx: &Ctx, requests: &mut Events<Add>) -> Verdict<(Received<Add>, ReplyTo)> {
    let request = next(ctx, requests).await?;
    let to = reply_to(request.message())?;
    Ok((request, to))
}

pub(super) fn reply_to(message: &Arc<Message>) -> Verdict<ReplyTo> {
    match ReplyTo::of(message)? {
        Some(to) => Ok(to),
        None => failed("a request that says where its reply goes", format!("{message:?}")),
    }
}

/// Answers by hand, also after the deadline, which sound responders do not.
pub(super) async fn answer(bus: &PubSub, request: &Message, sum: u64) -> Verdict {
    let mut message = request.clone();
    message.envelope_mut().meta.deadline = None;
    let to = reply_to(&Arc::new(message))?;
    Ok(bus.reply(&to, ReplyBody::value(&sum)?).await?)
}
