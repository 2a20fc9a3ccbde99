//! The library on a broker.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use pubsub::{
    ChannelName, ChannelPolicy, EventName, PubSub, Retention, Router, StartPosition, Ticket, driver::PublishOptions,
    driver::Tickets,
};
use smallvec::smallvec;
use tokio::sync::Notify;

use super::side::Side;
use crate::{
    event::{Order, message},
    limit::Place,
};

/// How many events one call of `publish_all` takes.
const TOGETHER: usize = 2_048;
/// What a consumer takes that has a limit's freedom; the default is 256.
const WIDE: usize = 2_048;
const CLOSE: Duration = Duration::from_secs(10);

/// A handle, and the group `g` on the channel of the event.
#[derive(Debug)]
pub struct Ours {
    bus: PubSub,
    /// How many tickets are open at a time; the adapter may take fewer.
    window: usize,
}

impl Ours {
    /// The handle.
    pub fn bus(&self) -> &PubSub {
        &self.bus
    }

    /// Publishes by `publish_all`.
    pub async fn publish_all(&self, count: usize, event: &Order) {
        let mut left = count;
        while left > 0 {
            let now = left.min(TOGETHER);
            for receipt in self.bus.publish_all(std::iter::repeat_n(event, now)).await.unwrap() {
                receipt.unwrap();
            }
            left -= now;
        }
    }

    /// Handles so many events by a router.
    pub async fn route(&self, count: usize, each: impl Fn(&Order) + Clone + Send + Sync + 'static) {
        let left = Arc::new((AtomicUsize::new(count), Notify::new()));
        let told = left.clone();
        let handler = move |event: Order| {
            each(&event);
            if told.0.fetch_sub(1, Ordering::AcqRel) == 1 {
                told.1.notify_one();
            }
            async {}
        };
        let router: Router = Router::new().group("g").start_at(StartPosition::Earliest).on(handler);
        let running = router.start(&self.bus).await.unwrap();
        left.1.notified().await;
        running.drain(CLOSE).await.unwrap();
    }

    /// Publishes bytes by the driver's own call, one message each.
    pub async fn publish_raw(&self, count: usize, body: &Bytes) {
        let name = EventName::from_static("orders:created").unwrap();
        let channel = ChannelName::from_static("orders").unwrap();
        let options = PublishOptions::default();
        let mut open: VecDeque<Tickets> = VecDeque::with_capacity(self.window);
        for _ in 0..count {
            if open.len() >= self.window {
                confirmed(open.pop_front().unwrap()).await;
            }
            let batch = smallvec![Arc::new(message(&name, &channel, body))];
            open.push_back(self.bus.adapter().enqueue(batch, &options).await.unwrap());
        }
        for tickets in open {
            confirmed(tickets).await;
        }
    }
}

async fn confirmed(tickets: Tickets) {
    for receipt in tickets.await.unwrap() {
        receipt.unwrap();
    }
}

/// The address with the place's name as its prefix.
pub fn address(place: &Place) -> String {
    let mark = if place.url.contains('?') { '&' } else { '?' };
    format!("{}{mark}prefix={}", place.url, place.name)
}

impl Side for Ours {
    async fn open(place: &Place) -> Self {
        let mut builder = pubsub::builder(&address(place)).await.unwrap();
        if !place.history {
            let policy = ChannelPolicy::default().retention(Retention::none());
            builder = builder.policy("orders", policy).unwrap();
        }
        let bus = builder.build();
        drop(bus.subscribe::<Order>().group("g").start(StartPosition::Earliest).await.unwrap());
        Self { bus, window: place.window() }
    }

    async fn publish(&self, count: usize, event: &Order) {
        let mut open: VecDeque<Ticket> = VecDeque::with_capacity(self.window);
        for _ in 0..count {
            if open.len() >= self.window {
                open.pop_front().unwrap().await.unwrap();
            }
            open.push_back(self.bus.publish(event).enqueue().await.unwrap());
        }
        for ticket in open {
            ticket.await.unwrap();
        }
    }

    fn send(&self, event: Order) -> impl Future<Output = ()> + Send + 'static {
        let bus = self.bus.clone();
        async move {
            bus.publish(&event).await.unwrap();
        }
    }

    async fn consume(&self, count: usize, wide: bool, mut each: impl FnMut(&Order) + Send) {
        let mut subscribe = self.bus.subscribe::<Order>().group("g").start(StartPosition::Earliest);
        if wide {
            subscribe = subscribe.max_in_flight(WIDE);
        }
        let mut events = subscribe.await.unwrap();
        for seen in 1..=count {
            let event = events.next().await.unwrap().unwrap();
            each(&event);
            if seen < count {
                event.ack();
            } else {
                event.ack_confirmed().await.unwrap();
            }
        }
    }

    async fn close(self) {
        // An adapter that cannot delete a group leaves it to the sweep; the figures are known already.
        let _ = self.bus.delete_group("orders", "g").await;
        let _ = self.bus.close(CLOSE).await;
    }
}
