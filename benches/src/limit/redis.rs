//! Redis: 512 single `XADD` in flight on one multiplexed connection; `XREADGROUP` of 512 on a connection of its own, the
//! next read under way before the entries are handled, and one `XACK` per read that nobody waits for until the end.

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{AsyncConnectionConfig, Client, Cmd, Value, aio::MultiplexedConnection, cmd};
use tokio::sync::mpsc;

use super::{Back, Limit, Place};

const IN_FLIGHT: usize = 512;
const READ: usize = 512;
/// How many `XACK` may be under way.
const ACKS: usize = 8;

/// The client and its stream.
#[derive(Debug)]
pub struct Redis {
    shared: MultiplexedConnection,
    reader: MultiplexedConnection,
    stream: String,
}

async fn connect(url: &str) -> MultiplexedConnection {
    let address = url.split('?').next().unwrap();
    // A blocking read lasts longer than the half second that the client grants by default.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Client::open(address).unwrap().get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

async fn run(mut connection: MultiplexedConnection, command: Cmd) -> Value {
    command.query_async(&mut connection).await.unwrap()
}

impl Redis {
    async fn join(place: &Place) -> Self {
        let (shared, reader) = (connect(&place.url).await, connect(&place.url).await);
        Self { shared, reader, stream: format!("{}-limit", place.name) }
    }

    fn add(&self, body: &[u8]) -> impl Future<Output = Value> + Send + use<> {
        let mut command = cmd("XADD");
        command.arg(&self.stream).arg("*").arg("d").arg(body);
        run(self.shared.clone(), command)
    }

    fn read(&self) -> impl Future<Output = Value> + Send + use<> {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg("g").arg("c").arg("COUNT").arg(READ).arg("BLOCK").arg(2_000);
        command.arg("STREAMS").arg(&self.stream).arg(">");
        run(self.reader.clone(), command)
    }
}

/// The entries of the one stream in a reply of `XREADGROUP`: `[[stream, [[id, [field, value]], …]]]`.
fn entries(reply: Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Value::Array(streams) = reply else { return Vec::new() };
    let Some(Value::Array(mut stream)) = streams.into_iter().next() else { return Vec::new() };
    let Some(Value::Array(entries)) = stream.pop() else { return Vec::new() };
    let entry = |entry| {
        let Value::Array(mut parts) = entry else { return None };
        let Some(Value::Array(mut fields)) = parts.pop() else { return None };
        match (parts.pop(), fields.pop()) {
            (Some(Value::BulkString(id)), Some(Value::BulkString(body))) => Some((id, body)),
            _ => None,
        }
    };
    entries.into_iter().filter_map(entry).collect()
}

impl Limit for Redis {
    async fn open(place: &Place) -> Self {
        let this = Self::join(place).await;
        let mut command = cmd("XGROUP");
        command.arg("CREATE").arg(&this.stream).arg("g").arg("0").arg("MKSTREAM");
        run(this.shared.clone(), command).await;
        this
    }

    async fn publish(&self, count: usize, mut body: impl FnMut() -> Bytes + Send) {
        let mut open = FuturesUnordered::new();
        for _ in 0..count {
            if open.len() >= IN_FLIGHT {
                open.next().await;
            }
            open.push(self.add(&body()));
        }
        while open.next().await.is_some() {}
    }

    fn send(&self, body: Bytes) -> impl Future<Output = ()> + Send + 'static {
        let add = self.add(&body);
        async move {
            add.await;
        }
    }

    async fn consume(&self, count: usize, mut each: impl FnMut(&[u8]) + Send) {
        let mut acks = tokio::task::JoinSet::new();
        let mut seen = 0;
        let mut reading = tokio::spawn(self.read());
        loop {
            let found = entries(reading.await.unwrap());
            seen += found.len();
            reading = tokio::spawn(self.read());
            let mut command = cmd("XACK");
            command.arg(&self.stream).arg("g");
            for (id, body) in &found {
                each(body);
                command.arg(id);
            }
            if !found.is_empty() {
                acks.spawn(run(self.shared.clone(), command));
            }
            while acks.len() > if seen < count { ACKS } else { 0 } {
                acks.join_next().await.unwrap().unwrap();
            }
            if seen >= count {
                reading.abort();
                return;
            }
        }
    }

    async fn sweep(place: &Place) {
        let connection = connect(&place.url).await;
        let mut cursor = "0".to_owned();
        loop {
            let mut command = cmd("SCAN");
            command.arg(&cursor).arg("MATCH").arg(format!("*{}*", place.name)).arg("COUNT").arg(1_000);
            let (next, keys): (String, Vec<Vec<u8>>) =
                redis::from_redis_value(run(connection.clone(), command).await).unwrap();
            if !keys.is_empty() {
                let mut command = cmd("UNLINK");
                command.arg(keys);
                run(connection.clone(), command).await;
            }
            if next == "0" {
                return;
            }
            cursor = next;
        }
    }
}

impl Back for Redis {
    type Way = (MultiplexedConnection, String);

    async fn open_responder(place: &Place) -> Self {
        Self::join(place).await
    }

    async fn open_back(place: &Place) -> (Self::Way, mpsc::UnboundedReceiver<Bytes>) {
        let name = format!("{}-back", place.name);
        let address = place.url.split('?').next().unwrap();
        let mut inbox = Client::open(address).unwrap().get_async_pubsub().await.unwrap();
        inbox.subscribe(&name).await.unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut messages = inbox.into_on_message();
            while let Some(message) = messages.next().await {
                if sender.send(Bytes::copy_from_slice(message.get_payload_bytes())).is_err() {
                    break;
                }
            }
        });
        ((connect(&place.url).await, name), receiver)
    }

    fn reply((connection, name): &Self::Way, body: Bytes) -> impl Future<Output = ()> + Send + 'static {
        let mut command = cmd("PUBLISH");
        command.arg(name).arg(&body[..]);
        let published = run(connection.clone(), command);
        async move {
            published.await;
        }
    }
}
