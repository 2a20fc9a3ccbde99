//! What layers do, alone and around one another. Time is moved by hand wherever it matters.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use common::{Charged, Log, OrderCreated, letters, order, order_of, until};
use pubsub::{
    Attempt, ChannelPolicy, CircuitBreaker, Clock, ConcurrencyLimit, Correlate, DeadLetter, Decision, Dedup, Emitter,
    EventId, HandlerError, Incoming, ManualClock, MemoryDedup, Message, Meta, PubSub, RateLimit, Retry, Router,
    Timeout, Timestamp, Trace,
    memory::{Memory, MemoryOptions},
};
use tower::{Layer, Service, ServiceBuilder};

const SOON: Duration = Duration::from_secs(5);

async fn bus() -> PubSub {
    pubsub::connect("memory:").await.unwrap()
}

/// A bus whose time stands still until it is moved.
fn still() -> (PubSub, ManualClock) {
    let manual = ManualClock::new(Timestamp::now());
    let clock = Clock::from(manual.clone());
    let memory = Memory::open(MemoryOptions::new().clock(clock.clone())).unwrap();
    (PubSub::builder(memory).clock(clock).build(), manual)
}

/// Moves the time whenever everyone waits for it, until a condition holds.
async fn pass(manual: &ManualClock, what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || {
        if holds() {
            return true;
        }
        manual.advance(Duration::from_millis(100));
        false
    })
    .await;
}

/// A layer that writes down when a delivery goes in and comes out.
#[derive(Clone)]
struct Spy(&'static str, Log<String>);

#[derive(Clone)]
struct Spied<S>(Spy, S);

impl<S> Layer<S> for Spy {
    type Service = Spied<S>;

    fn layer(&self, inner: S) -> Spied<S> {
        Spied(self.clone(), inner)
    }
}

impl<S: Service<Incoming>> Service<Incoming> for Spied<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.1.poll_ready(cx)
    }

    fn call(&mut self, incoming: Incoming) -> S::Future {
        let name = self.0.0;
        self.0.1.add(name.to_owned());
        incoming.on_emit(move |emitted| {
            let trail = emitted.meta.extra.entry("trail".to_owned()).or_insert_with(|| "".into());
            *trail = format!("{}{name}>", trail.as_str().unwrap()).into();
        });
        self.1.call(incoming)
    }
}

#[tokio::test]
async fn the_order_of_layers_is_fixed_for_what_comes_and_for_what_goes() {
    let (bus, log) = (bus().await, Log::default());
    let spy = |name| Spy(name, log.clone());
    let seen = log.clone();
    let handler = move |_: OrderCreated, emit: Emitter| {
        seen.add("handler".to_owned());
        async move { emit.emit(&Charged { number: 1 }) }
    };
    // Layers hold for handlers that were added before and after; a router's own are inside of those around it.
    let inner = Router::new().layer(spy("a")).on(handler).layer((spy("c"), spy("b")));
    let router: Router = Router::new().group("g").merge(inner).layer(spy("d"));
    let mut charged = bus.subscribe::<Charged>().group("h").await.unwrap();
    let _running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    assert_eq!(log.reach(5).await, ["d", "c", "b", "a", "handler"]);
    let charged = charged.next_timeout(SOON).await.unwrap().unwrap();
    assert_eq!(charged.meta().extra["trail"], "d>c>b>a>");
}

#[tokio::test]
async fn towers_own_layers_fit_and_their_errors_mean_retry() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let handler = move |order: OrderCreated, Attempt(attempt): Attempt| {
        seen.add((order.number, attempt));
        async move {
            match attempt {
                1 => std::future::pending().await,
                2 => Err(HandlerError::reject("its own decision")),
                _ => Ok(()),
            }
        }
    };
    let stack = ServiceBuilder::new().concurrency_limit(2).timeout(Duration::from_millis(20));
    let retry = Retry::exponential(5).delays(Duration::ZERO, Duration::ZERO);
    let router: Router = Router::new().group("g").on(handler).layer(stack).layer(retry);
    let running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    let letters = letters(&bus, "orders", "g", 1).await;
    assert_eq!(letters[0].message.meta().dead_reason.as_deref(), Some("its own decision"));
    assert_eq!(log.all(), [(1, 1), (1, 2)]);
    assert!(running.is_ready());
}

