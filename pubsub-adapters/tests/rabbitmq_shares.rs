//! Members of an ordered group on RabbitMQ share its queues, however busy they are.

#![cfg(feature = "rabbitmq")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use pubsub_adapters::adapter;
use pubsub_core::{ChannelName, ChannelPolicy, Envelope, EventName, Events, Key, Payload, PubSub, Raw, Result};
use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions};
use tokio::time::{sleep, timeout};

const KEYS: usize = 32;
/// How many events a member has in hand, always.
const HANDS: usize = 64;
const LIMIT: Duration = Duration::from_secs(60);

async fn member(url: &str) -> Result<(PubSub, Events<Raw>)> {
    let policy = ChannelPolicy::new().ordered_per_key(4);
    let bus = PubSub::builder(adapter(&url.parse()?).await?).policy("shared", policy)?.build();
    let events = bus.subscribe_channel("shared").group("workers").max_in_flight(4 * HANDS).await?;
    Ok((bus, events))
}

/// Publishes numbers, each with its key, until the flow is no longer wanted.
async fn publish(bus: &PubSub, flows: &AtomicBool, published: &AtomicUsize) {
    let channel = ChannelName::parse("shared").unwrap();
    for number in 0.. {
        if !flows.load(Ordering::SeqCst) {
            break;
        }
        let body = Payload::json(number.to_string());
        let event = Envelope::new(EventName::parse("shared:number").unwrap(), channel.clone(), body);
        let key = Key::new(&format!("key-{}", number % KEYS)).unwrap();
        bus.publish_envelope(event).key(key).await.unwrap();
        published.store(number + 1, Ordering::SeqCst);
    }
}

fn number(event: &pubsub_core::Received<Raw>) -> usize {
    event.message().payload().decode().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_gets_its_share_from_a_member_that_always_has_events_in_hand() -> Result<()> {
    // Where there is no server on this machine the test fails: it would have shown nothing.
    let broker = Broker::start(BrokerKind::RabbitMq, &BrokerOptions::new()).unwrap();
    let (bus, mut busy) = member(&broker.url()).await?;
    let (flows, published) = (AtomicBool::new(true), AtomicUsize::new(0));
    // The last number of each key that was acknowledged, by whomever.
    let done = std::sync::Mutex::new(BTreeMap::<usize, usize>::new());
    let ack = |event: pubsub_core::Received<Raw>| {
        let number = number(&event);
        let before = done.lock().unwrap().insert(number % KEYS, number);
        assert!(before.is_none_or(|before| before <= number), "{number} after {before:?}");
        event.ack();
    };
    let working = async {
        let mut hands = VecDeque::new();
        while flows.load(Ordering::SeqCst) {
            if let Ok(Some(event)) = timeout(Duration::from_millis(20), busy.next()).await {
                hands.push_back(event.unwrap());
            }
            if hands.len() > HANDS {
                hands.pop_front().map(&ack);
            }
        }
    };
    let joining = async {
        while published.load(Ordering::SeqCst) < 4 * HANDS {
            sleep(Duration::from_millis(10)).await;
        }
        let (other, mut events) = member(&broker.url()).await.unwrap();
        for _ in 0..100 {
            let event = timeout(LIMIT, events.next()).await.expect("the newcomer gets nothing").unwrap().unwrap();
            ack(event);
        }
        flows.store(false, Ordering::SeqCst);
        other
    };
    let ((), other, ()) = tokio::join!(publish(&bus, &flows, &published), joining, working);
    for bus in [bus, other] {
        bus.close(Duration::from_secs(5)).await?;
    }
    Ok(())
}
