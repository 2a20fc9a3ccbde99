//! The plain endpoints: the same operations, asked for in plain HTTP.

mod stream;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header, request::Parts};
use pubsub_core::rpc::FailureCode;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    ApiError,
    body::{self, BodyLimits},
    connection_params,
    edge::{Caller, Edge},
    ops::{self, HistoryInput, ListInput, PublishInput, SendInput, fault},
    query::Query,
    ready::readiness,
};

/// All plain endpoints.
pub(crate) fn router(edge: Edge) -> Router {
    let edge = Arc::new(edge);
    Router::new()
        .route("/events", get(stream::events).post(send_event))
        .route("/channels", get(list_channels))
        .route("/channels/{channel}/events", post(publish))
        .route("/channels/{channel}/history", get(history))
        .route("/status", get(status))
        .route("/health", get(health))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/sse-ticket", post(ticket))
        .route("/openapi.json", get(|State(edge): State<Arc<Edge>>| document(edge.documents.openapi.clone())))
        .route("/asyncapi.json", get(|State(edge): State<Arc<Edge>>| document(edge.documents.asyncapi.clone())))
        .fallback(|| async { ApiError::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(FailureCode::MethodNotSupported, "this path is not asked for by this method")
        })
        .with_state(edge)
}

/// Who asks, and what its rate allows.
async fn caller(edge: &Edge, parts: &Parts) -> Result<Caller, ApiError> {
    let query = Query::of(&parts.uri);
    let params = query.filled("connectionParams").map(connection_params::parse).transpose()?.flatten();
    let caller = edge.identify(parts, params.as_ref(), None).await;
    edge.admit(&caller)?;
    Ok(caller)
}

fn answer(output: Result<impl Serialize, ApiError>) -> Response {
    match output.and_then(|output| ops::write(&output)) {
        Ok(text) => json(StatusCode::OK, String::from(Box::<str>::from(text)).into()),
        Err(error) => error.into_response(),
    }
}

fn json(status: StatusCode, text: Bytes) -> Response {
    let mut response = (status, text).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body that must be JSON.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`, those of the body, `BAD_REQUEST`.
async fn json_body(edge: &Edge, parts: &Parts, body: Body) -> Result<Box<RawValue>, ApiError> {
    // Read first: a client that still sends would not read why it was refused.
    let limits = BodyLimits { size: edge.settings.max_body_size, time: edge.settings.body_timeout };
    let bytes = body::read(body, limits).await;
    let given = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let text = "the content type must be application/json";
        return Err(ApiError::new(FailureCode::UnsupportedMediaType, text));
    }
    serde_json::from_slice(&bytes?).map_err(|_| fault("", "the body is not JSON"))
}

async fn send_event(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let send = async {
        let text = json_body(&edge, &parts, body).await;
        let caller = caller(&edge, &parts).await?;
        caller.user()?;
        edge.send_event(&caller, ops::read::<SendInput>(Some(&text?))?).await
    };
    answer(send.await)
}

async fn publish(State(edge): State<Arc<Edge>>, path: NamedChannel, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let publish = async {
        let text = json_body(&edge, &parts, body).await;
        let caller = caller(&edge, &parts).await?;
        caller.user()?;
        let input = in_channel::<PublishInput>(&text?, &channel_of(path)?)?;
        edge.publish(&caller, input).await
    };
    answer(publish.await)
}

/// The channel that a path names, unless its escapes are no text.
type NamedChannel = Result<Path<String>, PathRejection>;

fn channel_of(path: NamedChannel) -> Result<String, ApiError> {
    path.map(|Path(channel)| channel).map_err(|_| fault("/channel", "the channel in the path is no text"))
}

/// An input whose channel is that of the path.
fn in_channel<T: DeserializeOwned>(text: &RawValue, channel: &str) -> Result<T, ApiError> {
    let mut members: std::collections::BTreeMap<String, Box<RawValue>> = ops::read(Some(text))?;
    let own = serde_json::value::to_raw_value(channel).map_err(|_| fault("/channel", "not a channel"))?;
    members.insert("channel".to_owned(), own);
    ops::read(Some(&*ops::write(&members)?))
}

async fn list_channels(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let list = async {
        let caller = caller(&edge, &parts).await?;
        let family = Query::of(&parts.uri).get("family").map(str::to_owned);
        edge.list_channels(&caller, ListInput { family }).await
    };
    answer(list.await)
}

async fn history(State(edge): State<Arc<Edge>>, path: NamedChannel, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let fetch = async {
        let caller = caller(&edge, &parts).await?;
        let query = Query::of(&parts.uri);
        let text = |name: &str| query.get(name).map(str::to_owned);
        let limit = match query.get("limit") {
            Some(limit) => Some(limit.parse().map_err(|_| fault("/limit", "a page has 1 to 1000 events"))?),
            None => None,
        };
        let input = HistoryInput { channel: channel_of(path)?, after: text("after"), since: text("since"), limit };
        edge.fetch_history(&caller, input).await
    };
    answer(fetch.await)
}

async fn status(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let status = async {
        let caller = caller(&edge, &parts).await?;
        edge.service_status(caller.user()?.map(|user| &**user)).await
    };
    answer(status.await)
}

async fn health(State(edge): State<Arc<Edge>>) -> Response {
    let (healthy, text) = edge.health().await;
    json(status_of(healthy), text.to_string().into())
}

async fn ready(State(edge): State<Arc<Edge>>) -> Response {
    let (ready, text) = readiness(&edge);
    json(status_of(ready), text.to_string().into())
}

fn status_of(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn metrics(State(edge): State<Arc<Edge>>) -> Response {
    let mut text = crate::metrics::text(&edge);
    if let Some(more) = &edge.metrics {
        text.push_str(&more());
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn ticket(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let issue = async {
        let caller = caller(&edge, &parts).await?;
        let user = caller.user()?.ok_or_else(|| ApiError::unauthorized("a ticket is for a user"))?;
        edge.gate.tickets.issue(user)
    };
    let mut response = answer(issue.await);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn document(text: Bytes) -> Response {
    json(StatusCode::OK, text)
}
