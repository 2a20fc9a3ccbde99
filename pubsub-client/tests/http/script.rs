//! A server whose answers are a function of what it is asked.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use futures_util::{Stream, StreamExt, stream};
use pubsub_client::http::HttpClient;
use serde_json::Value;
use tokio::task::JoinHandle;

/// Longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) token: Option<String>,
    pub(crate) position: Option<String>,
    pub(crate) body: Value,
}

type Answer = Arc<dyn Fn(usize, &Seen) -> Response + Send + Sync>;

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// `answer` gets the number of the request, from 0, and the request.
    pub(crate) async fn start(answer: impl Fn(usize, &Seen) -> Response + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Answer = Arc::new(answer);
        let app = Router::new().fallback(handle).with_state((seen.clone(), answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen, task }
    }

    pub(crate) fn client(&self) -> HttpClient {
        self.builder().build().unwrap()
    }

    /// A client that waits for little.
    pub(crate) fn builder(&self) -> pubsub_client::http::HttpClientBuilder {
        let builder = HttpClient::builder(&self.url).timeout(LIMIT).inactivity(LIMIT);
        builder.backoff(Duration::from_millis(5), Duration::from_millis(20))
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(State((seen, answer)): State<(Arc<Mutex<Vec<Seen>>>, Answer)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| Some(parts.headers.get(name)?.to_str().unwrap().to_owned());
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let one = Seen {
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        token: header("authorization"),
        position: header("last-event-id"),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(one.clone());
        seen.len() - 1
    };
    answer(number, &one)
}

pub(crate) fn json(status: u16, value: &Value) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(value.to_string())).unwrap()
}

pub(crate) fn status(status: u16) -> Response {
    Response::builder().status(status).header("retry-after", "0").body(Body::from("<html>")).unwrap()
}

/// How a stream goes on behind what was written.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// The server ends it.
    End,
    /// The connection breaks.
    Break,
    /// Nothing more comes.
    Silence,
    /// Comments come, and nothing else.
    Comments,
}

pub(crate) fn events(text: &str, then: Then) -> Response {
    let head = stream::iter([Ok::<_, io::Error>(Bytes::from(text.to_owned()))]);
    let rest: std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> = match then {
        Then::End => Box::pin(stream::empty()),
        // The head has to leave before the connection breaks, or it breaks with it.
        Then::Break => Box::pin(stream::once(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(io::Error::other("broken"))
        })),
        Then::Silence => Box::pin(stream::pending()),
        Then::Comments => Box::pin(stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok(Bytes::from_static(b":\n\n")), ()))
        })),
    };
    stream_of(Body::from_stream(head.chain(rest)))
}

/// A stream that says by the channel when it is no longer read.
pub(crate) fn watched(gone: tokio::sync::mpsc::UnboundedSender<()>) -> Response {
    struct Guard(tokio::sync::mpsc::UnboundedSender<()>);
    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    // Something has to be written for the server to notice.
    let body = stream::unfold(Guard(gone), |guard| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b":\n\n")), guard))
    });
    stream_of(Body::from_stream(body))
}

fn stream_of(body: Body) -> Response {
    Response::builder().header("content-type", "text/event-stream; charset=utf-8").body(body).unwrap()
}
