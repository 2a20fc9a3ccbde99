//! Requests in the classic form.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use pubsub::{CallError, ErrorKind, EventBus, EventRpc, FailureCode};
use serde_json::{Value, json};
use support::{bus, eventually, nothing_waits};

const TIMEOUT: Duration = Duration::from_secs(10);
const NAMES: [[&str; 3]; 2] = [
    ["TARGET_CREATE_REQUESTED", "TARGET_CREATED", "TARGET_CREATE_FAILED"],
    ["targets:create-requested", "targets:created", "targets:create-failed"],
];

/// The service of an event-driven program: it answers on names that the request's id is part of.
async fn service(events: &EventBus, [asks, succeeds, fails]: [&'static str; 3]) {
    events
        .on_name(asks, move |heard| async move {
            let data: Value = heard.data()?;
            let id = heard.request_id().unwrap_or_default().to_owned();
            assert_eq!(data["requestId"], id);
            let events = heard.bus();
            if data["name"] == "" {
                events.emit_name(&format!("{fails}_{id}"), &json!({ "error": "a name is missing" })).await?;
            } else {
                let target = json!({ "id": 7, "name": data["name"] });
                events.emit_name(&format!("{succeeds}_{id}"), &target).await?;
                events.emit_name(succeeds, &json!({ "target": target })).await?;
            }
            Ok::<_, pubsub::Error>(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn the_answer_is_the_event_of_its_own_request() {
    for names in NAMES {
        let bus = bus().await;
        let (events, rpc) = (EventBus::new(&bus), EventRpc::new(&bus));
        service(&events, names).await;
        let [asks, succeeds, fails] = names;
        let calls: Vec<_> = (0..50)
            .map(|number| {
                let rpc = rpc.clone();
                let data = json!({ "name": format!("target-{number}") });
                tokio::spawn(async move { rpc.request_events::<_, Value>(asks, succeeds, fails, &data, TIMEOUT).await })
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().unwrap()["name"], format!("target-{number}"));
        }
        let nameless = json!({ "name": "" });
        let error = rpc.request_events::<_, Value>(asks, succeeds, fails, &nameless, TIMEOUT).await.unwrap_err();
        let failure = error.failure().unwrap();
        assert_eq!((failure.code, failure.message.as_str()), (FailureCode::InternalServerError, "a name is missing"));
        nothing_waits(&rpc);
        assert_eq!(events.faults(), 0);
    }
}

#[tokio::test]
async fn bad_requests_are_refused_and_unanswered_ones_time_out() {
    let bus = bus().await;
    let rpc = EventRpc::new(&bus);
    let [asks, succeeds, fails] = NAMES[0];
    let ask = async |asks: &str, data: Value, timeout| {
        rpc.request_events::<_, Value>(asks, succeeds, fails, &data, timeout).await.unwrap_err()
    };
    let kind = |error: CallError| error.bus_kind().unwrap();
    assert_eq!(kind(ask(asks, json!([1]), TIMEOUT).await), ErrorKind::Invalid);
    assert_eq!(kind(ask(asks, json!({}), Duration::ZERO).await), ErrorKind::Invalid);
    assert_eq!(kind(ask("a:b:c", json!({}), TIMEOUT).await), ErrorKind::Invalid);
    let late = ask(asks, json!({}), Duration::from_millis(20)).await;
    assert!(late.maybe_applied());
    assert_eq!((kind(late), rpc.stats().timeouts), (ErrorKind::Timeout, 1));
}

#[tokio::test]
async fn an_answer_of_the_wrong_type_is_an_error() {
    let bus = bus().await;
    let (events, rpc) = (EventBus::new(&bus), EventRpc::new(&bus));
    service(&events, NAMES[0]).await;
    let [asks, succeeds, fails] = NAMES[0];
    let data = json!({ "name": "x" });
    let error = rpc.request_events::<_, Vec<u8>>(asks, succeeds, fails, &data, TIMEOUT).await.unwrap_err();
    assert_eq!(error.bus_kind(), Some(ErrorKind::Codec));
}

#[tokio::test]
async fn closing_ends_what_waits() {
    let bus = bus().await;
    let rpc = EventRpc::new(&bus);
    for close_bus in [false, true] {
        let mut requests = bus.subscribe_channel("eventbus").await.unwrap();
        let call = tokio::spawn({
            let rpc = if close_bus { EventRpc::new(&bus) } else { rpc.clone() };
            let [asks, succeeds, fails] = NAMES[0];
            async move { rpc.request_events::<_, Value>(asks, succeeds, fails, &json!({}), TIMEOUT).await }
        });
        requests.next().await.unwrap().unwrap();
        if close_bus {
            drop(requests);
            bus.close(Duration::from_secs(1)).await.unwrap();
        } else {
            rpc.close();
        }
        let error = call.await.unwrap().unwrap_err();
        assert_eq!((error.bus_kind(), error.maybe_applied()), (Some(ErrorKind::Closed), true), "{error}");
    }
    eventually("nothing", || rpc.stats().pending == 0).await;
}
