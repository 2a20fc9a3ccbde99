//! The servers.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use pubsub::{
    Catalog, ChannelPolicy, HandlerError, Retention, Router,
    server::{Access, Server, WebPolicy},
};
use tokio::{net::TcpListener, sync::broadcast};

/// How many events a channel keeps.
const KEPT: usize = 10_000;
/// How many events a stream of the limit may lag behind.
const RING: usize = 1_024;

/// What streams carry.
#[pubsub::event(name = "ticks:made", channel = "ticks", direction = "sse")]
struct Tick {
    body: String,
}

/// What clients send.
#[pubsub::event(name = "tocks:sent", channel = "tocks", direction = "cse", reply = Heard)]
struct Tock {
    body: String,
}

/// The answer.
#[pubsub::payload]
struct Heard {
    size: usize,
}

async fn hear(tock: Tock) -> Result<Heard, HandlerError> {
    Ok(Heard { size: tock.body.len() })
}

/// The library over a bus at an address.
pub async fn ours(listener: TcpListener, address: &str) {
    let catalog = Catalog::new().with::<Tick>().unwrap().with::<Tock>().unwrap();
    let policy = ChannelPolicy::new().totally_ordered().retention(Retention::default().count(KEPT as u64));
    let bus = pubsub::builder(address).await.unwrap().catalog(catalog).policy("ticks", policy).unwrap().build();
    let actions: Router = Router::new().group("bench").concurrency(16).action(hear);
    let running = actions.start(&bus).await.unwrap();
    let server = Server::builder(&bus)
        .channel(WebPolicy::public("ticks").publish(Access::Public))
        .channel(WebPolicy::public("tocks"))
        .actions(running)
        .build()
        .unwrap();
    pubsub::server::serve(listener, server.router(), std::future::pending()).await.unwrap();
}

/// Text for all streams, and the latest events for those that come back.
struct Limit {
    sender: broadcast::Sender<Bytes>,
    kept: Mutex<(u64, VecDeque<(u64, Bytes)>)>,
}

/// Bare axum: no JSON is read, and nothing is kept per stream.
pub async fn limit(listener: TcpListener) {
    let limit = Limit { sender: broadcast::channel(RING).0, kept: Mutex::default() };
    let router = axum::Router::new()
        .route("/events", get(limit_events))
        .route("/publish", post(limit_publish))
        .with_state(Arc::new(limit));
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    axum::serve(listener, router).await.unwrap();
}

async fn limit_publish(State(limit): State<Arc<Limit>>, body: Bytes) -> Response {
    let mut kept = limit.kept.lock().unwrap();
    kept.0 += 1;
    let number = kept.0;
    let text = Bytes::from([format!("id: {number}\ndata: ").as_bytes(), &body, b"\n\n"].concat());
    kept.1.push_back((number, text.clone()));
    if kept.1.len() > KEPT {
        kept.1.pop_front();
    }
    // Nobody may be listening.
    let _ = limit.sender.send(text);
    drop(kept);
    ([(header::CONTENT_TYPE, "application/json")], format!(r#"{{"cursor":"{number}"}}"#)).into_response()
}

async fn limit_events(State(limit): State<Arc<Limit>>, headers: HeaderMap) -> Response {
    let after = headers.get("last-event-id").map(|id| id.to_str().unwrap().parse::<u64>().unwrap());
    let (past, receiver) = {
        let kept = limit.kept.lock().unwrap();
        let first = after.map_or(kept.1.len(), |after| kept.1.partition_point(|(number, _)| *number <= after));
        let past: Vec<Bytes> = kept.1.range(first..).map(|(_, text)| text.clone()).collect();
        (past, limit.sender.subscribe())
    };
    let live = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await.ok()?, receiver)) });
    let all = stream::iter([Bytes::from_static(b": hello\n\n")]).chain(stream::iter(past)).chain(live);
    let body = Body::from_stream(all.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
