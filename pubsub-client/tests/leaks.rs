//! Many calls: each gets its own answer, and none stays behind.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use pubsub::{
    ErrorKind, EventRpc,
    rpc::{ReplyBody, ReplyTo},
};
use support::{Add, Sum, bus, eventually};

/// One call in ten is never answered in time, one in a hundred is answered twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_calls_leave_nothing_behind() {
    const CALLS: i64 = 100_000;
    let rpc = EventRpc::builder(&bus().await).remembered(2 * CALLS as usize).build();
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    let bus = rpc.bus().clone();
    let responder = tokio::spawn(async move {
        let mut late = Vec::new();
        for _ in 0..CALLS {
            let asked = requests.next().await.unwrap().unwrap();
            let to = ReplyTo::of(asked.message()).unwrap().unwrap();
            let body = ReplyBody::value(&Sum { sum: asked.left + asked.right }).unwrap();
            if asked.left % 10 == 0 {
                let mut message = asked.message().as_ref().clone();
                message.envelope_mut().meta.deadline = None;
                late.push((ReplyTo::of(&message).unwrap().unwrap(), body));
            } else {
                for _ in 0..1 + usize::from(asked.left % 100 == 1) {
                    bus.reply(&to, body.clone()).await.unwrap();
                }
            }
            asked.ack();
        }
        late
    });
    let asking = stream::iter(0..CALLS).map(|left| {
        let rpc = rpc.clone();
        async move {
            let timeout = if left % 10 == 0 { Duration::from_millis(100) } else { Duration::from_secs(60) };
            (left, rpc.request(&Add { left, right: 1 }).timeout(timeout).await)
        }
    });
    let mut asking = std::pin::pin!(asking.buffer_unordered(500));
    while let Some((left, answer)) = asking.next().await {
        match answer {
            Ok(sum) => assert_eq!((left % 10 != 0, sum.sum), (true, left + 1)),
            Err(error) => assert_eq!((left % 10, error.bus_kind()), (0, Some(ErrorKind::Timeout)), "{error}"),
        }
    }
    for (to, body) in responder.await.unwrap() {
        rpc.bus().reply(&to, body).await.unwrap();
    }
    let (late, twice) = (CALLS as u64 / 10, CALLS as u64 / 100);
    eventually("every late and second reply", || rpc.stats().late == late && rpc.stats().duplicate == twice).await;
    let stats = rpc.stats();
    assert_eq!((stats.pending, stats.timeouts, stats.foreign, stats.malformed, stats.gaps), (0, late, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_each_get_their_own_answer() {
    let rpc = EventRpc::new(&bus().await);
    let add = |asked: Add| async move { Ok(Sum { sum: asked.left + asked.right }) };
    let _responder = rpc.respond::<Add, _, _>("adding", add).await.unwrap();
    let calls: Vec<_> = (0..1_000)
        .map(|left| {
            let rpc = rpc.clone();
            tokio::spawn(async move {
                for right in 0..20 {
                    let sum = rpc.request(&Add { left, right }).await.unwrap();
                    assert_eq!(sum.sum, left + right);
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!((rpc.stats().pending, rpc.stats().duplicate, rpc.stats().foreign), (0, 0, 0));
}
