//! The stream of a subscription that is refused.

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, header};

use super::Settings;
use crate::ApiError;

/// The client gets to know why, which it would not by the status. It reconnects if the code is one of the server's own
/// troubles (number -32603), else it gives up.
pub(super) fn refused(error: &ApiError, path: &str, settings: &Settings) -> Response {
    let retry = error.retry_after().unwrap_or(settings.retry).as_millis();
    let inactivity = settings.reconnect_after_inactivity.as_millis();
    let error = error.to_object(Some(path));
    let mut response = Response::new(Body::from(format!(
        "retry: {retry}\nevent: connected\ndata: {{\"reconnectAfterInactivityMs\":{inactivity}}}\n\n\
         event: serialized-error\ndata: {error}\n\n"
    )));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