#[tokio::test]
async fn a_layer_can_map_swallow_and_raise() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    // Errors about lamps are none; all others become final.
    let mapped = tower::util::MapResultLayer::new(move |verdict: pubsub::Verdict| match verdict {
        Err(error) if error.to_string().contains("lamp") => Ok(pubsub::Done::default()),
        Err(error) => {
            seen.add(error.to_string());
            Err(error.resolve(Decision::Reject))
        }
        done => done,
    });
    let handler = |order: OrderCreated| async move { Err::<(), _>(order.customer) };
    let router: Router = Router::new().group("g").on(handler).layer(mapped);
    let running = router.start(&bus).await.unwrap();
    bus.publish(&order_of("lamp", 1)).await.unwrap();
    bus.publish(&order_of("chair", 2)).await.unwrap();
    let letters = letters(&bus, "orders", "g", 1).await;
    assert_eq!(letters[0].message.meta().dead_reason.as_deref(), Some("chair"));
    assert_eq!(log.all(), ["chair"]);
    let handled = running.handled("g", "orders").unwrap();
    assert_eq!((handled.succeeded, handled.failed), (1, 1));
}

#[tokio::test]
async fn retries_in_place_and_by_the_broker_add_up() {
    let (bus, manual) = still();
    let log = Log::default();
    let seen = log.clone();
    let handler = move |_: OrderCreated, Attempt(attempt): Attempt, emit: Emitter| {
        seen.add(attempt);
        let _ = emit.emit(&Charged { number: 1 });
        async { Err::<(), _>("no") }
    };
    let inline = Retry::inline(3).delays(Duration::from_secs(1), Duration::from_secs(1));
    let delayed = Retry::exponential(2).delays(Duration::from_secs(60), Duration::from_secs(60)).jitter(0.0);
    let router: Router = Router::new().group("g").on(handler).layer((delayed, inline));
    let running = router.start(&bus).await.unwrap();
    let begun = manual.now();
    bus.publish(&order(1)).await.unwrap();
    pass(&manual, "the end", || running.stats("g", "orders").unwrap().dead_lettered == 1).await;
    assert_eq!(log.all(), [1, 1, 1, 2, 2, 2]);
    assert!(manual.now().since(begun) >= Duration::from_secs(63), "{:?}", manual.now().since(begun));
}

#[tokio::test]
async fn a_timeout_is_a_failure_that_says_so() {
    let (bus, manual) = still();
    let handler = |_: OrderCreated| std::future::pending::<()>();
    let router: Router =
        Router::new().group("g").on(handler).layer(Timeout::after(Duration::from_secs(9))).layer(Retry::exponential(2));
    let running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    pass(&manual, "the end", || running.stats("g", "orders").unwrap().dead_lettered == 1).await;
    let letters = letters(&bus, "orders", "g", 1).await;
    assert_eq!(letters[0].message.meta().dead_reason.as_deref(), Some("the handler did not finish within 9s"));
    assert_eq!(letters[0].message.meta().dead_attempts, Some(2));
}

