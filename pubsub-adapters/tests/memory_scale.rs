//! What many waiting messages cost a group, and leases that run out while a subscription is full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{
    ChannelName, ChannelPolicy, Clock, Envelope, EventName, Events, Key, ManualClock, Payload, PubSub, Raw, Received,
    Timestamp,
};
use rustix::time::{ClockId, clock_gettime};

const LEASE: Duration = Duration::from_secs(60);

/// A bus under a clock that is moved by hand.
struct Stand {
    bus: PubSub,
    clock: ManualClock,
}

impl Stand {
    fn new(policy: ChannelPolicy) -> Self {
        let clock = ManualClock::new(Timestamp::now());
        let options = MemoryOptions::new().capacity(1 << 16).clock(Clock::from(clock.clone()));
        let builder = PubSub::builder(Memory::open(options).unwrap()).clock(Clock::from(clock.clone()));
        Self { bus: builder.policy("test", policy).unwrap().build(), clock }
    }

    async fn publish(&self, count: usize, keys: usize) {
        let (name, channel) = (EventName::parse("test:event").unwrap(), ChannelName::parse("test").unwrap());
        let events = (0..count).map(|n| {
            let mut event = Envelope::new(name.clone(), channel.clone(), Payload::json(n.to_string()));
            event.key = (keys > 0).then(|| Key::new(&(n % keys.max(1)).to_string()).unwrap());
            event
        });
        assert!(self.bus.publish_envelopes(events).await.unwrap().iter().all(Result::is_ok));
    }
}

async fn take(events: &mut Events<Raw>, count: usize) -> Vec<Received<Raw>> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
        taken.push(next.expect("delivered in time").unwrap().unwrap());
    }
    taken
}

fn numbers(events: &[Received<Raw>]) -> Vec<usize> {
    let number = |event: &Received<Raw>| std::str::from_utf8(event.payload().data().unwrap()).unwrap().parse().unwrap();
    events.iter().map(number).collect()
}

/// The time that the processor has worked for this thread, which runs all tasks of a test: what else the machine does
/// is not in it.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// Four times the messages may cost eight times the work, not sixteen times. The best of several attempts counts:
/// cold caches only ever make one slower.
async fn grows_with_the_messages<F: AsyncFn(usize) -> Duration>(small: usize, run: F) {
    let (mut few, mut many) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        few = few.min(run(small).await);
        many = many.min(run(4 * small).await);
        if many < 8 * few {
            return;
        }
    }
    panic!("{few:?} for the messages, but {many:?} for four times as many");
}

#[tokio::test]
#[should_panic(expected = "for four times as many")]
async fn work_that_grows_with_the_square_is_found() {
    grows_with_the_messages(256, async |count| {
        let before = worked();
        let pairs = (0..count).flat_map(|one| (0..count).map(move |other| one ^ other));
        std::hint::black_box(pairs.fold(0, |sum: usize, pair| sum.wrapping_add(std::hint::black_box(pair))));
        worked() - before
    })
    .await;
}

/// Every message fails with a delay, the last one first, and comes again.
async fn all_fail(policy: ChannelPolicy, keys: usize, count: usize) -> Duration {
    let stand = Stand::new(policy);
    let mut events = stand.bus.subscribe_channel("test").group("g").max_in_flight(count).await.unwrap();
    stand.publish(count, keys).await;
    let taken = take(&mut events, count).await;
    let before = worked();
    for event in taken.into_iter().rev() {
        event.nack_after(Duration::from_secs(1)).unwrap();
    }
    stand.clock.advance(Duration::from_secs(2));
    let again = take(&mut events, count).await;
    assert_eq!(numbers(&again), (0..count).collect::<Vec<_>>());
    assert!(again.iter().all(|event| event.attempt() == 2));
    again.into_iter().for_each(Received::ack);
    let next = events.next();
    tokio::pin!(next);
    assert!(poll_once(next.as_mut()).await.is_none());
    worked() - before
}

/// What a future gives at once.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn failures_of_unordered_messages_cost_the_same_however_many_wait() {
    grows_with_the_messages(16_384, async |count| all_fail(ChannelPolicy::new(), 0, count).await).await;
}

#[tokio::test]
async fn failures_of_keyed_messages_cost_the_same_however_many_wait() {
    grows_with_the_messages(4_096, async |count| all_fail(ChannelPolicy::new().ordered_per_key(4), 64, count).await)
        .await;
}

#[tokio::test]
async fn failures_in_one_lane_cost_the_same_however_many_wait() {
    grows_with_the_messages(4_096, async |count| all_fail(ChannelPolicy::new().totally_ordered(), 0, count).await)
        .await;
}

#[tokio::test]
async fn leases_with_deadlines_cost_the_same_however_many_run() {
    grows_with_the_messages(2_048, async |count| {
        let stand = Stand::new(ChannelPolicy::new());
        let subscribe = stand.bus.subscribe_channel("test").group("g").max_in_flight(count).manual_lease(LEASE);
        let mut events = subscribe.await.unwrap();
        stand.publish(count, 0).await;
        let before = worked();
        let taken = take(&mut events, count).await;
        for event in &taken {
            event.extend(2 * LEASE).await.unwrap();
        }
        stand.clock.advance(LEASE + LEASE / 2);
        assert!(taken.iter().all(Received::is_live));
        stand.clock.advance(LEASE);
        assert!(!taken.iter().any(Received::is_live));
        assert_eq!(numbers(&take(&mut events, count).await), (0..count).collect::<Vec<_>>());
        worked() - before
    })
    .await;
}

#[tokio::test]
async fn a_full_subscription_gets_room_when_its_leases_run_out() {
    let stand = Stand::new(ChannelPolicy::new());
    let subscribe = stand.bus.subscribe_channel("test").group("g").max_in_flight(1).manual_lease(LEASE);
    let mut events = subscribe.await.unwrap();
    stand.publish(2, 0).await;
    let first = take(&mut events, 1).await;
    stand.clock.advance(LEASE);
    let again = take(&mut events, 1).await;
    assert_eq!((numbers(&first), numbers(&again), again[0].attempt()), (vec![0], vec![0], 2));
    assert!(!first[0].is_live() && again[0].is_live());
}
