//! Questions and answers on memory: what comes back, and that nothing stays behind.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pubsub::{
    CallError, ChannelName, Envelope, ErrorKind, EventId, EventRpc, Failure, FailureCode, Forward, Payload, PubSub,
    Timestamp,
    rpc::{Reply, ReplyBody, ReplyTo},
};
use support::{Add, Sum, bus, eventually, nothing_waits};

async fn adding(rpc: &EventRpc) -> pubsub::Responder {
    let add = |asked: Add| async move { Ok(Sum { sum: asked.left + asked.right }) };
    rpc.respond::<Add, _, _>("adding", add).await.unwrap()
}

#[tokio::test]
async fn a_question_gets_its_answer() {
    let rpc = EventRpc::new(&bus().await);
    let responder = adding(&rpc).await;
    assert_eq!(rpc.request(&Add { left: 2, right: 3 }).await.unwrap(), Sum { sum: 5 });
    assert_eq!(responder.stats().answered, 1);
    nothing_waits(&rpc);
    responder.stop().await;
}

#[tokio::test]
async fn a_failure_reaches_the_caller_as_it_was_given() {
    let rpc = EventRpc::new(&bus().await);
    let refuse = |_: Add| async { Err(Failure::new(FailureCode::Conflict, "not now").with_retryable(true)) };
    let _responder = rpc.respond::<Add, _, _>("adding", refuse).await.unwrap();
    let error = rpc.request(&Add { left: 2, right: 3 }).await.unwrap_err();
    assert_eq!(error.failure(), Some(&Failure::new(FailureCode::Conflict, "not now").with_retryable(true)));
    assert!(error.is_retryable() && !error.maybe_applied());
    assert_eq!(error.code(), FailureCode::Conflict);
    nothing_waits(&rpc);
}

#[tokio::test]
async fn a_panic_fails_its_call_alone() {
    let rpc = EventRpc::new(&bus().await);
    let add = |asked: Add| async move {
        assert!(asked.left >= 0, "the panic of the test");
        Ok(Sum { sum: asked.left + asked.right })
    };
    let responder = rpc.respond::<Add, _, _>("adding", add).await.unwrap();
    let error = rpc.request(&Add { left: -1, right: 3 }).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::InternalServerError);
    assert_eq!(rpc.request(&Add { left: 1, right: 3 }).await.unwrap(), Sum { sum: 4 });
    assert_eq!(responder.stats().panicked, 1);
}

#[tokio::test]
async fn without_a_responder_the_deadline_ends_the_call() {
    let rpc = EventRpc::builder(&bus().await).timeout(Duration::from_millis(20)).build();
    let error = rpc.request(&Add { left: 2, right: 3 }).await.unwrap_err();
    assert_eq!(error.bus_kind(), Some(ErrorKind::Timeout));
    assert!(error.maybe_applied() && error.is_retryable());
    assert_eq!(error.code(), FailureCode::GatewayTimeout);
    assert_eq!((rpc.stats().pending, rpc.stats().timeouts), (0, 1));
}

#[tokio::test]
async fn a_late_reply_answers_no_later_call() {
    let rpc = EventRpc::new(&bus().await);
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    let slow = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.request(&Add { left: 1, right: 1 }).timeout(Duration::from_millis(20)).await }
    });
    let late = requests.next().await.unwrap().unwrap();
    assert_eq!(slow.await.unwrap().unwrap_err().bus_kind(), Some(ErrorKind::Timeout));
    // Whoever replies looks at the deadline; this one does not.
    let mut to = late.message().as_ref().clone();
    to.envelope_mut().meta.deadline = None;
    let to = ReplyTo::of(&to).unwrap().unwrap();
    rpc.bus().reply(&to, ReplyBody::value(&Sum { sum: 2 }).unwrap()).await.unwrap();
    eventually("the late reply", || rpc.stats().late == 1).await;
    let second = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.request(&Add { left: 2, right: 2 }).await }
    });
    let asked = requests.next().await.unwrap().unwrap();
    rpc.bus().reply(&to, ReplyBody::value(&Sum { sum: 2 }).unwrap()).await.unwrap();
    let to = ReplyTo::of(asked.message()).unwrap().unwrap();
    for _ in 0..2 {
        rpc.bus().reply(&to, ReplyBody::value(&Sum { sum: 4 }).unwrap()).await.unwrap();
    }
    assert_eq!(second.await.unwrap().unwrap(), Sum { sum: 4 });
    eventually("the second reply", || rpc.stats().duplicate == 1).await;
    assert_eq!((rpc.stats().late, rpc.stats().foreign, rpc.stats().pending), (2, 0, 0));
}

