//! Requests and answers: the one place that knows the HTTP client beneath.

use std::{error::Error as StdError, fmt, future::Future, io, iter, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyDataStream, BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use pubsub_core::{
    Error, ErrorKind, Result,
    rpc::{CallError, Failure, FailureCode},
};
use serde_json::{Value, json};

use super::connect::{self, Connector};

/// An answer longer than this is not read to its end.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Asks for the caller's token; `None` for a caller without one.
pub(super) type TokenSource =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Option<String>>> + Send>> + Send + Sync>;

/// A failed attempt, and how long the server asked to wait.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: CallError,
    pub(super) wait: Option<Duration>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error: error.into(), wait: None }
    }
}

/// The bytes of a stream of events.
pub(super) type Body = BodyDataStream<Incoming>;

#[derive(Clone)]
pub(super) struct Transport {
    client: Client<Connector, Full<Bytes>>,
    /// Without a slash at its end.
    base: String,
    token: TokenSource,
    headers: HeaderMap,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The headers may hold secrets.
        f.debug_struct("Transport").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Transport {
    pub(super) fn new(
        base: &str,
        token: TokenSource,
        headers: &[(String, String)],
        options: &connect::Options,
    ) -> Result<Self> {
        let base = base.trim_end_matches('/').to_owned();
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(connect::connector(is_encrypted(&base)?, options)?);
        Ok(Self { client, base, token, headers: parsed(headers)? })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request with the caller's token, which is asked for anew, and gives an answer of success.
    async fn send(&self, request: &Request<Bytes>) -> Result<Response<Incoming>, Refusal> {
        let token = (self.token)().await?;
        let mut response = self.attempt(request, token.as_deref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && token.is_some() {
            // It may have expired on the way. Another one is tried, and no third.
            let fresh = (self.token)().await?;
            if fresh != token {
                response = self.attempt(request, fresh.as_deref()).await?;
            }
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }

    async fn attempt(&self, request: &Request<Bytes>, token: Option<&str>) -> Result<Response<Incoming>> {
        let mut request = request.clone().map(Full::new);
        request.headers_mut().extend(self.headers.clone());
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| Error::new(ErrorKind::Invalid, "send", "the token cannot be sent"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.client.request(request).await.map_err(|error| {
            // A connection that was never made has carried nothing.
            let was_sent = !error.is_connect();
            let told = broken("send", error);
            if was_sent { told.perhaps_applied() } else { told }
        })
    }

    /// Posts JSON and reads the answer.
    pub(super) async fn post(&self, path: &str, body: Bytes) -> Result<Value, Refusal> {
        let mut request = request(Method::POST, &self.url(path), body)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = self.send(&request).await?;
        // Something was done for this answer: that it cannot be read does not undo it.
        let bytes = whole(response).await.map_err(Error::perhaps_applied)?;
        let value = serde_json::from_slice(&bytes).map_err(|cause| {
            Error::new(ErrorKind::Codec, "send", "the answer is no JSON").perhaps_applied().because(cause)
        })?;
        Ok(value)
    }

    /// Opens a stream of events.
    pub(super) async fn open(&self, url: &str, last_id: &str) -> Result<Body, Refusal> {
        let mut request = request(Method::GET, url, Bytes::new())?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !last_id.is_empty() {
            // An id in other characters than a header takes cannot be asked for.
            let value = HeaderValue::from_bytes(last_id.as_bytes()).map_err(|_| {
                Error::new(ErrorKind::Invalid, "open stream", "the last id of the stream cannot be sent as a header")
            })?;
            headers.insert("last-event-id", value);
        }
        let response = self.send(&request).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if response.status() != StatusCode::OK || !kind.eq_ignore_ascii_case("text/event-stream") {
            // 204 is how servers of events say that there is nothing more to come.
            let message = format!("the answer is no stream of events: {} `{}`", response.status(), kind.escape_debug());
            return Err(Error::new(ErrorKind::Rejected, "open stream", message).into());
        }
        Ok(response.into_body().into_data_stream())
    }
}

/// Whether the address of a client asks for TLS.
fn is_encrypted(base: &str) -> Result<bool> {
    let invalid = |message: String| Error::new(ErrorKind::Invalid, "build client", message);
    let url: Uri = base.parse().map_err(|error| invalid("field `url` is no URL".into()).because(error))?;
    let Some(authority) = url.authority() else {
        return Err(invalid("field `url` is no URL with a scheme and a host".into()));
    };
    if authority.as_str().contains('@') {
        return Err(invalid("field `url` has a user or a password: send a token or a header".into()));
    }
    if url.query().is_some() || base.contains('#') {
        return Err(invalid("field `url` has a query or a fragment".into()));
    }
    match url.scheme_str() {
        Some("http") => Ok(false),
        Some("https") => Ok(true),
        other => {
            let scheme = other.unwrap_or_default();
            Err(invalid(format!("field `url` has the scheme `{scheme}`, not `http` or `https`")))
        }
    }
}

fn parsed(headers: &[(String, String)]) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let (Ok(parsed), Ok(mut value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) else {
            let message = format!("field `header` cannot be sent: `{}`", name.escape_debug());
            return Err(Error::new(ErrorKind::Invalid, "build client", message));
        };
        value.set_sensitive(true);
        map.append(parsed, value);
    }
    Ok(map)
}

pub(super) fn request(method: Method, url: &str, body: Bytes) -> Result<Request<Bytes>> {
    let request = Request::builder().method(method).uri(url).body(body);
    request.map_err(|error| Error::new(ErrorKind::Invalid, "send", "the address is no URL").because(error))
}

/// A failure of the connection.
pub(super) fn broken(operation: &'static str, error: impl StdError + Send + Sync + 'static) -> Error {
    let (kind, message) = cause_of(&error);
    Error::new(kind, operation, message).because(error)
}

fn cause_of(error: &(dyn StdError + 'static)) -> (ErrorKind, &'static str) {
    if let Some(told) = causes(error).find_map(connect::explain) {
        return told;
    }
    let timed_out = |cause: &(dyn StdError + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    };
    let kind = if causes(error).any(timed_out) { ErrorKind::Timeout } else { ErrorKind::Unavailable };
    (kind, "the server cannot be reached, or left")
}

/// The error and what caused it.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| {
        // What an I/O error wraps is passed over by its own `source`.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

async fn whole(response: Response<Incoming>) -> Result<Vec<u8>> {
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken("read answer", error))?;
        let Some(chunk) = frame.data_ref() else { continue };
        if bytes.len() + chunk.len() > LONGEST_ANSWER {
            let message = format!("the answer is longer than {LONGEST_ANSWER} bytes");
            return Err(Error::new(ErrorKind::TooLarge, "read answer", message));
        }
        bytes.extend_from_slice(chunk);
    }
    Ok(bytes)
}

/// What the server said no with: its error object, or what its status says, which may be a proxy's.
async fn refused(response: Response<Incoming>) -> Refusal {
    let status = response.status().as_u16();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let wait = seconds.map(Duration::from_secs);
    let body = match whole(response).await {
        Ok(bytes) => serde_json::from_slice::<Value>(&bytes).unwrap_or_default(),
        // The status has come, and says enough.
        Err(_) => Value::Null,
    };
    let error = &body["error"];
    let named = error["data"]["code"].as_str().and_then(|code| code.parse::<FailureCode>().ok());
    // A proxy's 400 says nothing of JSON.
    let mut codes = FailureCode::ALL.iter().copied().filter(|code| *code != FailureCode::ParseError);
    let by_status = codes.find(|code| code.http_status() == status);
    let code =
        named.or(by_status).unwrap_or(if status >= 500 { FailureCode::BadGateway } else { FailureCode::BadRequest });
    let said = || match status {
        300..400 => format!("HTTP status {status}: the server redirects, which is not followed: give the new address"),
        _ => format!("HTTP status {status}"),
    };
    let message = error["message"].as_str().map_or_else(said, str::to_owned);
    let mut failure = Failure::new(code, message);
    if error["data"]["issues"].is_array() {
        failure = failure.with_details(json!({ "faults": error["data"]["issues"] }));
    }
    Refusal { error: failure.into(), wait }
}