#[tokio::test]
async fn an_event_is_handled_once_per_group_and_a_failure_gives_the_claim_back() {
    let (bus, log) = (bus().await, Log::default());
    let handler = |group: &'static str, log: Log<_>| {
        Router::new().group(group).on(move |order: OrderCreated, Attempt(attempt): Attempt| {
            log.add((group, order.number, attempt));
            async move { if order.number == 2 && attempt == 1 { Err("not yet") } else { Ok(()) } }
        })
    };
    let router: Router = Router::new()
        .merge(handler("a", log.clone()))
        .merge(handler("b", log.clone()))
        .layer(Retry::exponential(3).delays(Duration::ZERO, Duration::ZERO))
        .layer(Dedup::new(MemoryDedup::new(100)));
    let running = router.start(&bus).await.unwrap();
    let id = EventId::parse("the-same").unwrap();
    for _ in 0..3 {
        bus.publish(&order(1)).id(id.clone()).await.unwrap();
    }
    bus.publish(&order(2)).await.unwrap();
    bus.publish(&order(3)).await.unwrap();
    let done = |group| running.handled(group, "orders").unwrap().succeeded == 5;
    until("all", || done("a") && done("b")).await;
    let mut seen = log.all();
    seen.sort_unstable();
    let once = |group| [(group, 1, 1), (group, 2, 1), (group, 2, 2), (group, 3, 1)];
    assert_eq!(seen, [once("a"), once("b")].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_over_all_handlers_of_a_layer() {
    let bus = bus().await;
    let [now, most, calls] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    let handler = |group: &'static str| {
        let (now, most, calls) = (now.clone(), most.clone(), calls.clone());
        Router::new().group(group).on(move |_: OrderCreated| {
            let (now, most, calls) = (now.clone(), most.clone(), calls.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                calls.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let router: Router =
        Router::new().concurrency(4).merge(handler("a")).merge(handler("b")).layer(ConcurrencyLimit::max(3));
    let running = router.start(&bus).await.unwrap();
    for number in 0..30 {
        bus.publish(&order_of(&number.to_string(), number)).await.unwrap();
    }
    until("all", || calls.load(Ordering::SeqCst) == 60).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    running.drain(SOON).await.unwrap();
}

#[tokio::test]
async fn a_rate_is_kept_and_waiting_spends_no_attempts() {
    let (bus, manual) = still();
    let log = Log::default();
    let (seen, clock) = (log.clone(), manual.clone());
    let handler = move |_: OrderCreated, Attempt(attempt): Attempt| {
        seen.add((clock.now(), attempt));
        async {}
    };
    let router: Router = Router::new().group("g").on(handler).layer(RateLimit::per_second(2).burst(2));
    let running = router.start(&bus).await.unwrap();
    let begun = manual.now();
    for number in 0..5 {
        bus.publish(&order(number)).await.unwrap();
    }
    pass(&manual, "all", || log.len() == 5).await;
    let at = log.all();
    let waits = at.iter().map(|(time, _)| time.since(begun)).collect::<Vec<_>>();
    for (wait, least) in waits.iter().zip([0, 0, 500, 1_000, 1_500]) {
        assert!(*wait >= Duration::from_millis(least), "{waits:?}");
    }
    assert!(at.iter().all(|(_, attempt)| *attempt == 1));
    // Who waits when the router is drained gives its event back.
    bus.publish(&order(9)).await.unwrap();
    bus.publish(&order(10)).await.unwrap();
    bus.publish(&order(11)).await.unwrap();
    until("one waits", || running.in_hand() > 0).await;
    running.drain(SOON).await.unwrap();
    let mut rest = bus.subscribe::<OrderCreated>().group("g").await.unwrap();
    assert_eq!(rest.next_timeout(SOON).await.unwrap().unwrap().attempt(), 1);
}

#[tokio::test]
async fn an_open_circuit_spends_no_attempts_and_closes_when_one_succeeds() {
    let (bus, manual) = still();
    let (log, down) = (Log::default(), Arc::new(AtomicUsize::new(1)));
    let (seen, broken) = (log.clone(), down.clone());
    let handler = move |order: OrderCreated, Attempt(attempt): Attempt| {
        seen.add((order.number, attempt));
        let failed = broken.load(Ordering::SeqCst) == 1;
        async move { if failed { Err("down") } else { Ok(()) } }
    };
    let breaker = CircuitBreaker::new(3, Duration::from_secs(60));
    let router: Router = Router::new()
        .group("g")
        .on(handler)
        .layer(breaker.clone())
        .layer(Retry::exponential(6).delays(Duration::from_secs(1), Duration::from_secs(1)));
    let running = router.start(&bus).await.unwrap();
    for number in 0..3 {
        bus.publish(&order(number)).await.unwrap();
    }
    until("three failures", || breaker.is_open()).await;
    // An hour of outage: a trial each minute, and no more.
    for _ in 0..2 {
        let calls = log.len();
        manual.advance(Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(log.len(), calls, "too early");
        manual.advance(Duration::from_secs(31));
        until("a trial", || log.len() == calls + 1).await;
        until("open again", || breaker.is_open()).await;
    }
    down.store(0, Ordering::SeqCst);
    pass(&manual, "all", || running.handled("g", "orders").unwrap().succeeded == 3).await;
    assert!(!breaker.is_open());
    assert_eq!(running.stats("g", "orders").unwrap().dead_lettered, 0);
    assert!(log.all().iter().all(|(_, attempt)| *attempt <= 4), "{:?}", log.all());
}

#[tokio::test]
async fn a_call_from_before_the_circuit_opened_does_not_close_it() {
    let (bus, _manual) = still();
    let (gate, breaker) = (Arc::new(tokio::sync::Notify::new()), CircuitBreaker::new(3, Duration::from_secs(60)));
    let opened = gate.clone();
    let handler = move |order: OrderCreated| {
        let opened = opened.clone();
        async move {
            if order.number > 0 {
                return Err("down");
            }
            opened.notified().await;
            Ok(())
        }
    };
    let router: Router = Router::new().group("g").concurrency(4).on(handler).layer(breaker.clone());
    let running = router.layer(Retry::exponential(6)).start(&bus).await.unwrap();
    for number in 0..4 {
        bus.publish(&order_of(&number.to_string(), number)).await.unwrap();
    }
    until("three failures", || breaker.is_open()).await;
    gate.notify_one();
    until("its success", || running.handled("g", "orders").unwrap().succeeded == 1).await;
    assert!(breaker.is_open());
}

#[tokio::test]
async fn what_is_emitted_tells_where_it_comes_from() {
    let bus = bus().await;
    let handler = |order: OrderCreated, emit: Emitter| async move {
        let change = |meta: &mut Meta| meta.correlation_id = (order.number == 2).then(|| "its own".to_owned());
        emit.emit_with(&Charged { number: order.number }, change)
    };
    let router: Router = Router::new().group("g").on(handler).layer((Correlate, Trace));
    let mut charged = bus.subscribe::<Charged>().group("h").await.unwrap();
    let _running = router.start(&bus).await.unwrap();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ids = [1, 2].map(|number| EventId::parse(&format!("order-{number}")).unwrap());
    let known = |meta: &mut Meta| {
        (meta.correlation_id, meta.traceparent) = (Some("c-1".to_owned()), Some(parent.to_owned()));
    };
    bus.publish(&order(1)).id(ids[0].clone()).await.unwrap();
    bus.publish(&order(2)).id(ids[1].clone()).meta(known).await.unwrap();
    bus.publish(&order(3)).meta(known).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        let event = charged.next_timeout(SOON).await.unwrap().unwrap();
        told.push(event.meta().clone());
        event.ack();
    }
    let of = |meta: &Meta| (meta.correlation_id.clone().unwrap(), meta.causation_id.clone().unwrap());
    assert_eq!(of(&told[0]), ("order-1".to_owned(), "order-1".to_owned()));
    assert_eq!(of(&told[1]), ("its own".to_owned(), "order-2".to_owned()));
    assert_eq!(told[2].correlation_id.as_deref(), Some("c-1"));
    let trace = told[2].traceparent.clone().unwrap();
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace != parent, "{trace}");
    assert!(told[0].traceparent.is_some(), "a trace begins where there is none");
}

#[tokio::test]
async fn dead_letters_go_where_they_are_sent_and_the_original_waits_for_that() {
    let builder = pubsub::builder("memory:").await.unwrap();
    let bus = builder.policy("graveyard-full", ChannelPolicy::new().max_payload(1)).unwrap().build();
    let handler = |message: Arc<Message>| async move { Err::<(), _>(format!("no: {}", message.id())) };
    let handler = move |_: OrderCreated, message: Arc<Message>| handler(message);
    let eager = || Retry::exponential(2).delays(Duration::ZERO, Duration::ZERO);
    let sound = Router::new().group("sound").on(handler).layer(eager()).layer(DeadLetter::to("graveyard").unwrap());
    let full = Router::new().group("full").on(handler).layer(eager()).layer(DeadLetter::to("graveyard-full").unwrap());
    let router: Router = Router::new().merge(sound).merge(full);
    let running = router.start(&bus).await.unwrap();
    let mut graves = bus.subscribe_channel("graveyard").from_earliest().await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    let letter = graves.next_timeout(SOON).await.unwrap().unwrap();
    let meta = letter.meta();
    assert!(meta.dead_reason.as_deref().unwrap().starts_with("no: "));
    assert_eq!((meta.dead_attempts, meta.dead_source.as_ref().unwrap().as_str()), (Some(2), "orders"));
    assert_eq!(letter.message().decode::<OrderCreated>().unwrap(), order(1));
    until("settled", || running.stats("sound", "orders").unwrap().outstanding == 0).await;
    assert_eq!(running.handled("sound", "orders").unwrap().succeeded, 1, "its letter is written");
    // Where no letter can be written, the event is kept and comes again.
    until("again", || running.handled("full", "orders").unwrap().failed >= 4).await;
    assert_eq!(running.stats("full", "orders").unwrap().dead_lettered, 0);
}
