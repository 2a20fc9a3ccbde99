//! We publish, and plain clients show what they see.

use libtest_mimic::Failed;
use pubsub_core::{ChannelName, Envelope, EventId, EventName, GroupName, Key, Payload, PubSub, Timestamp};
use pubsub_testkit::broker::BrokerKind;
use serde_json::{Map, Value, json};

use crate::{
    order::{CHANNEL, CUSTOMER, GROUP, OrderCreated, order, order_json},
    parcel::Parcel,
    stage::{self, LIMIT, Stage, Verdict, expect},
};

const TIME: &str = "2026-01-31T12:00:00.500Z";
const ID: &str = "o-7";

/// What a Kafka record tells without a header: its topic is the channel, and an event is of version 1 unless it says more.
const TOLD_BY_RECORDS: [&str; 2] = ["subject", "eventversion"];

/// The attributes that every published order has on a broker.
fn attributes(kind: BrokerKind) -> Map<String, Value> {
    let attributes = json!({
        "specversion": "1.0", "id": ID, "source": "/pubsub/shop", "type": "orders:created", "time": TIME,
        "subject": CHANNEL, "datacontenttype": "application/json", "eventversion": "1", "partitionkey": CUSTOMER,
        "correlationid": "c-1", "pubsubmeta": "{\"region\":\"Zürich\"}",
    });
    let mut attributes = attributes.as_object().cloned().unwrap_or_default();
    if kind == BrokerKind::Kafka {
        attributes.retain(|name, _| !TOLD_BY_RECORDS.contains(&name.as_str()));
    }
    attributes
}

/// Makes the channel known, and publishes one order.
async fn publish(stage: &Stage, options: &str) -> Result<PubSub, Failed> {
    let bus = stage.bus(&format!("&source=/pubsub/shop{options}")).await?;
    // The channel exists from here on, and the client can listen to it.
    drop(bus.subscribe::<OrderCreated>().group(GROUP).await?);
    stage.client.listen(CHANNEL)?;
    let order = order();
    let publish = bus.publish(&order).id(EventId::parse(ID)?).timestamp(Timestamp::parse(TIME)?).meta(|meta| {
        meta.correlation_id = Some("c-1".to_owned());
        meta.extra.insert("region".to_owned(), "Zürich".into());
    });
    publish.await?;
    Ok(bus)
}

fn check_key(stage: &Stage, parcel: &Parcel) -> Result<(), Failed> {
    // The others have no place for a key beside the headers.
    let expected = (stage.kind == BrokerKind::Kafka).then_some(CUSTOMER);
    expect("the record's key", parcel.key.as_deref(), expected)
}

pub(crate) fn binary(stage: Stage) -> Verdict {
    Box::pin(async move {
        let bus = publish(&stage, stage.client.options()).await?;
        let parcel = stage.client.receive(CHANNEL)?;
        expect("attributes", stage.client.attributes(&parcel), attributes(stage.kind))?;
        expect("body", parcel.document()?, order_json())?;
        check_key(&stage, &parcel)?;
        Ok(bus.close(LIMIT).await?)
    })
}

pub(crate) fn envelope(stage: Stage) -> Verdict {
    Box::pin(async move {
        let bus = publish(&stage, "&wire=envelope").await?;
        let parcel = stage.client.receive(CHANNEL)?;
        let expected = json!({
            "id": ID, "name": "orders:created", "channel": CHANNEL, "payload": order_json(), "timestamp": TIME,
            "meta": {"version": 1, "key": CUSTOMER, "correlationId": "c-1", "region": "Zürich"},
        });
        expect("document", parcel.document()?, expected)?;
        check_key(&stage, &parcel)?;
        Ok(bus.close(LIMIT).await?)
    })
}

pub(crate) fn dead_letter(stage: Stage) -> Verdict {
    Box::pin(async move {
        let bus = stage.bus(&format!("&source=/pubsub/shop{}", stage.client.options())).await?;
        let mut orders = bus.subscribe::<OrderCreated>().group(GROUP).await?;
        let channel = ChannelName::parse(CHANNEL)?.dead_letter(&GroupName::parse(GROUP)?);
        stage.client.listen(channel.as_str())?;
        let order = order();
        let publish = bus.publish(&order).id(EventId::parse(ID)?).timestamp(Timestamp::parse(TIME)?);
        publish.await?;
        let event = tokio::time::timeout(LIMIT, orders.next()).await.map_err(|_| "no event came")?.ok_or("ended")??;
        event.reject("sold out")?;
        stage::dead_letter(&bus).await?;
        let parcel = stage.client.receive(channel.as_str())?;
        let came = stage.client.attributes(&parcel);
        for (name, expected) in [
            ("id", ID),
            ("type", "orders:created"),
            ("subject", channel.as_str()),
            ("time", TIME),
            ("partitionkey", CUSTOMER),
            ("deadreason", "sold out"),
            ("deadattempts", "1"),
            ("deadsource", CHANNEL),
        ] {
            let expected = (stage.kind != BrokerKind::Kafka || !TOLD_BY_RECORDS.contains(&name)).then_some(expected);
            expect(name, came.get(name).and_then(Value::as_str), expected)?;
        }
        expect("body", parcel.document()?, order_json())?;
        check_key(&stage, &parcel)?;
        Ok(bus.close(LIMIT).await?)
    })
}

pub(crate) fn tombstone(stage: Stage) -> Verdict {
    Box::pin(async move {
        let bus = stage.bus("").await?;
        let name = EventName::parse("orders:created")?;
        let mut envelope = Envelope::new(name, ChannelName::parse(CHANNEL)?, Payload::Tombstone);
        envelope.key = Some(Key::new(CUSTOMER)?);
        bus.publish_envelope(envelope).await?;
        let parcel = stage.client.receive(CHANNEL)?;
        expect("body", parcel.body.as_deref(), None)?;
        expect("the mark", stage.client.attributes(&parcel).get("pubsubtombstone"), Some(&"true".into()))?;
        check_key(&stage, &parcel)?;
        Ok(bus.close(LIMIT).await?)
    })
}

pub(crate) fn sdk(stage: Stage) -> Verdict {
    Box::pin(async move {
        let form = stage.client.form().ok_or("the stock SDK has no form for this broker")?;
        let bus = publish(&stage, "").await?;
        let event = form.read(&stage.client.receive(CHANNEL)?)?;
        let expected = json!({"attributes": attributes(stage.kind), "data": order_json()});
        expect("event", event, expected)?;
        Ok(bus.close(LIMIT).await?)
    })
}
