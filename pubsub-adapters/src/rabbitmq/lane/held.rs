//! What waits for streams that are not ready: each channel's messages by themselves, so that no other channel waits.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use pubsub_core::{ChannelName, Result};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::Outgoing;
use crate::common::backoff::Backoff;

/// How many streams are looked at at a time: each look takes a channel of the protocol, and one may take seconds.
const LOOKS: usize = 16;

/// Says whether a channel's stream keeps what is sent.
pub(super) type Ask = Arc<dyn Fn(ChannelName) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + Sync>;
type Look = Pin<Box<dyn Future<Output = (ChannelName, Result<()>)> + Send>>;

/// The messages of one session that wait for their streams, by channel.
pub(super) struct Held {
    channels: BTreeMap<ChannelName, Waiting>,
    looks: FuturesUnordered<Look>,
    turns: Arc<Semaphore>,
    ask: Ask,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    backoff: Backoff,
    /// Why the stream is not ready.
    reason: Option<String>,
}

impl Held {
    pub(super) fn new(ask: Ask) -> Self {
        let turns = Arc::new(Semaphore::new(LOOKS));
        Self { channels: BTreeMap::new(), looks: FuturesUnordered::new(), turns, ask }
    }

    /// Whether nothing waits, and nothing is looked at.
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Keeps a message behind those of its channel, whose stream is looked at.
    pub(super) fn push(&mut self, channel: &ChannelName, message: Outgoing) {
        if let Some(waiting) = self.channels.get_mut(channel) {
            return waiting.messages.push_back(message);
        }
        let messages = VecDeque::from([message]);
        self.channels.insert(channel.clone(), Waiting { messages, ..Waiting::default() });
        self.look(channel.clone(), Duration::ZERO);
    }

    /// Looks after a while whether a channel's stream keeps what is sent.
    fn look(&self, channel: ChannelName, after: Duration) {
        let (turns, ask) = (self.turns.clone(), self.ask.clone());
        self.looks.push(Box::pin(async move {
            sleep(after).await;
            let _turn = turns.acquire().await; // it is never closed
            let looked = ask(channel.clone()).await;
            (channel, looked)
        }));
    }

    /// Waits for a stream that is ready: its channel and what waited for it. None as long as there is nothing to wait for.
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Option<(ChannelName, VecDeque<Outgoing>)> {
        loop {
            let (channel, looked) = self.looks.next().await?;
            let Some(waiting) = self.channels.get_mut(&channel) else { continue };
            match looked {
                Ok(()) => {
                    let ready = self.channels.remove(&channel)?;
                    return Some((channel, ready.messages));
                }
                // Nobody waits for it any more. Whoever comes next begins anew.
                Err(_) if waiting.messages.is_empty() => drop(self.channels.remove(&channel)),
                Err(error) => {
                    waiting.reason = Some(error.message().to_owned());
                    let after = waiting.backoff.next();
                    self.look(channel, after);
                }
            }
        }
    }

    /// Takes out what is late, each with why its stream is not ready.
    pub(super) fn late(&mut self) -> Vec<(Outgoing, Option<String>)> {
        let now = Instant::now();
        let mut late = Vec::new();
        for waiting in self.channels.values_mut() {
            if waiting.messages.iter().all(|message| message.deadline > now) {
                continue;
            }
            let (over, left) = waiting.messages.drain(..).partition(|message| message.deadline <= now);
            waiting.messages = left;
            late.extend(VecDeque::into_iter(over).map(|message| (message, waiting.reason.clone())));
        }
        late
    }

    /// All that waits, the messages of each channel in their order.
    pub(super) fn into_messages(self) -> impl DoubleEndedIterator<Item = Outgoing> {
        self.channels.into_values().flat_map(|waiting| waiting.messages)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use futures_util::FutureExt;
    use lapin::{BasicProperties, types::ShortString};
    use pubsub_core::{Error, ErrorKind};
    use tokio::sync::oneshot;

    use super::{
        super::{Trace, Unrouted},
        *,
    };

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn message(on: &str, number: u8, time: Duration) -> Outgoing {
        Outgoing {
            exchange: ShortString::default(),
            routing_key: ShortString::default(),
            properties: BasicProperties::default(),
            body: vec![number].into(),
            unrouted: Unrouted::Channel(channel(on)),
            channel: channel(on),
            deadline: Instant::now() + time,
            answer: oneshot::channel().0,
            permit: None,
            tickets: None,
            trace: Trace::default(),
        }
    }

    fn numbers(messages: impl IntoIterator<Item = Outgoing>) -> Vec<u8> {
        messages.into_iter().map(|message| message.body[0]).collect()
    }

    const LONG: Duration = Duration::from_secs(3600);

    /// Streams of which `broken` is not ready until it is mended; and how often that was asked.
    fn held() -> (Held, Arc<AtomicBool>, Arc<AtomicUsize>) {
        let (mended, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (state, count) = (mended.clone(), asked.clone());
        let ask: Ask = Arc::new(move |channel| {
            let broken = channel.as_str() == "broken";
            let refused = broken && !state.load(SeqCst);
            count.fetch_add(usize::from(broken), SeqCst);
            let error = || Error::new(ErrorKind::Unavailable, "publish", "no writer");
            Box::pin(std::future::ready(if refused { Err(error()) } else { Ok(()) }))
        });
        (Held::new(ask), mended, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_waits_for_its_own_stream_alone_and_keeps_its_order() {
        let (mut held, mended, _) = held();
        for number in 0..6 {
            let on = if number % 2 == 0 { "broken" } else { "sound" };
            held.push(&channel(on), message(on, number, LONG));
        }
        let (ready, messages) = held.next().await.unwrap();
        assert_eq!((ready, numbers(messages)), (channel("sound"), vec![1, 3, 5]));
        assert!(held.next().now_or_never().is_none() && !held.is_empty());
        held.push(&channel("broken"), message("broken", 6, LONG));
        mended.store(true, SeqCst);
        let (ready, messages) = held.next().await.unwrap();
        assert_eq!((ready, numbers(messages)), (channel("broken"), vec![0, 2, 4, 6]));
        assert!(held.is_empty() && held.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn looking_ends_with_the_last_message_that_waits() {
        let (mut held, _, asked) = held();
        held.push(&channel("broken"), message("broken", 0, Duration::from_secs(1)));
        held.push(&channel("broken"), message("broken", 1, LONG));
        assert!(tokio::time::timeout(Duration::from_secs(2), held.next()).await.is_err());
        let late = held.late();
        assert_eq!(late[0].1.as_deref(), Some("no writer"));
        assert_eq!(numbers(late.into_iter().map(|(message, _)| message)), [0]);
        assert!(tokio::time::timeout(LONG, held.next()).await.is_err());
        assert_eq!(numbers(held.late().into_iter().map(|(message, _)| message)), [1]);
        let before = asked.load(SeqCst);
        assert!(tokio::time::timeout(LONG, held.next()).await.unwrap().is_none(), "nobody waits");
        assert!(asked.load(SeqCst) <= before + 1, "one look may have been underway");
        // Who comes next is looked for again.
        held.push(&channel("broken"), message("broken", 2, LONG));
        assert!(held.next().now_or_never().is_none());
        assert_eq!(numbers(held.into_messages()), [2]);
    }
}
