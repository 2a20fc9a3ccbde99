//! Other people's programs beside ours: `redis-cli`, Kafka's console tools, nats-py and pika publish JSON and CloudEvents
//! that typed subscriptions read, and read what we publish.

mod foreign;
#[path = "../support/mod.rs"]
mod support;

use std::{
    process::{self, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use foreign::{Foreign, Text};
use pubsub_core::{Event, EventId, PubSub};
use pubsub_testkit::{
    broker::{Broker, BrokerError, BrokerKind, BrokerOptions, find},
    conformance::Note,
};
use serde_json::{Value, json};
use support::{Case, Outcome, check, open, with};

const SOON: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    support::run(Site::start, CASES)
}

const CASES: &[Case<Site>] = &[
    ("a_foreign_json_document_is_read", |site| Box::pin(document_in(site))),
    ("a_foreign_binary_cloudevent_is_read", |site| Box::pin(binary_in(site))),
    ("a_foreign_structured_cloudevent_is_read", |site| Box::pin(structured_in(site))),
    ("our_cloudevents_are_read_by_others", |site| Box::pin(binary_out(site))),
    ("our_json_documents_are_read_by_others", |site| Box::pin(document_out(site))),
];

struct Site {
    kind: BrokerKind,
    url: String,
    _own: Option<Broker>,
}

impl Site {
    fn start(kind: BrokerKind) -> Result<Self, BrokerError> {
        foreign::find(kind)?;
        if let Some(url) = find::url_from_environment(kind) {
            return Ok(Self { kind, url, _own: None });
        }
        let broker = Broker::start(kind, &BrokerOptions::new())?;
        Ok(Self { kind, url: broker.url(), _own: Some(broker) })
    }

    /// A deployment of its own, and the foreign client of its broker.
    async fn deployment(&self, options: &str) -> Result<(PubSub, Foreign), Box<dyn std::error::Error + Send + Sync>> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("interop-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let bus = PubSub::new(open(&with(&self.url, &format!("prefix={prefix}{options}"))).await?);
        Ok((bus, Foreign::new(self.kind, &self.url, &prefix, Note::CHANNEL)))
    }

    /// What stands before the names of CloudEvents attributes in this broker's headers.
    fn lead(&self) -> &'static str {
        match self.kind {
            BrokerKind::Redis => "",
            BrokerKind::Nats => "ce-",
            BrokerKind::Kafka => "ce_",
            BrokerKind::RabbitMq => "cloudEvents:",
        }
    }
}

fn note() -> Note {
    Note { topic: "größe \"x\"".to_owned(), number: 7 }
}

/// Lets the foreign client publish, and expects the note in a typed subscription.
async fn reads(site: &Site, text: Text) -> Outcome {
    let (bus, foreign) = site.deployment("").await?;
    let mut events = bus.subscribe::<Note>().group("readers").await?;
    foreign.put(&text).await?;
    let event = events.next_timeout(SOON).await?.ok_or("no event came")?;
    check(*event == note(), format_args!("{:?} came", *event))?;
    check(event.id().to_string() == "foreign-1", format_args!("its id is {}", event.id()))?;
    event.ack_confirmed().await?;
    Ok(bus.close(SOON).await?)
}

async fn document_in(site: Arc<Site>) -> Outcome {
    let document = json!({
        "id": "foreign-1", "name": Note::NAME, "channel": Note::CHANNEL, "payload": note(),
        "timestamp": "2026-01-31T12:00:00.000Z",
    });
    reads(&site, Text::new(document.to_string())).await
}

async fn binary_in(site: Arc<Site>) -> Outcome {
    let mut text = Text::new(json!(note()).to_string());
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", "foreign-1"),
        ("source", "/warehouse"),
        ("type", Note::NAME),
        ("time", "2026-01-31T12:00:00Z"),
    ] {
        text.headers.push((format!("{}{name}", site.lead()), value.to_owned()));
    }
    text.headers.push(("content-type".to_owned(), "application/json".to_owned()));
    reads(&site, text).await
}

async fn structured_in(site: Arc<Site>) -> Outcome {
    let event = json!({
        "specversion": "1.0", "id": "foreign-1", "source": "/warehouse", "type": Note::NAME,
        "time": "2026-01-31T12:00:00Z", "datacontenttype": "application/json", "data": note(),
    });
    let mut text = Text::new(event.to_string());
    text.headers.push(("content-type".to_owned(), "application/cloudevents+json".to_owned()));
    reads(&site, text).await
}

/// Publishes a note, and gives what the foreign client read.
async fn published(site: &Site, options: &str) -> Result<(EventId, Text), Box<dyn std::error::Error + Send + Sync>> {
    let (bus, foreign) = site.deployment(options).await?;
    // So that the channel is there before anybody listens.
    let events = bus.subscribe::<Note>().group("readers").await?;
    let listening = foreign.listen().await?;
    let id: EventId = "ours-1".parse()?;
    bus.publish(&note()).id(id.clone()).await?;
    let text = listening.text().await?;
    drop(events);
    bus.close(SOON).await?;
    Ok((id, text))
}

async fn binary_out(site: Arc<Site>) -> Outcome {
    // Redis knows no headers; the fields of an entry stand in for them if one asks for it.
    let options = if site.kind == BrokerKind::Redis { "&fields=cloudevents" } else { "" };
    let (id, text) = published(&site, options).await?;
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", &id.to_string()),
        ("type", Note::NAME),
        ("subject", Note::CHANNEL),
        ("source", "/pubsub"),
    ] {
        let found = text.header(&format!("{}{name}", site.lead()));
        check(found == Some(value), format_args!("{name} is {found:?}: {text:?}"))?;
    }
    let content_type = text.header("content-type").or(text.header("datacontenttype"));
    check(content_type == Some("application/json"), format_args!("its type is {content_type:?}"))?;
    check(serde_json::from_str::<Value>(&text.body)? == json!(note()), format_args!("the body is {}", text.body))
}

async fn document_out(site: Arc<Site>) -> Outcome {
    let (id, text) = published(&site, "&wire=envelope").await?;
    let document: Value = serde_json::from_str(&text.body)?;
    check(document["id"] == json!(id), format_args!("another id: {document}"))?;
    check(document["name"] == Note::NAME, format_args!("another name: {document}"))?;
    check(document["channel"] == Note::CHANNEL, format_args!("another channel: {document}"))?;
    check(document["payload"] == json!(note()), format_args!("another payload: {document}"))
}
