//! Answers as HTTP: one, a batch, or a batch whose answers come as they are ready.

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use http::{HeaderValue, StatusCode, header};
use pubsub_core::rpc::FailureCode;

use super::call::{Answer, Call, error_text};
use crate::{ApiError, procedure::Procedures};

/// The request as a whole is refused.
pub(super) fn refused(error: &ApiError) -> Response {
    let mut response = json(error.code().http_status(), error_text(error, None).into());
    tell_when(&mut response, [error]);
    response
}

pub(super) fn single(answer: &Answer) -> Response {
    let mut text = Vec::new();
    answer.write(&mut text);
    let mut response = json(answer.status(), text.into());
    tell_when(&mut response, answer.outcome.as_ref().err());
    response
}

/// The answers in the order of the calls. The status is theirs if they agree.
pub(super) fn batch(answers: &[Answer]) -> Response {
    let mut text = vec![b'['];
    for (index, answer) in answers.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        answer.write(&mut text);
    }
    text.push(b']');
    let mut statuses = answers.iter().map(Answer::status);
    let first = statuses.next().unwrap_or(200);
    let agreed = statuses.all(|status| status == first);
    let mut response = json(if agreed { first } else { 207 }, text.into());
    if agreed {
        tell_when(&mut response, answers.iter().filter_map(|answer| answer.outcome.as_ref().err()));
    }
    response
}

/// First a line that promises an answer per call, then the answers as lines, each when it is there.
pub(super) fn json_lines<P: Procedures>(calls: Vec<Call<P>>) -> Response {
    let promises: Vec<_> = (0..calls.len()).map(|index| format!("\"{index}\":[[0],[null,0,{index}]]")).collect();
    let head = format!("{{{}}}\n", promises.join(","));
    let answers: FuturesUnordered<_> = calls.into_iter().enumerate().map(numbered).collect();
    let lines = answers.map(|(index, answer)| {
        let mut line = format!("[{index},0,[[").into_bytes();
        answer.write(&mut line);
        line.extend_from_slice(b"]]]\n");
        Bytes::from(line)
    });
    let lines = stream::iter([Bytes::from(head)]).chain(lines);
    // What the calls will come to is not known yet.
    json(200, Body::from_stream(lines.map(Ok::<_, Infallible>)))
}

async fn numbered<P: Procedures>((index, call): (usize, Call<P>)) -> (usize, Answer) {
    (index, call.answer().await)
}

fn json(status: u16, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Whoever was turned away for now is told when to come back: after the longest of what the errors say, at least a second.
fn tell_when<'a>(response: &mut Response, errors: impl IntoIterator<Item = &'a ApiError>) {
    let for_now = |code| matches!(code, FailureCode::TooManyRequests | FailureCode::ServiceUnavailable);
    let errors = errors.into_iter().filter(|error| for_now(error.code()));
    let seconds = errors.map(|error| error.retry_after().unwrap_or_default()).map(|after| {
        // Rounded up: sooner would be too soon.
        after.as_secs() + u64::from(after > Duration::from_secs(after.as_secs()))
    });
    if let Some(seconds) = seconds.max() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
}
