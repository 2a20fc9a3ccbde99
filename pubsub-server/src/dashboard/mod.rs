//! The live page: three files that hold nothing of the service, and ask for it as every client does.

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, header};

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// The page and what it is made of.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/_dashboard", get(|| async { file("text/html; charset=utf-8", include_str!("index.html")) }))
        .route("/_dashboard/app.js", get(|| async { file("text/javascript; charset=utf-8", include_str!("app.js")) }))
        .route("/_dashboard/app.css", get(|| async { file("text/css; charset=utf-8", include_str!("app.css")) }))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}
