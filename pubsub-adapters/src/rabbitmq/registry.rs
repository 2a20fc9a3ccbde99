//! The registry: what is bound to the exchanges of a deployment, in a stream that outlives them.
//!
//! Bindings go with their exchange, and the protocol lists neither queues nor bindings: whoever has to make a deleted
//! exchange again reads here what belongs to it, whichever process bound it. Entries are written before what they tell.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use lapin::{
    BasicProperties, Channel, Confirmation, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use pubsub_core::{Error, ErrorKind, EventId, Result};

use super::{
    connection::Link,
    error::{convert, is_different, is_missing, late},
    group::mark,
    names::{Names, short},
    stream::{Reader, Spec},
    topology::{ALTERNATE, Topologist, declare, lasting, stream_arguments, text, within},
};

const OPERATION: &str = "declare exchanges";
/// How many bytes of entries are kept: a hundred thousand groups that come and go.
const BYTES: u64 = 64 << 20;
/// How many entries the broker may send ahead.
const AHEAD: u16 = 512;

/// One thing that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A queue and what binds it: exchange and key.
    Bound { queue: String, bindings: Vec<(String, String)> },
    /// The exchange that says that a group is complete, and the group's token.
    Ready { exchange: String, token: String },
    /// What is no longer there.
    Gone(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Bound { queue: name, .. } | Self::Ready { exchange: name, .. } | Self::Gone(name) => name,
        }
    }

    /// A line of words between tabs, which no name and no key holds.
    fn line(&self) -> String {
        let mut words = match self {
            Self::Bound { queue, .. } => vec!["bound", queue],
            Self::Ready { exchange, token } => vec!["ready", exchange, token],
            Self::Gone(name) => vec!["gone", name],
        };
        if let Self::Bound { bindings, .. } = self {
            words.extend(bindings.iter().flat_map(|(exchange, key)| [exchange.as_str(), key.as_str()]));
        }
        words.join("\t")
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split('\t').collect();
        match words.split_first()? {
            (&"bound", [queue, bindings @ ..]) => {
                let pairs = bindings.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
                Some(Self::Bound { queue: (*queue).to_owned(), bindings: pairs.collect() })
            }
            (&"ready", [exchange, token]) => {
                Some(Self::Ready { exchange: (*exchange).to_owned(), token: (*token).to_owned() })
            }
            (&"gone", [name]) => Some(Self::Gone((*name).to_owned())),
            _ => None,
        }
    }
}

/// The registry of one deployment.
#[derive(Debug)]
pub(super) struct Registry {
    name: ShortString,
    /// What is written goes over the connection that alarms of the broker may hold back.
    publish: Arc<Link>,
}

impl Registry {
    pub(super) fn new(publish: Arc<Link>, names: &Names) -> Self {
        Self { name: short(&names.registry()), publish }
    }

    /// Writes entries, and returns once the broker has them.
    pub(super) async fn write(&self, entries: &[Entry], limit: Duration) -> Result<()> {
        let text = entries.iter().map(Entry::line).collect::<Vec<_>>().join("\n");
        self.put(BasicProperties::default().with_delivery_mode(2), text.into(), limit).await
    }

    /// All that is known, by name; `scratch` is used up.
    pub(super) async fn read(&self, scratch: Channel, limit: Duration) -> Result<BTreeMap<String, Entry>> {
        let token = EventId::random().to_string();
        self.put(mark(&token).properties, Bytes::new(), limit).await?;
        let mut reader = Reader::open(scratch, &self.name, Spec::First, AHEAD, OPERATION).await?;
        let mut known = BTreeMap::new();
        loop {
            let raw = within(OPERATION, reader.next()).await??.ok_or_else(|| late(OPERATION))?;
            if raw.mark() == Some(token.as_bytes()) {
                return Ok(known);
            }
            for entry in std::str::from_utf8(&raw.body).unwrap_or_default().lines().filter_map(Entry::parse) {
                match entry {
                    Entry::Gone(name) => drop(known.remove(&name)),
                    entry => drop(known.insert(entry.name().to_owned(), entry)),
                }
            }
        }
    }

    async fn put(&self, properties: BasicProperties, body: Bytes, limit: Duration) -> Result<()> {
        let live = self.publish.live(OPERATION, limit).await?;
        let failed = |error| convert(OPERATION, error);
        let channel = live.channel(OPERATION).await?;
        within(OPERATION, channel.confirm_select(ConfirmSelectOptions::default())).await?.map_err(failed)?;
        // Once more where it had to be made first.
        for _ in 0..2 {
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let (to, copy) = (self.name.clone(), properties.clone());
            let sent = async { channel.basic_publish(ShortString::default(), to, options, &body, copy).await?.await };
            match within(OPERATION, sent).await?.map_err(failed)? {
                Confirmation::Ack(None) | Confirmation::NotRequested => return Ok(()),
                Confirmation::Ack(Some(_)) => {}
                Confirmation::Nack(_) => break,
            }
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let declared = channel.queue_declare(self.name.clone(), options, stream_arguments(BYTES, None));
            within(OPERATION, declared).await?.map_err(failed)?;
        }
        Err(Error::new(ErrorKind::Backend, OPERATION, "the broker does not store what is bound"))
    }
}

/// What tells that a group is there: an exchange that nothing uses. Its token is where the broker compares it.
fn ready_arguments(token: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    text(&mut arguments, ALTERNATE, &format!("pubsub: {token}"));
    arguments
}

/// Says that a group is there, unless it is said.
pub(super) async fn ready(scratch: &Channel, exchange: &str, token: &str) -> Result<()> {
    declare(scratch, exchange, ExchangeKind::Fanout, ready_arguments(token)).await
}

/// The token of a group; none if the group is not there. The broker tells it only in its refusal of another one.
pub(super) async fn ready_token(
    topology: &Topologist,
    exchange: &str,
    operation: &'static str,
) -> Result<Option<String>> {
    const NONE: &str = "?";
    let scratch = topology.scratch(operation).await?;
    let look = ExchangeDeclareOptions { passive: true, ..lasting() };
    let found = scratch.exchange_declare(short(exchange), ExchangeKind::Fanout, look, FieldTable::default());
    match within(operation, found).await? {
        Ok(()) => {}
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(convert(operation, error)),
    }
    let asked = scratch.exchange_declare(short(exchange), ExchangeKind::Fanout, lasting(), ready_arguments(NONE));
    match within(operation, asked).await? {
        // It was deleted at this moment, and is there without a queue: whoever takes from it makes the queue again.
        Ok(()) => Ok(Some(NONE.to_owned())),
        Err(error) if is_different(&error) => {
            let text = error.to_string();
            let token = text.split_once("but current is '").and_then(|(_, rest)| rest.split('\'').next());
            Ok(Some(token.and_then(|token| token.strip_prefix("pubsub: ")).unwrap_or_default().to_owned()))
        }
        Err(error) => Err(convert(operation, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let bindings = vec![("p/events".to_owned(), "*.a".to_owned()), ("p/later".to_owned(), "#".to_owned())];
        for entry in [
            Entry::Bound { queue: "p/group/g/a/-".to_owned(), bindings },
            Entry::Bound { queue: "p/q".to_owned(), bindings: Vec::new() },
            Entry::Ready { exchange: "p/ready/g/a".to_owned(), token: "t".to_owned() },
            Entry::Gone("p/q".to_owned()),
        ] {
            assert_eq!(Entry::parse(&entry.line()), Some(entry));
        }
        assert!(["", "bound", "ready\tx", "other\tx"].iter().all(|line| Entry::parse(line).is_none()));
    }
}