#[tokio::test]
async fn dropping_a_call_ends_it() {
    let rpc = EventRpc::new(&bus().await);
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.request(&Add { left: 1, right: 1 }).await }
    });
    let asked = requests.next().await.unwrap().unwrap();
    assert_eq!(rpc.stats().pending, 1);
    call.abort();
    eventually("the end of the call", || rpc.stats().pending == 0).await;
    let to = ReplyTo::of(asked.message()).unwrap().unwrap();
    rpc.bus().reply(&to, ReplyBody::value(&Sum { sum: 2 }).unwrap()).await.unwrap();
    eventually("the late reply", || rpc.stats().late == 1).await;
    assert_eq!(rpc.stats().timeouts, 0);
}

#[tokio::test]
async fn an_expired_request_is_not_executed() {
    let rpc = EventRpc::new(&bus().await);
    let executed = Arc::new(AtomicUsize::new(0));
    let count = executed.clone();
    let add = move |asked: Add| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { Ok(Sum { sum: asked.left + asked.right }) }
    };
    let responder = rpc.respond::<Add, _, _>("adding", add).await.unwrap();
    let inbox = ChannelName::inbox("nobody").unwrap();
    let past = rpc.bus().clock().now().saturating_sub(Duration::from_millis(1));
    rpc.bus()
        .publish(&Add { left: 1, right: 1 })
        .meta(|meta| ReplyTo::ask(meta, &inbox, &EventId::random(), past, None))
        .await
        .unwrap();
    eventually("the expired request", || responder.stats().expired == 1).await;
    assert_eq!(executed.load(Ordering::Relaxed), 0);
    assert_eq!(rpc.request(&Add { left: 1, right: 1 }).await.unwrap(), Sum { sum: 2 });
    assert_eq!((responder.stats().undelivered, responder.stats().answered), (0, 1));
}

#[tokio::test]
async fn a_handler_is_cut_off_at_the_deadline() {
    let rpc = EventRpc::new(&bus().await);
    let forever = |_: Add| std::future::pending::<Result<Sum, Failure>>();
    let responder = rpc.respond::<Add, _, _>("adding", forever).await.unwrap();
    let error = rpc.request(&Add { left: 1, right: 1 }).timeout(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.bus_kind(), Some(ErrorKind::Timeout));
    eventually("the end of the handler", || responder.stats().cut_off == 1).await;
    responder.stop().await;
}

#[tokio::test]
async fn a_request_that_does_not_fit_is_answered_with_its_faults() {
    let rpc = EventRpc::new(&bus().await);
    let _responder = adding(&rpc).await;
    let request = Envelope::new(
        "sums:add".parse().unwrap(),
        ChannelName::parse("sums").unwrap(),
        Payload::json(r#"{"left":1,"right":"two"}"#),
    );
    let mut unknown = request.clone();
    let error = rpc.request_envelope(request).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::BadRequest);
    let details = error.failure().unwrap().details.clone().unwrap();
    assert_eq!(details["faults"][0]["pointer"], "/right");
    (unknown.id, unknown.version) = (EventId::random(), 9);
    let error = rpc.request_envelope(unknown).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::BadRequest, "{error}");
}

#[tokio::test]
async fn an_answer_of_the_wrong_type_is_an_error() {
    let rpc = EventRpc::new(&bus().await);
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    for (body, kind) in [
        (ReplyBody::value(&"five").unwrap(), ErrorKind::Codec),
        (ReplyBody::Value(Payload::bytes(&b"\xff\xfe"[..])), ErrorKind::Codec),
        (ReplyBody::Value(Payload::json(&b"\xff\xfe"[..])), ErrorKind::Codec),
        (ReplyBody::End { items: 0 }, ErrorKind::Codec),
        (ReplyBody::item(0, &Sum { sum: 1 }, None).unwrap(), ErrorKind::Codec),
    ] {
        let call = tokio::spawn({
            let rpc = rpc.clone();
            async move { rpc.request(&Add { left: 1, right: 1 }).await }
        });
        let asked = requests.next().await.unwrap().unwrap();
        let to = ReplyTo::of(asked.message()).unwrap().unwrap();
        rpc.bus().reply(&to, body.clone()).await.unwrap();
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.bus_kind(), Some(kind), "{body:?}");
        assert_eq!(error.code(), FailureCode::BadGateway);
        asked.ack();
    }
    nothing_waits(&rpc);
}

