use std::sync::Arc;

use pubsub_core::{
    AckHandle, EventName, Message, Payload,
    driver::{AckToken, Outcome, Settler, Subscription},
};

use super::*;

struct NoControl;

impl Control for NoControl {}

fn delivery(number: usize) -> Delivery {
    let name = EventName::parse("a:b").unwrap();
    let channel = ChannelName::parse("a").unwrap();
    Delivery::new(Arc::new(Message::new(name, channel, Payload::json(number.to_string()))), AckHandle::none())
}

fn text(item: Option<Result<Item>>) -> String {
    match item {
        Some(Ok(Item::Delivery(delivery))) => {
            String::from_utf8(delivery.message.payload().data().unwrap().to_vec()).unwrap()
        }
        Some(Ok(Item::Gap(gap))) => format!("gap of {:?}", gap.lost),
        Some(Ok(other)) => format!("{other:?}"),
        Some(Err(error)) => error.kind().to_string(),
        None => "end".to_owned(),
    }
}

async fn read(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut read = Vec::new();
    for _ in 0..count {
        read.push(text(subscription.next().await));
    }
    read
}

#[tokio::test]
async fn the_oldest_are_dropped_with_one_gap() {
    let (feed, source) = Feed::new(NoControl);
    for number in 0..5 {
        feed.broadcast(delivery(number), SlowConsumer::DropOldest, 2);
    }
    feed.end();
    assert_eq!(read(&mut Subscription::new(source), 4).await, ["gap of Some(3)", "3", "4", "end"]);
}

#[tokio::test]
async fn channels_in_turn_leave_one_gap_each() {
    let (feed, source) = Feed::new(NoControl);
    for number in 0..10 {
        let mut one = delivery(number);
        if number % 2 == 1 {
            let (name, channel) = (EventName::parse("a:b").unwrap(), ChannelName::parse("b").unwrap());
            one.message = Arc::new(Message::new(name, channel, Payload::json(number.to_string())));
        }
        feed.broadcast(one, SlowConsumer::DropOldest, 2);
    }
    feed.end();
    let all = read(&mut Subscription::new(source), 5).await;
    assert_eq!(all, ["gap of Some(4)", "gap of Some(4)", "8", "9", "end"]);
}

#[tokio::test]
async fn who_is_too_slow_is_told_and_disconnected() {
    let (feed, source) = Feed::new(NoControl);
    for number in 0..5 {
        feed.broadcast(delivery(number), SlowConsumer::Disconnect, 2);
    }
    let refusal = ErrorKind::Backpressure.to_string();
    assert_eq!(read(&mut Subscription::new(source), 4).await, ["0", "1", &refusal, "end"]);
}

#[tokio::test]
async fn what_a_hundred_reconnects_tell_an_idle_reader_is_little() {
    let (feed, source) = Feed::new(NoControl);
    feed.deliver(delivery(0));
    for number in 0..100 {
        feed.state(SubscriptionState::Recovering(format!("try {number}")));
        feed.error(Error::new(ErrorKind::Unavailable, "receive", format!("failure {number}")));
        feed.gap(Gap::new(ChannelName::parse("a").unwrap(), Some(2), GapReason::Disconnected));
        feed.state(SubscriptionState::Active);
    }
    feed.end();
    let all = read(&mut Subscription::new(source), 1 + ERRORS + 2).await;
    assert_eq!(all.iter().filter(|text| *text == "gap of Some(200)").count(), 1, "{all:?}");
    assert_eq!(all.iter().filter(|text| text.contains("Active")).count(), 1, "{all:?}");
}

#[tokio::test]
async fn dropping_the_subscription_ends_the_task() {
    let (feed, source) = Feed::new(NoControl);
    feed.deliver(delivery(1));
    drop(Subscription::new(source));
    feed.gone().cancelled().await;
    feed.deliver(delivery(2));
    assert_eq!(feed.len(), 0);
}

#[tokio::test]
async fn states_that_nobody_saw_become_one() {
    let (feed, source) = Feed::new(NoControl);
    feed.state(SubscriptionState::Recovering("a".into()));
    feed.state(SubscriptionState::Recovering("b".into()));
    feed.state(SubscriptionState::Active);
    feed.end();
    assert_eq!(read(&mut Subscription::new(source), 2).await, ["State(Active)", "end"]);
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Outcome>>);

impl Settler for Recorder {
    fn settle(&self, _: AckToken, outcome: Outcome) -> bool {
        self.0.lock().unwrap().push(outcome);
        true
    }

    fn is_live(&self, _: AckToken) -> bool {
        true
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn what_comes_while_the_subscription_is_paused_goes_back() {
    let (feed, source) = Feed::new(NoControl);
    let settler = Arc::new(Recorder::default());
    let mut one = delivery(1);
    one.ack = AckHandle::new(settler.clone(), AckToken { index: 0, generation: 1 });
    let mut subscription = Subscription::new(source);
    subscription.source().set_paused(true);
    // Its adapter had taken it from the broker before it heard of the pause.
    feed.deliver_all([one, delivery(2)]);
    assert_eq!(*settler.0.lock().unwrap(), [Outcome::Release]);
    assert_eq!(feed.len(), 1, "what cannot come again waits");
    subscription.source().set_paused(false);
    assert_eq!(read(&mut subscription, 1).await, ["2"]);
}
