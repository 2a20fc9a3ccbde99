//! Several handlers at a time, in order per key; drain, pause, handlers that come and go.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Charged, Log, OrderCreated, letters, order, order_of, until};
use pubsub::{
    ChannelPolicy, ConsumerState, Control, ErrorKind, HandlerError, PubSub, Retry, Router, Running, StartPosition,
};
use tokio::sync::{Notify, Semaphore};

const SOON: Duration = Duration::from_secs(5);

async fn bus() -> PubSub {
    pubsub::connect("memory:").await.unwrap()
}

async fn ordered_bus() -> PubSub {
    let builder = pubsub::builder("memory:").await.unwrap();
    builder.policy("orders", ChannelPolicy::new().ordered_per_key(8)).unwrap().build()
}

fn state_of(running: &Running, channel: &str) -> ConsumerState {
    let status = running.status();
    status.into_iter().find(|status| status.channel.as_str() == channel).unwrap().state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_key_holds_back_its_own_events_only() {
    for bus in [bus().await, ordered_bus().await] {
        let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
        let (seen, slow) = (log.clone(), gate.clone());
        let handler = move |order: OrderCreated| {
            let (seen, slow) = (seen.clone(), slow.clone());
            async move {
                if order.customer == "slow" {
                    slow.acquire().await.unwrap().forget();
                }
                seen.add((order.customer, order.number));
            }
        };
        let router: Router = Router::new().group("g").concurrency(2).on(handler);
        let running = router.start(&bus).await.unwrap();
        for number in 0..20 {
            bus.publish(&order_of("slow", number)).await.unwrap();
            for key in 0..4 {
                bus.publish(&order_of(&format!("key-{key}"), number)).await.unwrap();
            }
        }
        let flowed = log.reach(80).await;
        assert!(flowed.iter().all(|(customer, _)| customer != "slow"));
        gate.add_permits(20);
        let mut by_key: HashMap<String, Vec<u64>> = HashMap::new();
        for (customer, number) in log.reach(100).await {
            by_key.entry(customer).or_default().push(number);
        }
        assert_eq!(by_key.len(), 5);
        assert!(by_key.values().all(|numbers| *numbers == (0..20).collect::<Vec<_>>()), "{by_key:?}");
        running.drain(SOON).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_handlers_run_and_no_more_events_are_out_than_was_said() {
    let (bus, done) = (bus().await, Log::default());
    let [now, most, most_out] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    let (peak, out, seen) = (most.clone(), most_out.clone(), done.clone());
    let handler = move |order: OrderCreated, control: Control| {
        let (now, peak, out, seen) = (now.clone(), peak.clone(), out.clone(), seen.clone());
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            out.fetch_max(control.stats().outstanding, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            seen.add(order.number);
        }
    };
    let router: Router = Router::new().group("g").concurrency(3).max_in_flight(10).on(handler);
    let _running = router.start(&bus).await.unwrap();
    for number in 0..200 {
        bus.publish(&order_of(&format!("{number}"), number)).await.unwrap();
    }
    let mut seen = done.reach(200).await;
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let out = most_out.load(Ordering::SeqCst);
    assert!((4..=10).contains(&out), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_per_key_holds_across_failures_and_a_poison_key_stalls_nobody() {
    let (bus, log) = (ordered_bus().await, Log::default());
    let seen = log.clone();
    let failed = Log::default();
    let failures = failed.clone();
    let handler = move |order: OrderCreated| {
        let (seen, failures) = (seen.clone(), failures.clone());
        async move {
            if order.customer == "poison" {
                return Err(HandlerError::retry("never"));
            }
            // Every seventh event fails at first.
            let id = (order.customer.clone(), order.number);
            if order.number % 7 == 3 && !failures.all().contains(&id) {
                failures.add(id);
                return Err(HandlerError::retry("not yet"));
            }
            seen.add(id);
            Ok(())
        }
    };
    let retry = Retry::exponential(4).delays(Duration::from_millis(2), Duration::from_millis(10));
    let router: Router = Router::new().group("g").concurrency(4).on(handler).layer(retry);
    let running = router.start(&bus).await.unwrap();
    for number in 0..60 {
        for customer in ["a", "b", "c"] {
            bus.publish(&order_of(customer, number)).await.unwrap();
        }
        if number < 2 {
            bus.publish(&order_of("poison", number)).await.unwrap();
        }
    }
    let seen = log.reach(180).await;
    for customer in ["a", "b", "c"] {
        let numbers: Vec<_> = seen.iter().filter(|(key, _)| key == customer).map(|(_, number)| *number).collect();
        assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "{customer}");
    }
    let letters = letters(&bus, "orders", "g", 2).await;
    assert!(letters.iter().all(|letter| letter.message.meta().dead_attempts == Some(4)));
    until("nothing in hand", || running.in_hand() == 0).await;
}

#[tokio::test]
async fn draining_finishes_what_runs_and_gives_back_what_nobody_has_begun() {
    let bus = bus().await;
    let (started, gate, log) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)), Log::default());
    let (begun, open, seen) = (started.clone(), gate.clone(), log.clone());
    let handler = move |order: OrderCreated| {
        let (begun, open, seen) = (begun.clone(), open.clone(), seen.clone());
        async move {
            begun.notify_one();
            open.acquire().await.unwrap().forget();
            seen.add(order.number);
        }
    };
    let router: Router = Router::new().group("g").concurrency(2).on(handler).drain_within(SOON);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn({
        let bus = bus.clone();
        async move { router.run(&bus, async { drop(stopped.await) }).await }
    });
    for number in 0..10 {
        bus.publish(&order(number)).await.unwrap(); // one key: only one runs
    }
    started.notified().await;
    stop.send(()).unwrap();
    tokio::task::yield_now().await;
    assert!(!run.is_finished());
    gate.add_permits(10);
    run.await.unwrap().unwrap();
    assert_eq!(log.all(), [0]);
    // The next one gets the rest at once, in order, and as if it had never been out.
    let mut rest = bus.subscribe::<OrderCreated>().group("g").await.unwrap();
    for number in 1..10 {
        let event = rest.next_timeout(SOON).await.unwrap().unwrap();
        assert_eq!((event.number, event.attempt()), (number, 1));
        event.ack();
    }
}

#[tokio::test]
async fn what_is_not_finished_at_the_deadline_is_cut_off_and_stays_unsettled() {
    for workers in [1, 3] {
        let (bus, started) = (bus().await, Log::default());
        let begun = started.clone();
        let handler = move |order: OrderCreated| {
            begun.add(order.number);
            std::future::pending::<()>()
        };
        let router: Router = Router::new().group("g").concurrency(workers).on(handler);
        let running = router.start(&bus).await.unwrap();
        bus.publish(&order(1)).await.unwrap();
        started.reach(1).await;
        let error = running.drain(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.message().starts_with("1 events were not finished"), "{error}");
        assert!(matches!(state_of(&running, "orders"), ConsumerState::Ended(Some(_))));
        let mut next = bus.subscribe::<OrderCreated>().group("g").await.unwrap();
        let event = next.next_timeout(SOON).await.unwrap().unwrap();
        assert_eq!((event.number, event.attempt()), (1, 1), "no attempt was spent");
        event.ack();
        assert!(running.add(Router::new().group("h").on(|_: OrderCreated| async {})).await.is_err());
    }
}

#[tokio::test]
async fn handlers_come_and_go_and_the_others_are_not_touched() {
    let (bus, log) = (bus().await, Log::default());
    let handler = |group: &'static str| {
        let seen = log.clone();
        Router::new().group(group).start_at(StartPosition::Latest).on(move |order: OrderCreated| {
            seen.add((group, order.number));
            async {}
        })
    };
    let running = handler("first").start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    log.reach(1).await;
    running.add(handler("second")).await.unwrap();
    assert_eq!(running.add(handler("second")).await.unwrap_err().kind(), ErrorKind::Conflict);
    bus.publish(&order(2)).await.unwrap();
    log.reach(3).await;
    running.stop("first", "orders", SOON).await.unwrap();
    assert!(running.is_ready() && running.status().len() == 1, "what was stopped on purpose is no fault");
    assert_eq!(running.stop("first", "orders", SOON).await.unwrap_err().kind(), ErrorKind::NotFound);
    bus.publish(&order(3)).await.unwrap();
    let mut seen = log.reach(4).await;
    seen.sort_unstable();
    assert_eq!(seen, [("first", 1), ("first", 2), ("second", 2), ("second", 3)]);
    // It goes on where it was.
    running.add(handler("first")).await.unwrap();
    assert_eq!(log.reach(5).await[4], ("first", 3));
    assert!(running.is_ready());
}

