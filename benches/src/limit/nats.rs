//! NATS: JetStream on files, a window of 2,048 acknowledgements; a durable pull consumer with explicit
//! acknowledgements that nobody waits for but the last.

use std::{collections::VecDeque, future::IntoFuture};

use async_nats::jetstream::{
    self, Context,
    consumer::{AckPolicy, PullConsumer, pull},
    stream::{Config, StorageType},
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::{Back, Limit, Place};

const WINDOW: usize = 2_048;
const BATCH: usize = 1_000;
const MAX_ACK_PENDING: i64 = 20_000;

/// The client, its stream and its consumer.
#[derive(Debug)]
pub struct Nats {
    context: Context,
    consumer: PullConsumer,
    subject: async_nats::Subject,
}

async fn connect(place: &Place) -> Context {
    let address = place.url.split('?').next().unwrap();
    jetstream::new(async_nats::connect(address).await.unwrap())
}

impl Nats {
    /// The same stream and consumer, whoever comes first.
    async fn join(place: &Place) -> Self {
        let context = connect(place).await;
        let name = format!("{}-limit", place.name);
        let config = Config {
            name: name.clone(),
            subjects: vec![name.clone()],
            storage: StorageType::File,
            ..Config::default()
        };
        let stream = context.create_stream(config).await.unwrap();
        let config = pull::Config {
            durable_name: Some("g".to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: MAX_ACK_PENDING,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.unwrap();
        Self { context, consumer, subject: name.into() }
    }
}

impl Limit for Nats {
    async fn open(place: &Place) -> Self {
        Self::join(place).await
    }

    async fn publish(&self, count: usize, mut body: impl FnMut() -> Bytes + Send) {
        let mut open = VecDeque::with_capacity(WINDOW);
        for _ in 0..count {
            if open.len() >= WINDOW {
                let oldest: jetstream::context::PublishAckFuture = open.pop_front().unwrap();
                oldest.await.unwrap();
            }
            open.push_back(self.context.publish(self.subject.clone(), body()).await.unwrap());
        }
        for ack in open {
            ack.await.unwrap();
        }
    }

    fn send(&self, body: Bytes) -> impl Future<Output = ()> + Send + 'static {
        let (context, subject) = (self.context.clone(), self.subject.clone());
        async move {
            context.publish(subject, body).await.unwrap().into_future().await.unwrap();
        }
    }

    async fn consume(&self, count: usize, mut each: impl FnMut(&[u8]) + Send) {
        let mut messages = self.consumer.stream().max_messages_per_batch(BATCH).messages().await.unwrap();
        for seen in 1..=count {
            let message = messages.next().await.unwrap().unwrap();
            each(&message.payload);
            if seen < count {
                message.ack().await.unwrap();
            } else {
                message.double_ack().await.unwrap();
            }
        }
    }

    async fn sweep(place: &Place) {
        let context = connect(place).await;
        let names: Vec<String> = context.stream_names().try_collect().await.unwrap();
        for name in names.iter().filter(|name| name.contains(&place.name)) {
            context.delete_stream(name).await.unwrap();
        }
    }
}

impl Back for Nats {
    type Way = (async_nats::Client, async_nats::Subject);

    async fn open_responder(place: &Place) -> Self {
        Self::join(place).await
    }

    async fn open_back(place: &Place) -> (Self::Way, mpsc::UnboundedReceiver<Bytes>) {
        let address = place.url.split('?').next().unwrap();
        let (caller, responder) =
            (async_nats::connect(address).await.unwrap(), async_nats::connect(address).await.unwrap());
        let subject = async_nats::Subject::from(format!("{}-back", place.name));
        let mut messages = caller.subscribe(subject.clone()).await.unwrap();
        caller.flush().await.unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                if sender.send(message.payload).is_err() {
                    break;
                }
            }
        });
        ((responder, subject), receiver)
    }

    fn reply((client, subject): &Self::Way, body: Bytes) -> impl Future<Output = ()> + Send + 'static {
        let (client, subject) = (client.clone(), subject.clone());
        async move { client.publish(subject, body).await.unwrap() }
    }
}
