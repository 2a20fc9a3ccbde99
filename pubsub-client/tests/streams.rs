//! Answers in many items: complete, bounded, and ended from either side.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pubsub::{
    ChannelName, ErrorKind, EventRpc, Failure, FailureCode, Replies, ReplySink,
    rpc::{ReplyBody, ReplyTo},
};
use support::{Add, CountTo, Sum, bus, eventually, nothing_waits};

async fn count(asked: CountTo, mut sink: ReplySink<u32>) -> Result<(), Failure> {
    for number in 0..asked.last {
        sink.send(&number).await?;
    }
    Ok(())
}

async fn all(mut replies: Replies<u32>) -> Result<Vec<u32>, pubsub::CallError> {
    let mut items = Vec::new();
    while let Some(item) = replies.next().await {
        items.push(item?);
    }
    Ok(items)
}

#[tokio::test]
async fn a_stream_comes_whole_and_in_order() {
    let rpc = EventRpc::new(&bus().await);
    let responder = rpc.respond_stream::<CountTo, _, _>("counting", count).await.unwrap();
    for last in [0, 1, 2, 63, 64, 65, 5_000] {
        let replies = rpc.request(&CountTo { last }).stream().await.unwrap();
        assert_eq!(all(replies).await.unwrap(), (0..last).collect::<Vec<_>>());
    }
    nothing_waits(&rpc);
    assert_eq!((rpc.stats().duplicate, rpc.stats().late, responder.stats().answered), (0, 0, 7));
}

#[tokio::test]
async fn a_reader_that_rests_holds_the_responder_at_its_window() {
    let rpc = EventRpc::new(&bus().await);
    let sent = Arc::new(AtomicU32::new(0));
    let counted = sent.clone();
    let count = move |asked: CountTo, mut sink: ReplySink<u32>| {
        let sent = counted.clone();
        async move {
            for number in 0..asked.last {
                sink.send(&number).await?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    };
    let _responder = rpc.respond_stream::<CountTo, _, _>("counting", count).await.unwrap();
    let mut replies = rpc.request(&CountTo { last: 1_000 }).window(8).stream().await.unwrap();
    eventually("a full window", || sent.load(Ordering::Relaxed) == 8).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(sent.load(Ordering::Relaxed), 8);
    for expected in 0..1_000 {
        assert_eq!(replies.next().await.unwrap().unwrap(), expected);
        assert!(sent.load(Ordering::Relaxed) <= expected + 1 + 8);
    }
    assert!(replies.next().await.is_none());
    assert!(replies.next().await.is_none());
}

#[tokio::test]
async fn a_reader_that_goes_stops_the_responder() {
    let rpc = EventRpc::new(&bus().await);
    let (cancelled, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = {
        let (cancelled, begun) = (cancelled.clone(), begun.clone());
        move |_: CountTo, mut sink: ReplySink<u32>| {
            let (cancelled, begun) = (cancelled.clone(), begun.clone());
            async move {
                begun.fetch_add(1, Ordering::Relaxed);
                loop {
                    if let Err(error) = sink.send(&7).await {
                        assert_eq!(error.kind(), ErrorKind::Cancelled);
                        assert!(sink.is_cancelled());
                        cancelled.fetch_add(1, Ordering::Relaxed);
                        return Err(error.into());
                    }
                }
            }
        }
    };
    let _responder = rpc.respond_stream::<CountTo, _, _>("counting", count).await.unwrap();
    // One that goes after some items, and one that goes before the first.
    let mut replies = rpc.request(&CountTo { last: 9 }).window(4).stream().await.unwrap();
    replies.next().await.unwrap().unwrap();
    drop(replies);
    nothing_waits(&rpc);
    eventually("the end of the first", || cancelled.load(Ordering::Relaxed) == 1).await;
    drop(rpc.request(&CountTo { last: 9 }).stream().await.unwrap());
    eventually("the end of the second", || {
        cancelled.load(Ordering::Relaxed) == begun.load(Ordering::Relaxed) && begun.load(Ordering::Relaxed) == 2
    })
    .await;
    nothing_waits(&rpc);
}

#[tokio::test]
async fn a_failure_ends_the_stream_where_it_happens() {
    let rpc = EventRpc::new(&bus().await);
    let count = |_: CountTo, mut sink: ReplySink<u32>| async move {
        sink.send(&0).await?;
        sink.send(&1).await?;
        Err(Failure::new(FailureCode::Conflict, "enough"))
    };
    let _responder = rpc.respond_stream::<CountTo, _, _>("counting", count).await.unwrap();
    let mut replies = rpc.request(&CountTo { last: 9 }).stream().await.unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap(), 0);
    assert_eq!(replies.next().await.unwrap().unwrap(), 1);
    assert_eq!(replies.next().await.unwrap().unwrap_err().code(), FailureCode::Conflict);
    assert!(replies.next().await.is_none());
    nothing_waits(&rpc);
}

#[tokio::test]
async fn the_deadline_ends_a_stream_at_both_ends() {
    let rpc = EventRpc::new(&bus().await);
    let count = |_: CountTo, mut sink: ReplySink<u32>| async move {
        sink.send(&0).await?;
        std::future::pending().await
    };
    let responder = rpc.respond_stream::<CountTo, _, _>("counting", count).await.unwrap();
    let mut replies = rpc.request(&CountTo { last: 9 }).timeout(Duration::from_millis(50)).stream().await.unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap(), 0);
    assert_eq!(replies.next().await.unwrap().unwrap_err().bus_kind(), Some(ErrorKind::Timeout));
    assert!(replies.next().await.is_none());
    drop(replies);
    eventually("the end of the handler", || responder.stats().cut_off == 1).await;
    assert_eq!((rpc.stats().pending, rpc.stats().timeouts), (0, 1));
}

#[tokio::test]
async fn one_answer_is_a_stream_of_one_and_a_stream_is_no_single_answer() {
    let rpc = EventRpc::new(&bus().await);
    let add = |asked: Add| async move { Ok(Sum { sum: asked.left + asked.right }) };
    let _adding = rpc.respond::<Add, _, _>("adding", add).await.unwrap();
    let _counting = rpc.respond_stream::<CountTo, _, _>("counting", count).await.unwrap();
    let mut replies = rpc.request(&Add { left: 1, right: 1 }).stream().await.unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap(), Sum { sum: 2 });
    assert!(replies.next().await.is_none());
    let error = rpc.request(&CountTo { last: 3 }).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::BadRequest);
    nothing_waits(&rpc);
}

