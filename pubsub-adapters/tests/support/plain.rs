//! What other programs put on a broker: messages at the very place of a channel, by the bare clients.

use std::{collections::HashMap, time::Duration};

use pubsub_testkit::broker::BrokerKind;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer},
};

use super::Outcome;

/// A message as its broker knows it: header names and values, and the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plain {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Plain {
    pub(crate) fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Where a channel of a deployment lies.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) kind: BrokerKind,
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) channel: String,
    pub(crate) durable: bool,
}

impl Place {
    /// Puts a message there. The broker has confirmed it when this returns, where it can.
    pub(crate) async fn put(&self, message: &Plain) -> Outcome {
        match self.kind {
            BrokerKind::Redis => self.redis(message).await,
            BrokerKind::Nats => self.nats(message).await,
            BrokerKind::Kafka => self.kafka(message).await,
            BrokerKind::RabbitMq => self.rabbitmq(message).await,
        }
    }

    /// A stream entry whose fields are the headers, with the body as `data`; on pub/sub the body alone.
    async fn redis(&self, message: &Plain) -> Outcome {
        let client = redis::Client::open(self.url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let name = format!("pubsub:{{{}/{}}}", self.prefix, self.channel);
        if !self.durable {
            redis::cmd("PUBLISH").arg(name).arg(&message.body).exec_async(&mut connection).await?;
            return Ok(());
        }
        let mut command = redis::cmd("XADD");
        command.arg(name).arg("*");
        for (field, value) in &message.headers {
            command.arg(*field).arg(value);
        }
        Ok(command.arg("data").arg(&message.body).exec_async(&mut connection).await?)
    }

    async fn nats(&self, message: &Plain) -> Outcome {
        let client = async_nats::connect(&self.url).await?;
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in &message.headers {
            // The colon of AMQP's names ends a name here.
            headers.insert(name.replace(':', "-").as_str(), value.as_str());
        }
        let kind = if self.durable { "d.-" } else { "e" };
        let subject = format!("{}.{kind}.{}", self.prefix, self.channel);
        if self.durable {
            let stream = async_nats::jetstream::new(client);
            stream.publish_with_headers(subject, headers, message.body.clone().into()).await?.await?;
        } else {
            client.publish_with_headers(subject, headers, message.body.clone().into()).await?;
            client.flush().await?;
        }
        Ok(())
    }

    async fn kafka(&self, message: &Plain) -> Outcome {
        let servers = self.url.trim_start_matches("kafka://").split('/').next().unwrap_or_default();
        let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", servers).create()?;
        let topic = format!("_p{}.{}.{}", self.prefix.len(), self.prefix, self.channel);
        let headers = message
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let record: FutureRecord<'_, (), _> = FutureRecord::to(&topic).headers(headers).payload(&message.body);
        producer.send(record, Duration::from_secs(10)).await.map_err(|(error, _)| error)?;
        // Its end blocks for a moment.
        tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(5))).await??;
        Ok(())
    }

    async fn rabbitmq(&self, message: &Plain) -> Outcome {
        use lapin::{
            BasicProperties, Connection, ConnectionProperties,
            options::{BasicPublishOptions, ConfirmSelectOptions},
            types::{AMQPValue, FieldTable, LongString},
        };
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let headers: HashMap<_, _> = message.headers.iter().cloned().collect();
        let mut table = FieldTable::default();
        for (name, value) in &headers {
            if *name != "content-type" {
                table.insert((*name).into(), AMQPValue::LongString(LongString::from(value.as_str())));
            }
        }
        let mut properties = BasicProperties::default().with_headers(table);
        if let Some(value) = headers.get("content-type") {
            properties = properties.with_content_type(value.as_str().into());
        }
        let (exchange, key) = (if self.durable { "events" } else { "live" }, format!("-.{}", self.channel));
        let exchange = format!("{}/{exchange}", self.prefix);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = channel
            .basic_publish(exchange.as_str().into(), key.as_str().into(), options, &message.body, properties)
            .await?
            .await?;
        let returned = format!("{confirm:?}");
        connection.close(200, "done".into()).await?;
        super::check(!confirm.is_nack() && confirm.take_message().is_none(), format_args!("not routed: {returned}"))
    }
}
