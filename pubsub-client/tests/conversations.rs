//! Requests on behalf of somebody else, and requests within a conversation.
#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use pubsub::{
    ChannelName, Envelope, EventId, EventRpc, Forward, Message, Payload, Timestamp,
    rpc::{ReplyBody, ReplyTo},
};
use support::{Add, Sum, bus, eventually, nothing_waits};

#[tokio::test]
async fn a_request_of_somebody_else_is_passed_on() {
    let rpc = EventRpc::new(&bus().await);
    let edge: Arc<dyn Forward> = Arc::new(rpc.clone());
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    let (name, channel) = ("sums:add".parse().unwrap(), ChannelName::parse("sums").unwrap());
    let mut request = Envelope::new(name, channel, Payload::json(r#"{"left":2,"right":3}"#));
    request.meta.user_id = Some("u-1".into());
    request.meta.client_event_id = Some("c-1".into());
    let id = request.id.clone();
    let waiting = tokio::spawn(async move { edge.forward(request, Duration::from_secs(5)).await });
    let asked = requests.next().await.unwrap().unwrap();
    let meta = asked.message().meta().clone();
    assert_eq!((asked.message().id(), &*asked), (&id, &Add { left: 2, right: 3 }));
    assert_eq!((meta.user_id.as_deref(), meta.client_event_id.as_deref()), (Some("u-1"), Some("c-1")));
    let left = meta.deadline.unwrap().since(rpc.bus().clock().now());
    assert!(left > Duration::from_secs(1) && left <= Duration::from_secs(6), "{left:?}");
    let to = ReplyTo::of(asked.message()).unwrap().unwrap();
    rpc.bus().reply(&to, ReplyBody::value(&Sum { sum: 5 }).unwrap()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().decode::<Sum>().unwrap(), Sum { sum: 5 });
    nothing_waits(&rpc);
}

/// The request, were it part of another conversation or of none.
fn asked_as(message: &Message, correlation_id: Option<&str>) -> ReplyTo {
    let mut message = message.clone();
    message.envelope_mut().meta.correlation_id = correlation_id.map(str::to_owned);
    ReplyTo::of(&message).unwrap().unwrap()
}

#[tokio::test]
async fn calls_of_one_conversation_get_their_own_answers() {
    let rpc = EventRpc::new(&bus().await);
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    let outer = EventId::random();
    let call = |left: i64, id: Option<EventId>| {
        let (rpc, conversation) = (rpc.clone(), outer.to_string());
        tokio::spawn(async move {
            let ask = Add { left, right: 0 };
            let call = rpc.request(&ask).timeout(Duration::from_secs(5));
            match id {
                Some(id) => call.id(id).await,
                // As what the handler of the first request asks, with the correlation that it got.
                None => call.meta(|meta| meta.correlation_id = Some(conversation)).await,
            }
        })
    };
    let mut waiting = Vec::new();
    let mut asked = Vec::new();
    for (left, id) in [(1, Some(outer.clone())), (2, None), (3, None)] {
        waiting.push(call(left, id));
        asked.push(requests.next().await.unwrap().unwrap());
    }
    assert!(asked.iter().all(|asked| asked.message().meta().correlation_id == Some(outer.to_string())));
    // Whoever knows the request of another call does not know its conversation, nor the other way round.
    for (message, correlation) in
        [(asked[1].message(), None), (asked[1].message(), Some("c-1")), (asked[0].message(), Some("c-1"))]
    {
        let forged = asked_as(message, correlation);
        rpc.bus().reply(&forged, ReplyBody::value(&Sum { sum: 666 }).unwrap()).await.unwrap();
    }
    eventually("the forged replies", || rpc.stats().foreign == 3).await;
    for asked in asked.iter().rev() {
        let to = ReplyTo::of(asked.message()).unwrap().unwrap();
        rpc.bus().reply(&to, ReplyBody::value(&Sum { sum: asked.left }).unwrap()).await.unwrap();
    }
    for (waiting, left) in waiting.into_iter().zip(1..) {
        assert_eq!(waiting.await.unwrap().unwrap(), Sum { sum: left });
    }
    nothing_waits(&rpc);
}

#[tokio::test]
async fn a_responder_may_give_back_the_correlation_id_alone() {
    let rpc = EventRpc::new(&bus().await);
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    let waiting = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.request(&Add { left: 1, right: 1 }).await }
    });
    let asked = requests.next().await.unwrap().unwrap();
    let to = ReplyTo::of(asked.message()).unwrap().unwrap();
    let reply = ReplyBody::value(&Sum { sum: 2 }).unwrap().into_message(&to, EventId::random(), Timestamp::now());
    let mut reply = reply.unwrap();
    reply.envelope_mut().meta.causation_id = None;
    let batch = std::iter::once(Arc::new(reply)).collect();
    rpc.bus().adapter().enqueue(batch, &pubsub::PublishOptions::default()).await.unwrap().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), Sum { sum: 2 });
}
