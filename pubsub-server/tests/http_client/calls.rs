//! Calls: each is done once, and its refusal is told by the code of the contract.

use std::time::Duration;

use pubsub::{CallError, Envelope, ErrorKind, FailureCode, Payload};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    Number, behind,
    common::{Audited, Count, Created, Noted, OrderCreated, PATIENCE, Site, actions, bus, open},
    numbers, quick,
};

fn order(total: f64) -> OrderCreated {
    OrderCreated { order_id: "A-1".into(), total }
}

fn envelope(name: &str, channel: &str, payload: &Value) -> Envelope {
    Envelope::new(name.parse().unwrap(), channel.parse().unwrap(), Payload::json(payload.to_string()))
}

#[tokio::test]
async fn what_is_asked_twice_is_done_once() {
    let bus = bus("memory:").await;
    let (running, ran) = actions(&bus).await;
    let site = Site::of(open(&bus).actions(running)).await;
    let client = quick(&site.url).build().unwrap();

    let number = envelope("demo:number", "demo.a", &json!({ "n": 1 }));
    let (first, again) =
        (client.publish_envelope(&number).await.unwrap(), client.publish_envelope(&number).await.unwrap());
    assert_eq!((first.duplicate, again.duplicate), (false, true));
    assert_eq!((&first.event_id, &first.cursor), (&number.id, &again.cursor));
    assert!(first.cursor.is_some());

    let sent = client.send(&order(5.0)).await.unwrap();
    assert_eq!((sent.result, sent.duplicate), (json!({ "number": 1 }), false));
    let names: Vec<_> = sent.emitted_events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names[..2], ["orders:created", "orders:noted"]);
    assert_eq!(sent.event_id, sent.emitted_events[0].id);

    let order = envelope("orders:created", "orders", &json!({ "orderId": "A-2", "total": 2.0 }));
    let (first, again) = (client.send_envelope(&order).await.unwrap(), client.send_envelope(&order).await.unwrap());
    assert_eq!((first.duplicate, again.duplicate), (false, true));
    assert_eq!((first.result, first.event_id), (again.result, again.event_id));
    assert_eq!(ran.count(), 2);
    let other = Envelope { payload: Payload::json(r#"{"orderId":"A-3","total":2}"#), ..order };
    assert_eq!(client.send_envelope(&other).await.unwrap_err().code(), FailureCode::Conflict);

    let Created { number } = client.request(&Count {}).await.unwrap();
    assert_eq!(number, 2);
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_made_again_and_done_once() {
    let bus = bus("memory:").await;
    let (running, ran) = actions(&bus).await;
    let site = Site::of(open(&bus).actions(running)).await;
    let (proxy, client) = behind(&site).await;
    let client = client.attempts(20).build().unwrap();
    // Over 1,000 the action takes 100 ms: long enough to lose the connection under it.
    let call = tokio::spawn(async move { client.send(&order(2_000.0)).await });
    crate::common::until("the call is underway", PATIENCE, async || proxy.counters().connections > 0).await;
    crate::common::until("it has run", PATIENCE, async || {
        proxy.cut().await.unwrap();
        ran.count() > 0
    })
    .await;
    let sent = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
    assert_eq!((sent.result, ran.count()), (json!({ "number": 1 }), 1));
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let bus = bus("memory:").await;
    let (running, ran) = actions(&bus).await;
    let site = Site::of(open(&bus).actions(running)).await;
    let client = quick(&site.url).build().unwrap();
    let code = |outcome: Result<(), CallError>| outcome.unwrap_err().code();

    let negative = client.send(&order(-1.0)).await.unwrap_err();
    assert_eq!(negative.code(), FailureCode::UnprocessableContent);
    assert_eq!(negative.failure().unwrap().message, "the total is negative");
    assert_eq!(code(client.publish(&Count {}).await.map(drop)), FailureCode::Forbidden, "it is for clients to send");
    assert_eq!(code(client.publish(&Audited { order: "A".into() }).await.map(drop)), FailureCode::Forbidden);
    assert_eq!(code(client.send(&Noted { order: "A".into() }).await.map(drop)), FailureCode::Forbidden);
    let publish = async |name: &str, channel: &str, payload: Value| {
        client.publish_envelope(&envelope(name, channel, &payload)).await.map(drop)
    };
    assert_eq!(code(publish("demo:x", "elsewhere", json!(1)).await), FailureCode::NotFound);
    assert_eq!(code(publish("orders:unheard", "orders", json!(1)).await), FailureCode::NotFound);
    assert_eq!(code(publish("pubsub:gap", "demo.a", json!(1)).await), FailureCode::BadRequest);
    let long = json!({ "text": "x".repeat(2 * 1024 * 1024) });
    assert_eq!(code(publish("demo:x", "demo.a", long).await), FailureCode::PayloadTooLarge);

    let wrong = publish("orders:created", "orders", json!({ "orderId": 7 })).await.unwrap_err();
    assert_eq!(wrong.code(), FailureCode::BadRequest);
    let faults = wrong.failure().unwrap().details.as_ref().unwrap()["faults"].to_string();
    assert!(faults.contains("/orderId") && faults.contains("total"), "{faults}");

    let stranger = quick(&site.url).token("s3cret-wrong").build().unwrap();
    let error = stranger.publish(&Number { n: 1 }).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (FailureCode::Unauthorized, false));
    assert!(!format!("{error} {error:?}").contains("s3cret-wrong"));
    assert_eq!(ran.count(), 0);

    bus.close(Duration::from_secs(1)).await.unwrap();
    let error = client.publish(&Number { n: 1 }).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (FailureCode::ServiceUnavailable, true));
}

#[tokio::test]
async fn what_waits_offline_arrives_once_and_in_order() {
    let (site, _bus) = Site::simple().await;
    let (proxy, client) = behind(&site).await;
    let client = client.offline_queue(4).build().unwrap();
    let mut stream = client.subscribe_to::<Number>().unwrap().earliest().start();
    proxy.cut().await.unwrap();
    proxy.refuse().await.unwrap();
    let mut tickets = Vec::new();
    // One more may be in hand than may wait.
    let full = (0..).find_map(|n| client.enqueue(&Number { n }).map(|ticket| tickets.push(ticket)).err()).unwrap();
    assert_eq!(full.kind(), ErrorKind::Backpressure);
    assert!((4..=5).contains(&tickets.len()), "{}", tickets.len());
    proxy.heal().await.unwrap();
    let count = tickets.len();
    for ticket in tickets {
        assert!(!timeout(PATIENCE, ticket).await.unwrap().unwrap().duplicate);
    }
    assert_eq!(numbers(&mut stream, count).await, Vec::from_iter(0..count as u64));
}
