//! Plain clients send, and our subscriptions read.

use libtest_mimic::Failed;
use pubsub_core::{
    Events, Message, PubSub, Timestamp,
    wire::{FOREIGN_ID, FOREIGN_SOURCE},
};
use serde_json::{Value, json};

use crate::{
    order::{CHANNEL, CUSTOMER, GROUP, OrderCreated, order, order_json},
    parcel::Parcel,
    stage::{LIMIT, Stage, Verdict, dead_letter, expect},
};

const TIME: &str = "2026-01-31T12:00:00.500Z";
/// Outside our grammar of ids.
const ID: &str = "order 7 of Kühne";

/// The least that a document may hold, and a member that is not known.
fn least(id: &str) -> Parcel {
    let document = json!({"id": id, "name": "orders:created", "timestamp": TIME, "payload": order_json(), "shop": 7});
    Parcel::of(document.to_string())
}

fn attributes(content_type: &str) -> Value {
    json!({
        "id": ID, "type": "orders:created", "source": "https://shop.example/pos", "subject": "order/7", "time": TIME,
        "datacontenttype": content_type, "partitionkey": CUSTOMER, "region": "Zürich",
    })
}

async fn group(bus: &PubSub) -> Result<Events<OrderCreated>, Failed> {
    Ok(bus.subscribe::<OrderCreated>().group(GROUP).await?)
}

/// The next event, decoded and acknowledged.
async fn next(events: &mut Events<OrderCreated>) -> Result<(OrderCreated, Message), Failed> {
    let event = tokio::time::timeout(LIMIT, events.next()).await.map_err(|_| "no event came")?.ok_or("it ended")??;
    let came = ((*event).clone(), (**event.message()).clone());
    event.ack();
    Ok(came)
}

/// What a foreign CloudEvent becomes.
fn check_foreign(message: &Message) -> Result<(), Failed> {
    expect("name", message.name().as_str(), "orders:created")?;
    expect("channel", message.channel().as_str(), CHANNEL)?;
    expect("time", message.timestamp(), Timestamp::parse(TIME)?)?;
    expect("key", message.key().map(|key| key.as_str()), Some(CUSTOMER))?;
    expect("version", message.version(), 1)?;
    let extra = |name: &str| message.meta().extra.get(name).and_then(Value::as_str);
    expect("id", extra(FOREIGN_ID), Some(ID))?;
    expect("source", extra(FOREIGN_SOURCE), Some("https://shop.example/pos"))?;
    expect("subject", extra("subject"), Some("order/7"))?;
    expect("an attribute of its own", extra("region"), Some("Zürich"))
}

pub(crate) fn document(stage: Stage) -> Verdict {
    Box::pin(async move {
        let bus = stage.bus("").await?;
        let mut orders = group(&bus).await?;
        stage.client.send(CHANNEL, &least("o-7"))?;
        let (came, message) = next(&mut orders).await?;
        expect("payload", came, order())?;
        expect("id", &*message.id().to_string(), "o-7")?;
        expect("channel", message.channel().as_str(), CHANNEL)?;
        expect("time", message.timestamp(), Timestamp::parse(TIME)?)?;
        expect("key", message.key(), None)?;
        Ok(bus.close(LIMIT).await?)
    })
}

pub(crate) fn record_key(stage: Stage) -> Verdict {
    Box::pin(async move {
        let bus = stage.bus("").await?;
        let mut orders = group(&bus).await?;
        stage.client.send(CHANNEL, &Parcel { key: Some(CUSTOMER.to_owned()), ..least("o-7") })?;
        let (_, message) = next(&mut orders).await?;
        expect("key", message.key().map(|key| key.as_str()), Some(CUSTOMER))?;
        Ok(bus.close(LIMIT).await?)
    })
}

pub(crate) fn binary(stage: Stage) -> Verdict {
    foreign(stage, "binary")
}

pub(crate) fn structured(stage: Stage) -> Verdict {
    foreign(stage, "structured")
}

fn foreign(stage: Stage, mode: &'static str) -> Verdict {
    Box::pin(async move {
        let bus = stage.bus("").await?;
        let mut orders = group(&bus).await?;
        let parcel = stage.client.foreign(mode, &attributes("application/json"), &order_json())?;
        stage.client.send(CHANNEL, &parcel)?;
        let (came, message) = next(&mut orders).await?;
        expect("payload", came, order())?;
        check_foreign(&message)?;
        Ok(bus.close(LIMIT).await?)
    })
}

pub(crate) fn text(stage: Stage) -> Verdict {
    Box::pin(async move {
        let bus = stage.bus("").await?;
        let mut events = bus.subscribe_channel(CHANNEL).group(GROUP).await?;
        let parcel = stage.client.foreign("binary", &attributes("text/plain; charset=utf-8"), &json!("für Zürich"))?;
        stage.client.send(CHANNEL, &parcel)?;
        let event = tokio::time::timeout(LIMIT, events.next()).await.map_err(|_| "no event came")?.ok_or("ended")??;
        check_foreign(event.message())?;
        let payload = event.message().payload();
        expect("content type", payload.content_type().map(|it| it.as_str()), Some("text/plain; charset=utf-8"))?;
        expect("body", payload.data().map(|data| &**data), Some("für Zürich".as_bytes()))?;
        event.ack();
        Ok(bus.close(LIMIT).await?)
    })
}

pub(crate) fn no_event(stage: Stage) -> Verdict {
    Box::pin(async move {
        let bus = stage.bus("").await?;
        let mut orders = group(&bus).await?;
        let garbage = order_json().to_string();
        stage.client.send(CHANNEL, &Parcel::of(garbage.clone()))?;
        stage.client.send(CHANNEL, &least("o-8"))?;
        let (_, message) = next(&mut orders).await?;
        expect("the event behind it", &*message.id().to_string(), "o-8")?;
        let letter = dead_letter(&bus).await?;
        expect("its bytes", letter.payload().data().map(|data| &**data), Some(garbage.as_bytes()))?;
        let reason = letter.meta().dead_reason.clone().unwrap_or_default();
        expect("a reason that names what is missing", reason.contains("`name`"), true).map_err(|_| reason)?;
        Ok(bus.close(LIMIT).await?)
    })
}