#[tokio::test]
async fn forged_replies_are_counted_and_answer_nothing() {
    let rpc = EventRpc::new(&bus().await);
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.request(&Add { left: 1, right: 1 }).await }
    });
    let asked = requests.next().await.unwrap().unwrap();
    let forge = async |id: Option<&str>| {
        let mut message = asked.message().as_ref().clone();
        message.envelope_mut().meta.correlation_id = id.map(str::to_owned);
        let to = ReplyTo::of(&message).unwrap().unwrap();
        let mut forged = ReplyBody::value(&Sum { sum: 666 })
            .unwrap()
            .into_message(&to, EventId::random(), Timestamp::now())
            .unwrap();
        forged.envelope_mut().meta.correlation_id = id.map(str::to_owned);
        let adapter = rpc.bus().adapter();
        let batch = std::iter::once(Arc::new(forged)).collect();
        adapter.enqueue(batch, &pubsub::PublishOptions::default()).await.unwrap().await.unwrap();
    };
    let guess = EventId::random().to_string();
    for id in [None, Some("c-1"), Some(""), Some("\u{0}"), Some(guess.as_str())] {
        forge(id).await;
    }
    eventually("the forged replies", || rpc.stats().foreign == 5).await;
    assert_eq!(rpc.stats().pending, 1);
    let to = ReplyTo::of(asked.message()).unwrap().unwrap();
    rpc.bus().reply(&to, ReplyBody::value(&Sum { sum: 2 }).unwrap()).await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), Sum { sum: 2 });
}

#[tokio::test]
async fn a_reply_that_breaks_the_form_fails_its_call() {
    let rpc = EventRpc::new(&bus().await);
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.request(&Add { left: 1, right: 1 }).await }
    });
    let asked = requests.next().await.unwrap().unwrap();
    let to = ReplyTo::of(asked.message()).unwrap().unwrap();
    let mut broken =
        ReplyBody::Failure(Failure::internal("x")).into_message(&to, EventId::random(), Timestamp::now()).unwrap();
    broken.envelope_mut().payload = Payload::json(r#"{"code":"NO_SUCH_CODE","message":7}"#);
    assert!(Reply::read(&broken).is_err());
    let batch = std::iter::once(Arc::new(broken)).collect();
    rpc.bus().adapter().enqueue(batch, &pubsub::PublishOptions::default()).await.unwrap().await.unwrap();
    assert_eq!(call.await.unwrap().unwrap_err().bus_kind(), Some(ErrorKind::Codec));
    assert_eq!((rpc.stats().malformed, rpc.stats().pending), (1, 0));
}

#[tokio::test]
async fn what_asks_for_no_reply_is_not_executed() {
    let rpc = EventRpc::new(&bus().await);
    let responder = adding(&rpc).await;
    rpc.bus().publish(&Add { left: 1, right: 1 }).await.unwrap();
    eventually("the plain event", || responder.stats().unasked == 1).await;
    rpc.bus().publish(&Add { left: 1, right: 1 }).meta(|meta| meta.reply_to = Some("_dlq.x.y".into())).await.unwrap();
    eventually("the request with a bad address", || responder.stats().malformed == 1).await;
    assert_eq!(responder.stats().answered, 0);
    let bus = rpc.bus().clone();
    responder.stop().await;
    let letters = bus.dead_letters("sums", "adding", pubsub::StartPosition::Earliest).await.unwrap();
    assert_eq!(letters.events.len(), 1);
}

