//! The tRPC 11 wire: queries, mutations and subscriptions as the stock TypeScript client sends them.
//!
//! What is checked, and in which order, follows the reference server. First the form of the request (content type, batch,
//! kinds of procedures, `connectionParams`), for which there is one error; then who asks; then each call by itself (does the
//! procedure exist, is the method right, is there input, the call), which fails by itself. A subscription that exists answers
//! 200 whatever happens: its client sees no other error than one inside the stream.

mod call;
mod frames;
mod input;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Method, Request, StatusCode, header};

use self::{call::Call, request::Asked};
use crate::{
    ApiError,
    body::{self, BodyLimits},
    procedure::{ProcedureKind, Procedures},
    sse::{self, EventBody},
};

/// Where the procedures lie below the server's own prefix.
const PREFIX: &str = "/trpc";

/// What the application may set of the wire.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The most calls of one request.
    pub(crate) max_batch_size: usize,
    /// Bounds of what is sent by `POST`.
    pub(crate) body: BodyLimits,
    /// Whether queries and subscriptions may come by `POST`, with their input as body.
    pub(crate) method_override: bool,
    /// A subscription sends a ping after that much silence. Shorter than `reconnect_after_inactivity`.
    pub(crate) ping: Duration,
    /// After how much silence a subscription's client should take the connection for broken.
    pub(crate) reconnect_after_inactivity: Option<Duration>,
    /// How long a subscription's client should wait before it reconnects.
    pub(crate) retry: Duration,
}

/// The procedures over HTTP, below `/trpc`.
pub(crate) fn router<P: Procedures>(procedures: Arc<P>, settings: Settings) -> Router {
    let settings = Arc::new(settings);
    let handler = any(move |request: Request<Body>| {
        let (procedures, settings) = (procedures.clone(), settings.clone());
        async move { answer(procedures, &settings, request).await }
    });
    Router::new()
        .route(PREFIX, handler.clone())
        .route(&format!("{PREFIX}/"), handler.clone())
        .route(&format!("{PREFIX}/{{*path}}"), handler)
}

async fn answer<P: Procedures>(procedures: Arc<P>, settings: &Settings, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = if parts.method == Method::HEAD {
        let mut empty = Response::default();
        *empty.status_mut() = StatusCode::NO_CONTENT;
        empty
    } else {
        // Before anything is refused: a client that still sends would not read why.
        let text = match parts.method {
            Method::GET => Ok(Bytes::new()),
            _ => body::read(body, settings.body).await,
        };
        let path = parts.uri.path();
        let path = path.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        match Asked::of(&parts, path, settings, &*procedures) {
            Ok(asked) => dispatch(procedures, settings, parts, asked, text).await,
            Err(error) => error.into_response(),
        }
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("trpc-accept, accept"));
    response
}

async fn dispatch<P: Procedures>(
    procedures: Arc<P>,
    settings: &Settings,
    parts: http::request::Parts,
    asked: Asked,
    body: Result<Bytes, ApiError>,
) -> Response {
    let Asked { paths, batch, json_lines, params, input, position, allow } = asked;
    let caller = Arc::new(procedures.caller(&parts, params).await);
    let inputs = match input.map_or(body, |input| Ok(input.into())) {
        Ok(text) if batch => input::batch(&text, paths.len()),
        Ok(text) => vec![input::single(&text)],
        // It is each call that finds no input.
        Err(error) => vec![Err(error); paths.len()],
    };
    let wrong_method = allow.map(|_| parts.method);
    let calls = paths.into_iter().zip(inputs);
    let mut calls: Vec<_> = calls
        .map(|((path, kind), input)| {
            let (procedures, caller, wrong_method) = (procedures.clone(), caller.clone(), wrong_method.clone());
            Call { procedures, caller, path, kind, wrong_method, input }
        })
        .collect();
    let mut response = if json_lines {
        response::json_lines(calls)
    } else if batch {
        response::batch(&join_all(calls.into_iter().map(Call::answer)).await)
    } else {
        match calls.pop() {
            Some(call) if call.kind == Some(ProcedureKind::Subscription) => {
                subscription(call, position.as_deref(), settings).await
            }
            Some(call) => response::single(&call.answer().await),
            // A request that is no batch has one path.
            None => Response::default(),
        }
    };
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// A stream of events, or of the one error.
async fn subscription<P: Procedures>(call: Call<P>, position: Option<&str>, settings: &Settings) -> Response {
    let opened = call.subscribe(position).await;
    // Not before the subscription has begun: once a client sees it connected, what it publishes must arrive.
    let connected = |retry| frames::connected(retry, settings.reconnect_after_inactivity);
    let body = match opened {
        Ok(events) => Body::new(EventBody::new(
            connected(settings.retry),
            events,
            |_| Bytes::from_static(frames::PING),
            settings.ping,
        )),
        Err(error) => {
            let first = connected(error.retry_after().unwrap_or(settings.retry));
            Body::from([first, frames::error(&error, &call.path)].concat())
        }
    };
    let mut response = Response::new(body);
    response.headers_mut().extend(sse::HEADERS);
    response
}
