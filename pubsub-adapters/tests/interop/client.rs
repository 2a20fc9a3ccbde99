//! What a plain client can do.

use libtest_mimic::Failed;
use pubsub_testkit::broker::BrokerKind;
use serde_json::{Map, Value};

use crate::{kafka, nats, parcel::Parcel, rabbitmq, redis, sdk::Form, tool};

/// A plain client in one case's corner of a broker.
pub(crate) trait Client: Send + Sync {
    /// What must be added to our address, so that the client can read what we publish.
    fn options(&self) -> &'static str {
        ""
    }

    /// Sees to it that what is published from now on can be received.
    fn listen(&self, channel: &str) -> Result<(), Failed> {
        let _ = channel;
        Ok(())
    }

    /// Sends to a channel.
    fn send(&self, channel: &str, parcel: &Parcel) -> Result<(), Failed>;

    /// The first that was published on a channel.
    fn receive(&self, channel: &str) -> Result<Parcel, Failed>;

    /// The attributes of an event in headers.
    fn attributes(&self, parcel: &Parcel) -> Map<String, Value>;

    /// The form in which the stock SDK of CloudEvents writes what this broker carries, if it has one.
    fn form(&self) -> Option<Form>;

    /// A CloudEvent of another library: `binary` or `structured`.
    fn foreign(&self, mode: &str, attributes: &Value, data: &Value) -> Result<Parcel, Failed> {
        match self.form() {
            Some(form) => form.write(mode, attributes, data),
            None => Err("the stock SDK has no form for this broker".into()),
        }
    }
}

/// Why there is no plain client of this broker here.
pub(crate) fn is_here(kind: BrokerKind) -> Result<(), String> {
    match kind {
        BrokerKind::Redis => redis::is_here(),
        BrokerKind::Kafka => {
            let console = pubsub_testkit::broker::kafka_program("").map(drop);
            console.map_err(|fault| fault.to_string()).and_then(|()| tool::python().map(drop))
        }
        BrokerKind::Nats | BrokerKind::RabbitMq => tool::python().map(drop),
    }
}

/// A client of the server at `url`, in the corner that `prefix` sets apart.
pub(crate) fn open(kind: BrokerKind, url: &str, prefix: &str) -> Box<dyn Client> {
    let (url, prefix) = (url.to_owned(), prefix.to_owned());
    match kind {
        BrokerKind::Redis => Box::new(redis::Cli { url, prefix }),
        BrokerKind::Kafka => Box::new(kafka::Console { url, prefix }),
        BrokerKind::Nats => Box::new(nats::NatsPy { url, prefix }),
        BrokerKind::RabbitMq => Box::new(rabbitmq::Pika { url, prefix }),
    }
}
