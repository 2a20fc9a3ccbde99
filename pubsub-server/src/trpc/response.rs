//! Answers as HTTP: one, a batch, or a batch whose answers come as they are ready.

use std::convert::Infallible;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use http::{HeaderValue, StatusCode, header};

use super::call::{Answer, Call};
use crate::{ApiError, procedure::Procedures};

pub(super) fn single(answer: &Answer) -> Response {
    let mut text = Vec::new();
    answer.write(&mut text);
    let mut response = json(answer.status(), text.into());
    add_headers(&mut response, answer.outcome.as_ref().err());
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
        add_headers(&mut response, answers.iter().filter_map(|answer| answer.outcome.as_ref().err()));
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

/// Of several errors the one counts that asks for the longest wait.
fn add_headers<'a>(response: &mut Response, errors: impl IntoIterator<Item = &'a ApiError>) {
    if let Some(error) = errors.into_iter().max_by_key(|error| error.retry_after()) {
        error.add_to(response.headers_mut());
    }
}
