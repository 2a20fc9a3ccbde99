//! A server on a port of its own, and a client that reads streams as the standard says.
#![allow(dead_code, reason = "not every test uses everything")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use pubsub::{
    Catalog, ChannelPolicy, Emitter, Failure, FailureCode, HandlerError, PubSub, Retention, Router, Running,
    server::{Server, ServerBuilder, Tokens, User, WebPolicy, serve},
};
use reqwest::{Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[pubsub::event("orders:created", direction = "both", reply = Created)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderCreated {
    #[event(key)]
    pub(crate) order_id: String,
    pub(crate) total: f64,
}

#[pubsub::payload]
pub(crate) struct Created {
    pub(crate) number: u64,
}

#[pubsub::event("orders:noted", direction = "sse")]
pub(crate) struct Noted {
    pub(crate) order: String,
}

#[pubsub::event("orders:audited", direction = "internal")]
pub(crate) struct Audited {
    pub(crate) order: String,
}

#[pubsub::event("orders:count", direction = "cse", read_only, reply = Created)]
pub(crate) struct Count {}

/// How often actions ran, and in which order.
#[derive(Clone, Default)]
pub(crate) struct Ran(Arc<Mutex<Vec<String>>>);

impl Ran {
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// The bus of most tests.
pub(crate) async fn bus(url: &str) -> PubSub {
    let catalog = Catalog::new();
    let catalog = catalog.with::<OrderCreated>().unwrap().with::<Noted>().unwrap();
    let catalog = catalog.with::<Audited>().unwrap().with::<Count>().unwrap();
    let kept = |count| ChannelPolicy::new().totally_ordered().retention(Retention::default().count(count));
    let builder = pubsub::builder(url).await.unwrap().catalog(catalog);
    let builder = builder.policy("orders", ChannelPolicy::new().declared_only()).unwrap();
    builder.policy("demo.*", kept(10_000)).unwrap().policy("short.*", kept(5)).unwrap().build()
}

/// Actions for the events of the bus.
pub(crate) async fn actions(bus: &PubSub) -> (Running, Ran) {
    let ran = Ran::default();
    let seen = ran.clone();
    let create = move |order: OrderCreated, emit: Emitter| {
        let seen = seen.clone();
        async move {
            if order.total < 0.0 {
                emit.emit(&Noted { order: order.order_id })?;
                let failure = Failure::new(FailureCode::UnprocessableContent, "the total is negative");
                return Err(HandlerError::from(failure));
            }
            if order.total > 1_000.0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let number = {
                let mut ran = seen.0.lock().unwrap();
                ran.push(order.order_id.clone());
                ran.len() as u64
            };
            emit.emit(&Noted { order: order.order_id.clone() })?;
            emit.emit(&Audited { order: order.order_id })?;
            Ok(Created { number })
        }
    };
    let counted = ran.clone();
    let count = move |_: Count| {
        let number = counted.count() as u64;
        async move { Ok(Created { number }) }
    };
    let router: Router = Router::new().group("orders").concurrency(16).action(create).action(count);
    (router.start(bus).await.unwrap(), ran)
}

/// Everybody may do everything, with quick heartbeats.
pub(crate) fn open(bus: &PubSub) -> ServerBuilder {
    let tokens = Tokens::new()
        .with("reader-token", User::new("reader", ["reader"]))
        .with("writer-token", User::new("writer", ["reader", "writer"]));
    Server::builder(bus)
        .channel(WebPolicy::public("orders"))
        .channel(WebPolicy::public("demo.*"))
        .channel(WebPolicy::public("short.*"))
        .authenticate(tokens)
        .configure(|settings| {
            settings.heartbeat = Duration::from_millis(300);
            settings.reconnect_after_inactivity = Duration::from_secs(2);
            settings.retry = Duration::from_millis(200);
        })
}

/// A server that is served.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) server: Server,
    pub(crate) client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Site {
    pub(crate) async fn of(builder: ServerBuilder) -> Self {
        Self::at(builder.build().unwrap(), |server| server.router()).await
    }

    /// A server that is mounted as `mount` says.
    pub(crate) async fn at(server: Server, mount: impl FnOnce(&Server) -> axum::Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let router = mount(&server);
        let task = tokio::spawn(serve(listener, router, async move {
            stopped.await.ok();
        }));
        Self { url, server, client: reqwest::Client::new(), stop: Some(stop), task }
    }

    /// A public site over a private bus.
    pub(crate) async fn simple() -> (Self, PubSub) {
        let bus = bus("memory:").await;
        (Self::of(open(&bus)).await, bus)
    }

    pub(crate) fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).ok();
        timeout(PATIENCE, &mut self.task).await.unwrap().unwrap().unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.client.get(format!("{}{path}", self.url)).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        read(self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap()).await
    }

    pub(crate) async fn post_as(&self, token: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(token).json(body);
        read(request.send().await.unwrap()).await
    }

    /// Publishes numbered events and gives their cursors.
    pub(crate) async fn publish(&self, channel: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
        let mut cursors = Vec::new();
        for n in numbers {
            let body = json!({ "name": "demo:number", "payload": { "n": n } });
            let (status, out) = self.post(&format!("/channels/{channel}/events"), &body).await;
            assert_eq!(status, 200, "{out}");
            cursors.push(out["cursor"].as_str().unwrap().to_owned());
        }
        cursors
    }

    pub(crate) async fn stream(&self, query: &str) -> Stream {
        self.stream_with(query, HeaderMap::new()).await
    }

    pub(crate) async fn stream_with(&self, query: &str, headers: HeaderMap) -> Stream {
        let request = self.client.get(format!("{}/events?{query}", self.url)).headers(headers);
        Stream::of(request.send().await.unwrap()).await
    }

    /// A subscription of tRPC.
    pub(crate) async fn subscribe(&self, path: &str, input: &Value) -> Stream {
        let mut url = reqwest::Url::parse(&format!("{}/trpc/{path}", self.url)).unwrap();
        url.query_pairs_mut().append_pair("input", &input.to_string());
        Stream::of(self.client.get(url).send().await.unwrap()).await
    }
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A block of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) event: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) retry: Option<String>,
}

