//! Questions and answers: by the library, and by hand over the bare client.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use pubsub::{EventRpc, PubSub, Responder};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    brokers::{clock::Since, ours::address},
    event::{Order, order},
    limit::{Back, Limit, Place},
    pairs::quantile,
};

/// How many calls are open at a time, where there are several.
const OPEN: usize = 64;
const CLOSE: Duration = Duration::from_secs(10);

/// What something costs.
#[pubsub::event(name = "orders:price", reply = Price)]
struct AskPrice {
    order: Order,
}

/// The answer.
#[pubsub::payload]
struct Price {
    total: f64,
}

/// Somebody who asks, and somebody who answers, each with a connection.
#[diagnostic::on_unimplemented(
    message = "`{Self}` asks nobody",
    note = "there are `OurCalls`, `ByHand<Limit>` and `Channels`"
)]
pub trait Calls: Sized + Send + Sync + 'static {
    /// Connects both for so many calls.
    fn open(place: &Place, calls: usize) -> impl Future<Output = Self> + Send;

    /// Asks, and has the answer when it resolves.
    fn call(&self, order: Order) -> impl Future<Output = ()> + Send + 'static;

    /// Lets go of the broker.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Calls per second that are made one after the other, and the 99th percentile of their microseconds.
pub async fn one_by_one<C: Calls>(place: Place, count: usize, size: usize) -> [f64; 2] {
    let (calls, order) = (C::open(&place, count + 1).await, order(size));
    calls.call(order.clone()).await;
    let mut micros = Vec::with_capacity(count);
    let since = Since::now();
    for _ in 0..count {
        let asked = Instant::now();
        calls.call(order.clone()).await;
        micros.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    let [rate, _] = since.per(count);
    calls.close().await;
    [rate, quantile(&mut micros, 0.99)]
}

/// Calls per second with 64 of them open, and nanoseconds of this process per call.
pub async fn together<C: Calls>(place: Place, count: usize, size: usize) -> [f64; 2] {
    let (calls, order) = (C::open(&place, count + 1).await, order(size));
    calls.call(order.clone()).await;
    let since = Since::now();
    let mut open = stream::iter(0..count).map(|_| calls.call(order.clone())).buffer_unordered(OPEN);
    while open.next().await.is_some() {}
    drop(open);
    let figures = since.per(count);
    calls.close().await;
    figures
}

/// The library.
#[derive(Debug)]
pub struct OurCalls {
    rpc: EventRpc,
    responder: Responder,
    buses: [PubSub; 2],
}

impl Calls for OurCalls {
    async fn open(place: &Place, _: usize) -> Self {
        let address = address(place);
        let buses = [pubsub::connect(&address).await.unwrap(), pubsub::connect(&address).await.unwrap()];
        let price = |asked: AskPrice| async move { Ok(Price { total: asked.order.total }) };
        let responder = EventRpc::new(&buses[1]).respond::<AskPrice, _, _>("g", price).await.unwrap();
        Self { rpc: EventRpc::new(&buses[0]), responder, buses }
    }

    fn call(&self, order: Order) -> impl Future<Output = ()> + Send + 'static {
        let rpc = self.rpc.clone();
        async move { assert!(rpc.request(&AskPrice { order }).await.unwrap().total > 0.0) }
    }

    async fn close(self) {
        self.responder.stop().await;
        // An adapter that cannot delete a group leaves it to the sweep; the figures are known already.
        let _ = self.buses[0].delete_group("orders", "g").await;
        for bus in self.buses {
            let _ = bus.close(CLOSE).await;
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Question {
    call: u64,
    order: Order,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    call: u64,
    total: f64,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<f64>>>>;

/// A table of calls over the bare client: requests go through its durable queue, replies the way that its users send them.
pub struct ByHand<L> {
    limit: Arc<L>,
    waiting: Waiting,
    next: AtomicU64,
    tasks: Vec<JoinHandle<()>>,
}

impl<L> std::fmt::Debug for ByHand<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByHand").finish_non_exhaustive()
    }
}

fn answer(body: &[u8]) -> Bytes {
    let question: Question = serde_json::from_slice(body).unwrap();
    serde_json::to_vec(&Reply { call: question.call, total: question.order.total }).unwrap().into()
}

fn take(waiting: &Waiting, body: &[u8]) {
    let reply: Reply = serde_json::from_slice(body).unwrap();
    let caller = waiting.lock().unwrap().remove(&reply.call);
    let _ = caller.unwrap().send(reply.total);
}

impl<L: Limit + Back> Calls for ByHand<L> {
    async fn open(place: &Place, calls: usize) -> Self {
        let (limit, asked) = (Arc::new(L::open(place).await), Arc::new(L::open_responder(place).await));
        let (way, mut replies) = L::open_back(place).await;
        let waiting = Waiting::default();
        let table = waiting.clone();
        let listener = tokio::spawn(async move {
            while let Some(body) = replies.recv().await {
                take(&table, &body);
            }
        });
        let (sender, mut answers) = mpsc::unbounded_channel();
        let consumer = tokio::spawn(async move {
            asked.consume(calls, |body| sender.send(answer(body)).unwrap()).await;
        });
        let replier = tokio::spawn(async move {
            while let Some(body) = answers.recv().await {
                tokio::spawn(L::reply(&way, body));
            }
        });
        Self { limit, waiting, next: AtomicU64::new(0), tasks: vec![listener, consumer, replier] }
    }

    fn call(&self, order: Order) -> impl Future<Output = ()> + Send + 'static {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.waiting.lock().unwrap().insert(call, sender);
        let sent = self.limit.send(serde_json::to_vec(&Question { call, order }).unwrap().into());
        async move { assert!(future::join(sent, reply).await.1.unwrap() > 0.0) }
    }

    async fn close(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Two tasks and two channels, with JSON both ways.
#[derive(Debug)]
pub struct Channels {
    requests: mpsc::Sender<Bytes>,
    waiting: Waiting,
    next: AtomicU64,
}

impl Calls for Channels {
    async fn open(_: &Place, _: usize) -> Self {
        let (requests, mut asked) = mpsc::channel::<Bytes>(1_024);
        let (replies, mut answered) = mpsc::channel::<Bytes>(1_024);
        let waiting = Waiting::default();
        let table = waiting.clone();
        tokio::spawn(async move {
            while let Some(body) = asked.recv().await {
                replies.send(answer(&body)).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Some(body) = answered.recv().await {
                take(&table, &body);
            }
        });
        Self { requests, waiting, next: AtomicU64::new(0) }
    }

    fn call(&self, order: Order) -> impl Future<Output = ()> + Send + 'static {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.waiting.lock().unwrap().insert(call, sender);
        let requests = self.requests.clone();
        async move {
            requests.send(serde_json::to_vec(&Question { call, order }).unwrap().into()).await.unwrap();
            assert!(reply.await.unwrap() > 0.0);
        }
    }

    async fn close(self) {}
}
