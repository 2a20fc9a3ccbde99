//! Kafka: idempotent, `acks=all`, a window of delivery futures; offsets stored after handling, committed each
//! second and in the end.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::KafkaError,
    producer::{FutureProducer, FutureRecord, future_producer::DeliveryFuture},
    types::RDKafkaErrorCode,
};
use tokio::sync::mpsc;

use super::{Back, Limit, Place};

/// The client and its topic.
pub struct Kafka {
    producer: FutureProducer,
    config: ClientConfig,
    topic: String,
    window: usize,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn config(place: &Place) -> ClientConfig {
    let servers = place.url.trim_start_matches("kafka://").split(['?', '/']).next().unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

fn admin(place: &Place) -> AdminClient<DefaultClientContext> {
    config(place).create().unwrap()
}

async fn create(place: &Place, topic: &str) {
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    for created in admin(place).create_topics(&[new], &AdminOptions::new()).await.unwrap() {
        created.unwrap();
    }
}

impl Kafka {
    fn join(place: &Place) -> Self {
        let config = config(place);
        let mut producer = config.clone();
        producer.set("acks", "all").set("enable.idempotence", "true");
        producer.set("linger.ms", if place.prompt { "0" } else { "5" });
        let topic = format!("{}-limit", place.name);
        Self { producer: producer.create().unwrap(), config, topic, window: place.window() }
    }

    fn try_send(&self, body: &Bytes) -> Option<DeliveryFuture> {
        match self.producer.send_result(FutureRecord::<(), [u8]>::to(&self.topic).payload(&body[..])) {
            Ok(delivery) => Some(delivery),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => None,
            Err((error, _)) => panic!("{error}"),
        }
    }
}

async fn delivered(delivery: DeliveryFuture) {
    delivery.await.unwrap().unwrap();
}

impl Limit for Kafka {
    async fn open(place: &Place) -> Self {
        let this = Self::join(place);
        create(place, &this.topic).await;
        this
    }

    async fn publish(&self, count: usize, mut body: impl FnMut() -> Bytes + Send) {
        let mut open = VecDeque::with_capacity(self.window);
        for _ in 0..count {
            let body = body();
            let delivery = loop {
                match self.try_send(&body) {
                    Some(delivery) => break delivery,
                    None => delivered(open.pop_front().unwrap()).await,
                }
            };
            open.push_back(delivery);
            if open.len() >= self.window {
                delivered(open.pop_front().unwrap()).await;
            }
        }
        for delivery in open {
            delivered(delivery).await;
        }
    }

    fn send(&self, body: Bytes) -> impl Future<Output = ()> + Send + 'static {
        delivered(self.try_send(&body).unwrap())
    }

    async fn consume(&self, count: usize, mut each: impl FnMut(&[u8]) + Send) {
        let mut config = self.config.clone();
        config.set("group.id", format!("{}-g", self.topic)).set("auto.offset.reset", "earliest");
        config.set("enable.auto.offset.store", "false").set("auto.commit.interval.ms", "1000");
        let consumer: StreamConsumer = config.create().unwrap();
        consumer.subscribe(&[&self.topic]).unwrap();
        for _ in 0..count {
            let message = consumer.recv().await.unwrap();
            each(message.payload().unwrap());
            consumer.store_offset_from_message(&message).unwrap();
        }
        tokio::task::block_in_place(|| consumer.commit_consumer_state(CommitMode::Sync)).unwrap();
        // It takes its time to leave the group.
        std::thread::spawn(move || drop(consumer));
    }

    async fn sweep(place: &Place) {
        let admin = admin(place);
        let metadata =
            tokio::task::block_in_place(|| admin.inner().fetch_metadata(None, Duration::from_secs(10)).unwrap());
        let left: Vec<&str> =
            metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.contains(&place.name)).collect();
        if !left.is_empty() {
            admin.delete_topics(&left, &AdminOptions::new()).await.unwrap();
        }
    }
}

impl Back for Kafka {
    type Way = (FutureProducer, String);

    async fn open_responder(place: &Place) -> Self {
        Self::join(place)
    }

    async fn open_back(place: &Place) -> (Self::Way, mpsc::UnboundedReceiver<Bytes>) {
        let topic = format!("{}-back", place.name);
        create(place, &topic).await;
        let mut config = config(place);
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
        let producer = config.clone().set("acks", "1").set("linger.ms", "0").create().unwrap();
        let consumer: StreamConsumer =
            config.set("group.id", &topic).set("enable.auto.commit", "false").create().unwrap();
        consumer.assign(&partitions).unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(message) = consumer.recv().await {
                if sender.send(Bytes::copy_from_slice(message.payload().unwrap())).is_err() {
                    break;
                }
            }
        });
        ((producer, topic), receiver)
    }

    fn reply((producer, topic): &Self::Way, body: Bytes) -> impl Future<Output = ()> + Send + 'static {
        let sent = producer.send_result(FutureRecord::<(), [u8]>::to(topic).payload(&body[..]));
        delivered(sent.map_err(|(error, _)| error).unwrap())
    }
}