impl Block {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap()).unwrap()
    }

    /// The number that [`Site::publish`] put in.
    pub(crate) fn number(&self) -> u64 {
        self.json()["payload"]["n"].as_u64().unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// A stream of events.
pub(crate) struct Stream {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The first block: what is sent at once.
    pub(crate) greeting: Block,
    response: Option<Response>,
    text: String,
    blocks: VecDeque<Block>,
}

impl Stream {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let is_stream = headers.get("content-type").is_some_and(|value| value == "text/event-stream");
        let mut stream = Self {
            status,
            headers,
            greeting: Block::default(),
            response: Some(response),
            text: String::new(),
            blocks: VecDeque::new(),
        };
        if is_stream {
            stream.greeting = stream.block().await.unwrap();
        }
        stream
    }

    /// The body of what is no stream.
    pub(crate) async fn error(mut self) -> Value {
        self.response.take().unwrap().json().await.unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The next block, comments aside; `None` at the end.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        timeout(PATIENCE, self.read_block()).await.expect("nothing came")
    }

    async fn read_block(&mut self) -> Option<Block> {
        loop {
            if let Some(block) = self.blocks.pop_front() {
                return Some(block);
            }
            let chunk = self.response.as_mut()?.chunk().await.ok().flatten();
            let Some(chunk) = chunk else {
                self.response = None;
                return None;
            };
            self.text.push_str(std::str::from_utf8(&chunk).expect("whole characters"));
            while let Some(end) = self.text.find("\n\n") {
                let block = parse(&self.text[..end]);
                self.text.drain(..end + 2);
                if block != Block::default() {
                    self.blocks.push_back(block);
                }
            }
        }
    }

    /// The next event; pings, and places without an event, are passed over.
    pub(crate) async fn event(&mut self) -> Option<Block> {
        loop {
            let block = self.block().await?;
            if block.event.as_deref() != Some("ping") && block.data.is_some() {
                return Some(block);
            }
        }
    }

    /// The numbers of the next events.
    pub(crate) async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            numbers.push(self.event().await.expect("the stream ended").number());
        }
        numbers
    }

    /// Waits for the end.
    pub(crate) async fn end(&mut self) {
        while self.block().await.is_some() {}
    }
}

fn parse(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.split('\n').filter(|line| !line.starts_with(':') && !line.is_empty()) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        let place = match field {
            "event" => &mut block.event,
            "id" => &mut block.id,
            "data" => &mut block.data,
            "retry" => &mut block.retry,
            _ => panic!("{line}"),
        };
        assert!(place.replace(value).is_none(), "{field} twice in {text}");
    }
    block
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, limit: Duration, mut is: impl AsyncFnMut() -> bool) {
    let start = tokio::time::Instant::now();
    while !is().await {
        assert!(start.elapsed() < limit, "not so after {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