#[tokio::test]
async fn answers_of_several_groups_are_gathered() {
    let rpc = EventRpc::new(&bus().await);
    let mut responders = Vec::new();
    for (group, extra) in [("one", 1), ("two", 2), ("three", 3)] {
        let add = move |asked: Add| async move {
            if extra == 3 { Err(Failure::not_found("nothing")) } else { Ok(Sum { sum: asked.left + extra }) }
        };
        responders.push(rpc.respond::<Add, _, _>(group, add).await.unwrap());
    }
    let mut answers = rpc.request(&Add { left: 10, right: 0 }).gather(3).await.unwrap();
    answers.sort_by(|one, other| one.responder.cmp(&other.responder));
    let read: Vec<_> = answers.into_iter().map(|answer| (answer.responder.unwrap(), answer.outcome.ok())).collect();
    assert_eq!(
        read,
        [
            ("one".to_owned(), Some(Sum { sum: 11 })),
            ("three".to_owned(), None),
            ("two".to_owned(), Some(Sum { sum: 12 })),
        ]
    );
    let some = rpc.request(&Add { left: 10, right: 0 }).timeout(Duration::from_millis(50)).gather(9).await.unwrap();
    assert_eq!(some.len(), 3);
    assert_eq!((rpc.stats().pending, rpc.stats().timeouts), (0, 0));
    drop(responders);
    let none = rpc.request(&Add { left: 10, right: 0 }).timeout(Duration::from_millis(20)).gather(9).await;
    assert_eq!(none.unwrap_err().bus_kind(), Some(ErrorKind::Timeout));
    assert_eq!((rpc.stats().pending, rpc.stats().timeouts), (0, 1));
}

#[tokio::test]
async fn of_two_groups_that_answer_a_request_the_first_is_heard() {
    let rpc = EventRpc::new(&bus().await);
    let gate = Arc::new(tokio::sync::Notify::new());
    let _quick = adding(&rpc).await;
    let opened = gate.clone();
    let add = move |_: Add| {
        let gate = opened.clone();
        async move {
            gate.notified().await;
            Ok(Sum { sum: 666 })
        }
    };
    let slow = rpc.respond::<Add, _, _>("slow", add).await.unwrap();
    assert_eq!(rpc.request(&Add { left: 1, right: 1 }).await.unwrap(), Sum { sum: 2 });
    gate.notify_one();
    eventually("the answer of the other group", || slow.stats().answered == 1 && rpc.stats().duplicate == 1).await;
    nothing_waits(&rpc);
}

#[tokio::test]
async fn limits_are_refused_before_anything_is_sent() {
    let rpc = EventRpc::builder(&bus().await).max_pending(1).build();
    let mut requests = rpc.bus().subscribe::<Add>().group("by-hand").await.unwrap();
    let id = EventId::parse("mine").unwrap();
    let first = tokio::spawn({
        let (rpc, id) = (rpc.clone(), id.clone());
        async move { rpc.request(&Add { left: 1, right: 1 }).id(id).await }
    });
    let asked = requests.next().await.unwrap().unwrap();
    let kind = |error: CallError| error.bus_kind().unwrap();
    assert_eq!(kind(rpc.request(&Add { left: 2, right: 2 }).await.unwrap_err()), ErrorKind::Backpressure);
    let zero = rpc.request(&Add { left: 2, right: 2 }).timeout(Duration::ZERO).await;
    assert_eq!(kind(zero.unwrap_err()), ErrorKind::Invalid);
    let to = ReplyTo::of(asked.message()).unwrap().unwrap();
    assert_eq!((to.request(), to.correlation_id()), (&EventId::parse("mine").unwrap(), "mine"));
    rpc.bus().reply(&to, ReplyBody::value(&Sum { sum: 2 }).unwrap()).await.unwrap();
    first.await.unwrap().unwrap();
    asked.ack();
    assert!(requests.next_timeout(Duration::from_millis(20)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_id_waits_once() {
    let rpc = EventRpc::new(&bus().await);
    let id = EventId::parse("mine").unwrap();
    let call = |rpc: &EventRpc| {
        let (rpc, id) = (rpc.clone(), id.clone());
        async move { rpc.request(&Add { left: 1, right: 1 }).id(id).timeout(Duration::from_millis(100)).await }
    };
    let first = tokio::spawn(call(&rpc));
    eventually("the first call", || rpc.stats().pending == 1).await;
    assert_eq!(call(&rpc).await.unwrap_err().bus_kind(), Some(ErrorKind::Conflict));
    assert_eq!(rpc.stats().pending, 1);
    first.await.unwrap().unwrap_err();
    nothing_waits(&rpc);
}

#[tokio::test]
async fn a_reply_that_is_too_large_is_told_to_the_caller() {
    let mut options = pubsub::memory::MemoryOptions::default();
    options.max_payload = 4_096;
    let rpc = EventRpc::new(&PubSub::new(pubsub::memory::Memory::open(options).unwrap()));
    #[pubsub::event(name = "texts:get", reply = String)]
    struct GetText {
        bytes: usize,
    }
    let write = |asked: GetText| async move { Ok("x".repeat(asked.bytes)) };
    let responder = rpc.respond::<GetText, _, _>("texts", write).await.unwrap();
    let error = rpc.request(&GetText { bytes: 1_000_000 }).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::PayloadTooLarge);
    assert_eq!(rpc.request(&GetText { bytes: 1_000 }).await.unwrap().len(), 1_000);
    eventually("the counts", || responder.stats().answered == 1 && responder.stats().undelivered == 1).await;
}

#[tokio::test]
async fn a_closed_bus_ends_its_calls() {
    let rpc = EventRpc::new(&bus().await);
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.request(&Add { left: 1, right: 1 }).await }
    });
    eventually("the call", || rpc.stats().pending == 1).await;
    rpc.bus().close(Duration::from_secs(1)).await.unwrap();
    assert_eq!(call.await.unwrap().unwrap_err().bus_kind(), Some(ErrorKind::Unavailable));
    nothing_waits(&rpc);
    assert_eq!(rpc.request(&Add { left: 1, right: 1 }).await.unwrap_err().bus_kind(), Some(ErrorKind::Closed));
    assert_eq!(rpc.stats().inboxes_lost, 1);
}

