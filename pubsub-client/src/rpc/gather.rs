//! The answers of several responders to one question.

use pubsub_core::{
    Error, ErrorKind, Result,
    rpc::{CallError, ReplyBody},
};
use tokio::sync::mpsc;

use super::{
    call::{Asking, Call},
    table::{Many, Waiter},
};

/// What one of several responders says.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer<R> {
    /// Who it is, where it tells: the group.
    pub responder: Option<String>,
    /// The answer, or why there is none.
    pub outcome: Result<R, CallError>,
}

/// The most answers to one question.
const MAX_ANSWERS: usize = 65_536;

pub(super) async fn gather<R: Send + 'static>(call: Call<'_, R>, max: usize) -> Result<Vec<Answer<R>>, CallError> {
    if max == 0 || max > MAX_ANSWERS {
        let text = format!("field `max` must lie between 1 and {MAX_ANSWERS}");
        return Err(Error::new(ErrorKind::Invalid, "request", text).into());
    }
    let (read, table, hop) = (call.read, &call.rpc.inner.table, call.hop());
    let (sender, mut queue) = mpsc::channel(max);
    let asking = Asking::prepare(call, Waiter::Many(Many::Each(sender, Vec::new())), None)?;
    let mut answers = Vec::new();
    let collect = |cx: &mut std::task::Context<'_>, _| {
        while let Some(next) = std::task::ready!(queue.poll_recv(cx)) {
            let (responder, outcome) = match next {
                Ok(reply) => {
                    hop.link(reply.traceparent.as_deref());
                    (reply.responder.map(String::from), value(read, reply.body))
                }
                Err(error) => (None, Err(error.into())),
            };
            answers.push(Answer { responder, outcome });
        }
        std::task::Poll::Ready(Ok(()))
    };
    let ended = hop.run(asking.until(collect)).await;
    table.count_timeout(ended.late && answers.is_empty());
    match ended.outcome {
        Err(error) if answers.is_empty() || !ended.late => {
            hop.failed(error.kind().as_str(), &error);
            Err(error.into())
        }
        _ => Ok(answers),
    }
}

fn value<R>(read: super::call::ReadReply<R>, body: ReplyBody) -> Result<R, CallError> {
    match body {
        ReplyBody::Value(payload) => Ok(read(payload)?),
        ReplyBody::Failure(failure) => Err(CallError::Failed(failure)),
        _ => Err(Error::new(ErrorKind::Codec, "request", "the responder answers with a stream; ask for one").into()),
    }
}