/// Items that no sound responder sends, and what becomes of the stream.
#[tokio::test]
async fn a_broken_stream_is_an_error() {
    let rpc = EventRpc::new(&bus().await);
    let mut requests = rpc.bus().subscribe::<CountTo>().group("by-hand").await.unwrap();
    let control = |name: &str| Some(ChannelName::inbox(name).unwrap());
    let item = |sequence| ReplyBody::item(sequence, &sequence, control("one")).unwrap();
    let wrong = ReplyBody::item(1, &"text", control("one")).unwrap();
    let again = ReplyBody::item(0, &0, control("two")).unwrap();
    for (bodies, items, kind) in [
        (vec![item(1)], 0, ErrorKind::Unavailable),
        (vec![item(0), item(2)], 1, ErrorKind::Unavailable),
        (vec![item(0), ReplyBody::End { items: 3 }], 1, ErrorKind::Unavailable),
        (vec![item(0), again], 1, ErrorKind::Unavailable),
        (vec![item(0), wrong], 1, ErrorKind::Codec),
        (vec![item(0), ReplyBody::value(&7).unwrap()], 1, ErrorKind::Codec),
        ((0..9).map(item).collect(), 5, ErrorKind::Backpressure),
    ] {
        let mut replies = rpc.request(&CountTo { last: 9 }).window(5).stream().await.unwrap();
        let asked = requests.next().await.unwrap().unwrap();
        let to = ReplyTo::of(asked.message()).unwrap().unwrap();
        for body in &bodies {
            rpc.bus().reply(&to, body.clone()).await.unwrap();
        }
        let overrun = kind == ErrorKind::Backpressure;
        if overrun {
            eventually("the end of the stream", || rpc.stats().pending == 0).await;
        }
        for _ in 0..items {
            replies.next().await.unwrap().unwrap();
        }
        let error = replies.next().await.unwrap().unwrap_err();
        assert_eq!(error.bus_kind(), Some(kind), "{bodies:?}: {error}");
        assert!(replies.next().await.is_none());
        asked.ack();
        drop(replies);
        nothing_waits(&rpc);
    }
}

#[tokio::test]
async fn an_item_that_comes_twice_is_passed_over() {
    let rpc = EventRpc::new(&bus().await);
    let mut requests = rpc.bus().subscribe::<CountTo>().group("by-hand").await.unwrap();
    let replies = rpc.request(&CountTo { last: 9 }).stream().await.unwrap();
    let asked = requests.next().await.unwrap().unwrap();
    let to = ReplyTo::of(asked.message()).unwrap().unwrap();
    for sequence in [0, 0, 1, 0, 1, 2] {
        rpc.bus().reply(&to, ReplyBody::item(sequence, &sequence, None).unwrap()).await.unwrap();
    }
    rpc.bus().reply(&to, ReplyBody::End { items: 3 }).await.unwrap();
    assert_eq!(all(replies).await.unwrap(), [0, 1, 2]);
    assert_eq!(rpc.stats().duplicate, 3);
}
