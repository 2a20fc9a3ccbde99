//! Requests and answers: the one place that knows the HTTP client beneath.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use pubsub_core::{
    Error, ErrorKind, Result,
    rpc::{CallError, Failure, FailureCode},
};
use reqwest::{
    Method, RequestBuilder, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde_json::{Value, json};

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

#[derive(Clone)]
pub(super) struct Transport {
    client: reqwest::Client,
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
    pub(super) fn new(base: &str, token: TokenSource, headers: &[(String, String)], connect: Duration) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, "build client", message);
        let base = base.trim_end_matches('/').to_owned();
        let url = reqwest::Url::parse(&base).map_err(|error| invalid(format!("field `url` is no URL: {error}")))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                let message = "TLS is not built in: put what ends it before this client, and write `http://`";
                return Err(Error::new(ErrorKind::Unsupported, "build client", message));
            }
            other => return Err(invalid(format!("field `url` has the scheme `{other}`, not `http`"))),
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("field `url` has a query or a fragment".into()));
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let parsed = (name.parse::<reqwest::header::HeaderName>(), HeaderValue::from_str(value));
            let (Ok(name), Ok(value)) = parsed else {
                return Err(invalid(format!("field `header` cannot be sent: `{}`", name.escape_debug())));
            };
            map.append(name, value);
        }
        let client = reqwest::Client::builder().connect_timeout(connect).build();
        let client = client.map_err(|error| invalid("the HTTP client cannot be built".into()).because(error))?;
        Ok(Self { client, base, token, headers: map })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request with the caller's token, which is asked for anew, and gives an answer of success.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Refusal> {
        let mut request = request.headers(self.headers.clone());
        if let Some(token) = (self.token)().await? {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| Error::new(ErrorKind::Invalid, "send", "the token cannot be sent"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let response = request.send().await.map_err(|error| broken("send", error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }

    /// Posts JSON and reads the answer.
    pub(super) async fn post(&self, path: &str, body: Bytes) -> Result<Value, Refusal> {
        let request = self.client.post(self.url(path)).header(CONTENT_TYPE, "application/json").body(body);
        let response = self.send(request).await?;
        // Something was done for this answer: that it cannot be read does not undo it.
        let bytes = whole(response).await.map_err(Error::perhaps_applied)?;
        let value = serde_json::from_slice(&bytes).map_err(|cause| {
            Error::new(ErrorKind::Codec, "send", "the answer is no JSON").perhaps_applied().because(cause)
        })?;
        Ok(value)
    }

    /// Opens a stream of events.
    pub(super) async fn open(&self, url: &str, last_id: &str) -> Result<Response, Refusal> {
        let mut request = self.client.request(Method::GET, url).header("accept", "text/event-stream");
        if !last_id.is_empty() {
            // An id in other characters than a header takes cannot be asked for.
            let value = HeaderValue::from_bytes(last_id.as_bytes()).map_err(|_| {
                Error::new(ErrorKind::Invalid, "open stream", "the last id of the stream cannot be sent as a header")
            })?;
            request = request.header("last-event-id", value);
        }
        let response = self.send(request.header("cache-control", "no-store")).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if response.status().as_u16() != 200 || !kind.eq_ignore_ascii_case("text/event-stream") {
            // 204 is how servers of events say that there is nothing more to come.
            let message = format!("the answer is no stream of events: {} `{}`", response.status(), kind.escape_debug());
            return Err(Error::new(ErrorKind::Rejected, "open stream", message).into());
        }
        Ok(response)
    }
}

/// A failure of the connection.
pub(super) fn broken(operation: &'static str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Unavailable };
    // A connection that was never made has carried nothing.
    let was_sent = !error.is_connect() && !error.is_builder();
    let told = Error::new(kind, operation, "the server cannot be reached, or left").because(error);
    if was_sent { told.perhaps_applied() } else { told }
}

async fn whole(mut response: Response) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken("read answer", error))? {
        if bytes.len() + chunk.len() > LONGEST_ANSWER {
            let message = format!("the answer is longer than {LONGEST_ANSWER} bytes");
            return Err(Error::new(ErrorKind::TooLarge, "read answer", message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What the server said no with: its error object, or what its status says, which may be a proxy's.
async fn refused(response: Response) -> Refusal {
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
    let message = error["message"].as_str().map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    let mut failure = Failure::new(code, message);
    if error["data"]["issues"].is_array() {
        failure = failure.with_details(json!({ "faults": error["data"]["issues"] }));
    }
    Refusal { error: failure.into(), wait }
}