#[tokio::test]
async fn a_closed_end_fails_its_calls() {
    let rpc = EventRpc::new(&bus().await);
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.request(&Add { left: 1, right: 1 }).await }
    });
    eventually("the call", || rpc.stats().pending == 1).await;
    rpc.close();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.bus_kind(), error.maybe_applied()), (Some(ErrorKind::Closed), true));
    assert_eq!(rpc.request(&Add { left: 1, right: 1 }).await.unwrap_err().bus_kind(), Some(ErrorKind::Closed));
    assert_eq!((rpc.stats().pending, rpc.stats().inboxes_lost), (0, 0));
}

#[test]
fn the_inbox_is_opened_again_on_another_runtime() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (home, first) = (runtime(), runtime());
    let rpc = EventRpc::new(&home.block_on(bus()));
    let _responder = home.block_on(adding(&rpc));
    assert_eq!(first.block_on(rpc.request(&Add { left: 1, right: 1 }).into_future()).unwrap(), Sum { sum: 2 });
    let waiting = home.spawn({
        let rpc = rpc.clone();
        async move { rpc.request_envelope(nobody()).await }
    });
    while rpc.stats().pending == 0 {
        std::thread::yield_now();
    }
    drop(first);
    let error = home.block_on(waiting).unwrap().unwrap_err();
    assert_eq!((error.bus_kind(), error.maybe_applied()), (Some(ErrorKind::Unavailable), true));
    assert_eq!(home.block_on(rpc.request(&Add { left: 1, right: 2 }).into_future()).unwrap(), Sum { sum: 3 });
    assert_eq!((rpc.stats().pending, rpc.stats().inboxes_lost), (0, 1));
}

fn nobody() -> Envelope {
    Envelope::new("nobody:there".parse().unwrap(), ChannelName::parse("nobody").unwrap(), Payload::json("{}"))
}

#[tokio::test]
async fn stopping_finishes_what_is_at_work() {
    let rpc = EventRpc::new(&bus().await);
    let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
    let add = {
        let (begun, gate) = (begun.clone(), gate.clone());
        move |asked: Add| {
            let (begun, gate) = (begun.clone(), gate.clone());
            async move {
                begun.fetch_add(1, Ordering::Relaxed);
                let _permit = gate.acquire().await;
                Ok(Sum { sum: asked.left + asked.right })
            }
        }
    };
    let responder = rpc.respond::<Add, _, _>("adding", add).concurrency(2).await.unwrap();
    let calls: Vec<_> = (0..3)
        .map(|left| {
            let rpc = rpc.clone();
            tokio::spawn(async move { rpc.request(&Add { left, right: 0 }).timeout(Duration::from_millis(500)).await })
        })
        .collect();
    eventually("two handlers", || begun.load(Ordering::Relaxed) == 2).await;
    let stopping = tokio::spawn(responder.stop());
    tokio::task::yield_now().await;
    gate.add_permits(9);
    stopping.await.unwrap();
    let mut answered = 0;
    for call in calls {
        answered += usize::from(call.await.unwrap().is_ok());
    }
    assert_eq!((answered, begun.load(Ordering::Relaxed)), (2, 2));
}

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
