//! `pika`: an event is a message of an exchange.

use libtest_mimic::Failed;
use serde_json::{Map, Value};

use crate::{client::Client, parcel::Parcel, sdk::Form, tool};

pub(crate) struct Pika {
    pub(crate) url: String,
    pub(crate) prefix: String,
}

impl Pika {
    fn run(&self, arguments: &[&str], input: &str) -> Result<String, Failed> {
        let arguments: Vec<_> = [self.url.as_str()].iter().chain(arguments).copied().collect();
        tool::run(tool::script("rabbitmq_client.py", &arguments)?, input)
    }

    /// What the library writes for itself, such as dead letters, has an exchange of its own.
    fn exchange(&self, channel: &str) -> String {
        format!("{}/{}", self.prefix, if channel.starts_with('_') { "internal" } else { "events" })
    }

    /// The channel behind its shard, of which an unordered one has none.
    fn routing_key(channel: &str) -> String {
        format!("-.{channel}")
    }

    /// A queue of the client's own.
    fn queue(&self, channel: &str) -> String {
        format!("{}.pika.{channel}", self.prefix)
    }
}

impl Client for Pika {
    fn listen(&self, channel: &str) -> Result<(), Failed> {
        self.run(&["bind", &self.exchange(channel), &Self::routing_key(channel), &self.queue(channel)], "").map(drop)
    }

    fn send(&self, channel: &str, parcel: &Parcel) -> Result<(), Failed> {
        self.run(&["publish", &self.exchange(channel), &Self::routing_key(channel)], &parcel.to_json()?).map(drop)
    }

    fn receive(&self, channel: &str) -> Result<Parcel, Failed> {
        Parcel::from_json(&self.run(&["get", &self.queue(channel)], "")?)
    }

    fn attributes(&self, parcel: &Parcel) -> Map<String, Value> {
        parcel.attributes("cloudEvents:", str::to_owned)
    }

    fn form(&self) -> Option<Form> {
        Some(Form::Amqp)
    }
}
