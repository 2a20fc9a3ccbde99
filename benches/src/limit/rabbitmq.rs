//! RabbitMQ: a quorum queue, with a stream beside it behind one exchange where there is history; persistent messages with a window of 1,024 confirms; a prefetch of 2,000, and every 200th
//! delivery acknowledged for all before it.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind, PublisherConfirm,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::sync::mpsc;

use super::{Back, Limit, Place};

const WINDOW: usize = 1_024;
const PREFETCH: u16 = 2_000;
const TOGETHER: usize = 200;

/// The client and its queue, with a connection for each direction.
pub struct RabbitMq {
    publisher: Channel,
    consumer: Channel,
    queue: ShortString,
    /// Where events go: to the queue by its name, or to both by the exchange.
    exchange: ShortString,
    _connections: [Connection; 2],
}

impl std::fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitMq").field("queue", &self.queue).finish_non_exhaustive()
    }
}

async fn connect(place: &Place) -> Connection {
    let address = place.url.split('?').next().unwrap();
    Connection::connect(address, ConnectionProperties::default()).await.unwrap()
}

fn queue(place: &Place) -> ShortString {
    format!("{}-limit", place.name).into()
}

/// The exchange that stands before queue and stream has the queue's name.
fn stream(place: &Place) -> ShortString {
    format!("{}-limit-history", place.name).into()
}

async fn declare(channel: &Channel, name: ShortString, kind: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    channel.queue_declare(name, QueueDeclareOptions::durable(), arguments).await.unwrap();
}

async fn publish(channel: Channel, exchange: ShortString, queue: ShortString, body: Bytes) -> PublisherConfirm {
    let properties = BasicProperties::default().with_delivery_mode(2);
    channel.basic_publish(exchange, queue, BasicPublishOptions::default(), &body, properties).await.unwrap()
}

async fn confirmed(confirm: PublisherConfirm) {
    assert!(confirm.await.unwrap().is_ack());
}

impl Limit for RabbitMq {
    async fn open(place: &Place) -> Self {
        let connections = [connect(place).await, connect(place).await];
        let publisher = connections[0].create_channel().await.unwrap();
        publisher.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let consumer = connections[1].create_channel().await.unwrap();
        declare(&consumer, queue(place), "quorum").await;
        let mut exchange = ShortString::default();
        if place.history {
            declare(&consumer, stream(place), "stream").await;
            exchange = queue(place);
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let declared =
                consumer.exchange_declare(exchange.clone(), ExchangeKind::Fanout, options, FieldTable::default());
            declared.await.unwrap();
            for name in [queue(place), stream(place)] {
                let (key, options) = (ShortString::default(), QueueBindOptions::default());
                consumer.queue_bind(name, exchange.clone(), key, options, FieldTable::default()).await.unwrap();
            }
        }
        consumer.basic_qos(PREFETCH, BasicQosOptions::default()).await.unwrap();
        Self { publisher, consumer, queue: queue(place), exchange, _connections: connections }
    }

    async fn publish(&self, count: usize, mut body: impl FnMut() -> Bytes + Send) {
        let mut open = VecDeque::with_capacity(WINDOW);
        for _ in 0..count {
            if open.len() >= WINDOW {
                confirmed(open.pop_front().unwrap()).await;
            }
            open.push_back(publish(self.publisher.clone(), self.exchange.clone(), self.queue.clone(), body()).await);
        }
        for confirm in open {
            confirmed(confirm).await;
        }
    }

    fn send(&self, body: Bytes) -> impl Future<Output = ()> + Send + 'static {
        let (channel, exchange, queue) = (self.publisher.clone(), self.exchange.clone(), self.queue.clone());
        async move { confirmed(publish(channel, exchange, queue, body).await).await }
    }

    async fn consume(&self, count: usize, mut each: impl FnMut(&[u8]) + Send) {
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let channel = &self.consumer;
        let mut deliveries = channel.basic_consume(self.queue.clone(), "".into(), options, arguments).await.unwrap();
        for seen in 1..=count {
            let delivery = deliveries.next().await.unwrap().unwrap();
            each(&delivery.data);
            if seen % TOGETHER == 0 || seen == count {
                channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: true }).await.unwrap();
            }
        }
        // What is sent on a channel is done in order: with this answer, the acknowledgement before it is known.
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.unwrap();
    }

    async fn sweep(place: &Place) {
        let connection = connect(place).await;
        let channel = connection.create_channel().await.unwrap();
        // What is not there is deleted already.
        let _ = channel.queue_delete(queue(place), QueueDeleteOptions::default()).await;
        let _ = channel.queue_delete(stream(place), QueueDeleteOptions::default()).await;
        let _ = channel.exchange_delete(queue(place), ExchangeDeleteOptions::default()).await;
    }
}

impl Back for RabbitMq {
    type Way = (Channel, ShortString, Connection);

    async fn open_responder(place: &Place) -> Self {
        Self::open(place).await
    }

    async fn open_back(place: &Place) -> (Self::Way, mpsc::UnboundedReceiver<Bytes>) {
        let (caller, responder) = (connect(place).await, connect(place).await);
        let channel = caller.create_channel().await.unwrap();
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap().name().clone();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let mut deliveries =
            channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await.unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let _connection = (caller, channel);
            while let Some(Ok(delivery)) = deliveries.next().await {
                if sender.send(delivery.data.into()).is_err() {
                    break;
                }
            }
        });
        let channel = responder.create_channel().await.unwrap();
        ((channel, queue, responder), receiver)
    }

    fn reply((channel, queue, _): &Self::Way, body: Bytes) -> impl Future<Output = ()> + Send + 'static {
        let (channel, queue) = (channel.clone(), queue.clone());
        async move {
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            channel.basic_publish("".into(), queue, options, &body, properties).await.unwrap();
        }
    }
}
