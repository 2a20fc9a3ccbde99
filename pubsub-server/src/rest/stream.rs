//! `GET /events`: the plain stream.

use std::{pin::Pin, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, request::Parts};

use crate::{
    ApiError, connection_params,
    edge::Edge,
    hub::Heading,
    ops::{Plan, fault},
    query::Query,
    sse::{self, EventBody},
    streaming::Streaming,
};

/// Where a stream begins that was asked for a position.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("pubsub-last-event-id");
/// A sign of life that no client sees.
const COMMENT: &str = ":\n\n";

pub(super) async fn events(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let mut greeting = format!("retry: {}\n: connected\n\n", edge.settings.retry.as_millis());
    let mut response = if parts.method == Method::HEAD {
        Response::default()
    } else {
        match open(&edge, &parts).await {
            Ok(mut stream) => {
                if stream.began().is_none() {
                    greeting.extend(stream.place());
                }
                let began = stream.began().and_then(|began| HeaderValue::from_str(began).ok());
                let body = EventBody::new(greeting.into(), stream, heartbeat, edge.settings.heartbeat);
                let mut response = Response::new(Body::new(body));
                if let Some(began) = began {
                    response.headers_mut().insert(LAST_EVENT_ID, began);
                }
                response
            }
            // Any other status would end a browser's stream for good.
            Err(error) if error.code() == pubsub_core::rpc::FailureCode::ServiceUnavailable => {
                Response::new(Body::from(greeting))
            }
            Err(error) => return error.into_response(),
        }
    };
    response.headers_mut().extend(sse::HEADERS);
    response
}

/// A comment, and where the stream is by now.
fn heartbeat(stream: Pin<&mut Streaming>) -> Bytes {
    let place = stream.get_mut().place();
    place.map_or(Bytes::from_static(COMMENT.as_bytes()), |place| Bytes::from(format!("{COMMENT}{place}")))
}

async fn open(edge: &Edge, parts: &Parts) -> Result<Streaming, ApiError> {
    let query = Query::of(&parts.uri);
    let params = query.filled("connectionParams").map(connection_params::parse).transpose()?.flatten();
    let caller = edge.identify(parts, params.as_ref(), query.filled("ticket")).await;
    edge.admit(&caller)?;
    caller.user()?;
    let heading = match query.get("named") {
        None | Some("true") => Heading::Named,
        Some("false") => Heading::Plain,
        Some(_) => return Err(fault("/named", "`named` is `true` or `false`")),
    };
    // The header wins: a browser that reconnects repeats the old URL with a fresh header.
    let header = parts.headers.get("last-event-id").filter(|value| !value.is_empty());
    let position = match header {
        Some(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        None => query.filled("lastEventId").map(str::to_owned),
    };
    let plan = Plan {
        channels: query.all("channel").map(str::to_owned).collect(),
        names: query.all("event").map(str::to_owned).collect(),
        position,
        on_gap: query.get("onGap").map(str::to_owned),
    };
    if plan.channels.is_empty() {
        return Err(fault("/channel", "name a channel: `?channel=`"));
    }
    let stream = edge.subscribe_to(&caller, plan).await?;
    Ok(Streaming::new(stream, heading, &edge.settings))
}