#[tokio::test]
async fn a_paused_subscription_takes_nothing_until_it_is_resumed() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let router: Router = Router::new().group("g").on(move |order: OrderCreated| {
        seen.add(order.number);
        async {}
    });
    let running = router.start(&bus).await.unwrap();
    let mut watch = running.watch();
    running.pause("g", "orders").unwrap();
    assert_eq!(watch.changed().await.unwrap()[0].state, ConsumerState::Paused);
    assert!(running.is_ready());
    bus.publish(&order(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(log.all().is_empty());
    running.resume("g", "orders").unwrap();
    log.reach(1).await;
    assert_eq!(state_of(&running, "orders"), ConsumerState::Active);
}

#[tokio::test]
async fn a_handler_that_ends_its_subscription_ends_only_that_one() {
    let (bus, log) = (bus().await, Log::default());
    let (seen, other) = (log.clone(), log.clone());
    let router: Router = Router::new()
        .group("g")
        .on(move |order: OrderCreated, control: Control| {
            seen.add(order.number);
            control.end();
            async {}
        })
        .on(move |charged: Charged| {
            other.add(100 + charged.number);
            async {}
        });
    let running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    bus.publish(&order(2)).await.unwrap();
    until("the end", || state_of(&running, "orders") == ConsumerState::Ended(None)).await;
    bus.publish(&Charged { number: 1 }).await.unwrap();
    assert_eq!(log.reach(2).await, [1, 101]);
    assert!(!running.is_ready(), "who looks after the process should know");
    let mut rest = bus.subscribe::<OrderCreated>().group("g").await.unwrap();
    assert_eq!(
        rest.next_timeout(SOON).await.unwrap().unwrap().number,
        2,
        "its own event was settled, the next was not"
    );
}

#[tokio::test]
async fn a_closed_bus_ends_the_router() {
    let (bus, log) = (bus().await, Log::default());
    let seen = log.clone();
    let router: Router = Router::new().group("g").on(move |order: OrderCreated| {
        seen.add(order.number);
        async {}
    });
    let run = tokio::spawn({
        let bus = bus.clone();
        async move { router.run(&bus, std::future::pending()).await }
    });
    bus.publish(&order(1)).await.unwrap();
    log.reach(1).await;
    bus.close(SOON).await.unwrap();
    tokio::time::timeout(SOON, run).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_dropped_router_gives_back_what_it_had() {
    let (bus, started) = (bus().await, Log::default());
    let begun = started.clone();
    let handler = move |order: OrderCreated| {
        begun.add(order.number);
        std::future::pending::<()>()
    };
    let router: Router = Router::new().group("g").on(handler);
    let running = router.start(&bus).await.unwrap();
    bus.publish(&order(1)).await.unwrap();
    started.reach(1).await;
    drop(running);
    let mut next = bus.subscribe::<OrderCreated>().group("g").await.unwrap();
    let event = next.next_timeout(SOON).await.unwrap().unwrap();
    assert_eq!((event.number, event.attempt()), (1, 1));
}
