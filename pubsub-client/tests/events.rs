//! `on`, `once`, `off` and `emit` on memory.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pubsub::{ErrorKind, EventBus, FaultKind, Listener};
use serde_json::{Value, json};
use support::{Add, bus, eventually};

type Seen<T> = Arc<Mutex<Vec<T>>>;

fn seen<T: Clone>(seen: &Seen<T>) -> Vec<T> {
    seen.lock().unwrap().clone()
}

#[tokio::test]
async fn listeners_hear_what_they_take_in_order() {
    let events = EventBus::new(&bus().await);
    let typed: Seen<i64> = Seen::default();
    let named: Seen<String> = Seen::default();
    let keep = typed.clone();
    events
        .on(move |add: Add| {
            keep.lock().unwrap().push(add.left);
            async {}
        })
        .await
        .unwrap();
    let keep = named.clone();
    events
        .on_name("sums:*", move |heard| {
            keep.lock().unwrap().push(format!("{} {}", heard.name(), heard.data::<Value>().unwrap()));
            async {}
        })
        .await
        .unwrap();
    for left in 0..100 {
        events.emit(&Add { left, right: 0 }).await.unwrap();
    }
    events.emit_name("sums:cleared", &json!({})).await.unwrap();
    events.emit_name("other:thing", &json!({})).await.unwrap();
    eventually("all events", || seen(&named).len() == 101).await;
    events.close().await;
    assert_eq!(seen(&typed), (0..100).collect::<Vec<_>>());
    assert_eq!(seen(&named).last().unwrap(), "sums:cleared {}");
    assert_eq!(events.faults(), 0);
    assert_eq!(events.on_name("a:b", |_| async {}).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_is_once_also_under_races() {
    let bus = bus().await;
    let events = EventBus::new(&bus);
    for _ in 0..50 {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let listener = events
            .once(move |_: Add| {
                counted.fetch_add(1, Ordering::SeqCst);
                async {}
            })
            .await
            .unwrap();
        let emits: Vec<_> = (0..8)
            .map(|left| {
                let events = events.clone();
                tokio::spawn(async move { events.emit(&Add { left, right: 0 }).await.unwrap() })
            })
            .collect();
        for emit in emits {
            emit.await.unwrap();
        }
        eventually("the one call", || calls.load(Ordering::SeqCst) == 1).await;
        assert!(!events.off(listener));
        assert_eq!((events.listeners(), calls.load(Ordering::SeqCst)), (0, 1));
    }
}

#[tokio::test]
async fn off_ends_a_listener_and_no_other() {
    let events = EventBus::new(&bus().await);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = |calls: &Arc<AtomicUsize>| {
        let calls = calls.clone();
        move |_: Add| {
            calls.fetch_add(1, Ordering::SeqCst);
            async {}
        }
    };
    let once = events.once(count(&calls)).await.unwrap();
    assert!(events.off(once));
    let others = Arc::new(AtomicUsize::new(0));
    let kept = events.on(count(&others)).await.unwrap();
    // A handle that outlived its listener, and one of another bus.
    assert!(!events.off(once));
    let elsewhere = EventBus::new(events.bus());
    let foreign = elsewhere.on(count(&calls)).await.unwrap();
    assert!(elsewhere.off(foreign) && !events.off(foreign));
    events.emit(&Add { left: 1, right: 0 }).await.unwrap();
    eventually("the call", || others.load(Ordering::SeqCst) == 1).await;
    assert!(events.off(kept));
    events.emit(&Add { left: 1, right: 0 }).await.unwrap();
    events.close().await;
    assert_eq!((calls.load(Ordering::SeqCst), others.load(Ordering::SeqCst)), (0, 1));
}

#[tokio::test]
async fn a_handler_may_take_itself_off() {
    let events = EventBus::new(&bus().await);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    events
        .on_name("sums:add", move |heard| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            async move { assert_eq!(heard.bus().off(heard.listener()), call == 0) }
        })
        .await
        .unwrap();
    // By the handle, in a typed one.
    let own = Arc::new(OnceLock::<Listener>::new());
    let (bus, known, typed) = (events.clone(), own.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = typed.clone();
    let listener = events
        .on(move |_: Add| {
            counted.fetch_add(1, Ordering::SeqCst);
            let off = bus.off(*known.get().unwrap());
            async move { assert!(off) }
        })
        .await
        .unwrap();
    own.set(listener).unwrap();
    let all: Vec<_> = (0..20).map(|left| Add { left, right: 0 }).collect();
    let mut last = events.bus().subscribe::<Add>().await.unwrap();
    events.bus().publish_all(&all).await.unwrap();
    eventually("both calls", || calls.load(Ordering::SeqCst) + typed.load(Ordering::SeqCst) == 2).await;
    while last.next().await.unwrap().unwrap().left < 19 {}
    assert_eq!(events.listeners(), 0);
    events.close().await;
    assert_eq!((calls.load(Ordering::SeqCst), typed.load(Ordering::SeqCst), events.faults()), (1, 1, 0));
}

#[tokio::test]
async fn faults_reach_the_hook_and_end_nothing() {
    let faults: Seen<(FaultKind, String)> = Seen::default();
    let told = faults.clone();
    let events = EventBus::builder(&bus().await)
        .on_fault(move |fault| {
            told.lock().unwrap().push((fault.kind, fault.cause.to_string()));
            assert!(fault.kind != FaultKind::Panicked, "a hook that panics too");
        })
        .build();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    events
        .on_name("sums:add", move |heard| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match call {
                    0 => Err(std::io::Error::other("the error of the test")),
                    1 => panic!("the panic of the test, of {}", heard.name()),
                    _ => Ok(()),
                }
            }
        })
        .await
        .unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = heard.clone();
    events
        .on(move |_: Add| {
            counted.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .await
        .unwrap();
    for _ in 0..3 {
        events.emit_name("sums:add", &json!({"left": 1, "right": 2})).await.unwrap();
    }
    events.emit_name("sums:add", &json!({"left": "?"})).await.unwrap();
    eventually("all calls", || calls.load(Ordering::SeqCst) == 4 && heard.load(Ordering::SeqCst) == 3).await;
    eventually("all faults", || events.faults() == 3).await;
    let mut kinds: Vec<_> = seen(&faults).into_iter().map(|(kind, text)| (format!("{kind:?}"), text)).collect();
    kinds.sort();
    assert_eq!(kinds[0], ("Failed".to_owned(), "the error of the test".to_owned()));
    assert_eq!((kinds[1].0.as_str(), kinds[2].0.as_str()), ("Panicked", "Unreadable"));
}

#[tokio::test]
async fn a_slow_listener_misses_events_alone_and_the_hook_is_told() {
    let overruns = Arc::new(AtomicUsize::new(0));
    let told = overruns.clone();
    let events = EventBus::builder(&bus().await)
        .capacity(2)
        .on_fault(move |fault| {
            assert_eq!((fault.kind, fault.listener.as_deref()), (FaultKind::Overrun, Some("sums:*")));
            told.fetch_add(1, Ordering::SeqCst);
        })
        .build();
    let heard = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    events
        .on_name("sums:*", move |_| {
            let gate = held.clone();
            async move { drop(gate.acquire().await) }
        })
        .await
        .unwrap();
    let counted = heard.clone();
    events
        .on(move |_: Add| {
            counted.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .await
        .unwrap();
    for left in 0..10 {
        events.emit(&Add { left, right: 0 }).await.unwrap();
        eventually("the quick one", || heard.load(Ordering::SeqCst) == left as usize + 1).await;
    }
    // One in hand, two in the queue.
    eventually("the overruns", || overruns.load(Ordering::SeqCst) == 7).await;
    gate.add_permits(100);
    events.close().await;
}

#[tokio::test]
async fn classic_names_travel_on_one_channel() {
    let bus = bus().await;
    let events = EventBus::new(&bus);
    let names: Seen<String> = Seen::default();
    let keep = names.clone();
    events
        .on_name("TARGET CREATED!", move |heard| {
            keep.lock().unwrap().push(heard.name());
            async {}
        })
        .await
        .unwrap();
    let mut raw = bus.subscribe_channel("eventbus").await.unwrap();
    for name in ["TARGET_CREATED", "TARGET CREATED!"] {
        events.emit_name(name, &json!({})).await.unwrap();
    }
    eventually("the event", || seen(&names).len() == 1).await;
    assert_eq!(seen(&names), ["TARGET CREATED!"]);
    assert_eq!(raw.next().await.unwrap().unwrap().message().name().as_str(), "eventbus:TARGET_CREATED");
    assert!(events.emit_name("", &json!({})).await.is_err() && events.emit_name("a:b:c", &json!({})).await.is_err());
}

#[tokio::test]
async fn a_handler_may_ask_and_emit() {
    let events = EventBus::new(&bus().await);
    let done = Arc::new(AtomicUsize::new(0));
    let counted = done.clone();
    events
        .on_name("SECOND", move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .await
        .unwrap();
    // It waits for an event of its own channel.
    events
        .on_name("FIRST", |heard| async move {
            let (sender, event) = tokio::sync::oneshot::channel();
            let sender = Mutex::new(Some(sender));
            let hear = move |_| {
                let sender = sender.lock().unwrap().take();
                async move { assert!(sender.is_some_and(|sender| sender.send(()).is_ok())) }
            };
            heard.bus().once_name("SECOND", hear).await?;
            heard.bus().emit_name("SECOND", &json!({})).await?;
            event.await.map_err(|_| pubsub::Error::new(ErrorKind::Closed, "test", "no event"))
        })
        .await
        .unwrap();
    events.emit_name("FIRST", &json!({})).await.unwrap();
    eventually("the second event", || done.load(Ordering::SeqCst) == 1).await;
    eventually("the end of the inner listener", || events.listeners() == 2).await;
    assert_eq!(events.faults(), 0);
}

#[tokio::test]
async fn nothing_is_left_when_the_last_handle_goes() {
    let bus = bus().await;
    let alive = Arc::new(());
    let held = alive.clone();
    let events = EventBus::new(&bus);
    let stuck = move |_: Add| {
        let held = held.clone();
        async move {
            std::future::pending::<()>().await;
            drop(held);
        }
    };
    events.on(stuck).await.unwrap();
    events.emit(&Add { left: 1, right: 1 }).await.unwrap();
    eventually("the stuck handler", || Arc::strong_count(&alive) > 2).await;
    drop(events);
    eventually("its end", || Arc::strong_count(&alive) == 1).await;
    bus.close(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn a_closed_bus_tells_its_listeners() {
    let bus = bus().await;
    let events = EventBus::new(&bus);
    events.on(|_: Add| async {}).await.unwrap();
    bus.close(Duration::from_secs(1)).await.unwrap();
    eventually("the end of the listeners", || events.listeners() == 0).await;
    assert_eq!(events.on(|_: Add| async {}).await.unwrap_err().kind(), ErrorKind::Closed);
}
