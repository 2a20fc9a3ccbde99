//! Broadcasts of ephemeral channels: pub/sub on a connection of its own.

use std::{collections::HashSet, sync::Arc, time::Duration};

use ::redis::{
    Msg, RedisError, RedisResult,
    aio::{PubSubSink, PubSubStream},
};
use bytes::Bytes;
use futures_util::StreamExt;
use pubsub_core::{
    AckHandle, ChannelName, ChannelPattern, Delivery, Result,
    driver::{GapReason, SlowConsumer, SubscriptionState},
};
use tokio::time::{Instant, sleep, timeout};

use super::{connection::Hub, error::from_redis, wire};
use crate::common::{backoff::Backoff, feed::Feed, unreadable};

/// How far a reader may lag behind, unless it says otherwise.
pub(super) const BUFFER: usize = 8_192;
/// How often the server is asked for a sign of life, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_WITHIN: Duration = Duration::from_secs(3);
/// How many channels that a wildcard met are remembered, to tell of gaps on them.
const REMEMBERED: usize = 256;

/// What a broadcast listens to, and how.
pub(super) struct Listener {
    pub(super) hub: Arc<Hub>,
    pub(super) feed: Feed,
    /// Patterns of which none lies within another one: the server sends a message once per pattern.
    patterns: Vec<ChannelPattern>,
    slow: SlowConsumer,
    buffer: usize,
    met: HashSet<ChannelName>,
}

/// A connection that listens.
pub(super) struct Ears {
    sink: PubSubSink,
    stream: PubSubStream,
}

impl Listener {
    pub(super) fn new(
        hub: Arc<Hub>,
        feed: Feed,
        patterns: &[ChannelPattern],
        slow: SlowConsumer,
        buffer: Option<usize>,
    ) -> Self {
        let mut own: Vec<ChannelPattern> = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            let within = |(other, wider): (usize, &ChannelPattern)| {
                other != index && covers(wider, pattern) && (other < index || !covers(pattern, wider))
            };
            if !patterns.iter().enumerate().any(within) {
                own.push(pattern.clone());
            }
        }
        Self { hub, feed, patterns: own, slow, buffer: buffer.unwrap_or(BUFFER), met: HashSet::new() }
    }

    /// Connects and subscribes: what is published from now on comes.
    ///
    /// # Errors
    /// What the server says.
    pub(super) async fn connect(&self) -> Result<Ears> {
        let failed = |error| from_redis("subscribe", error);
        let (mut sink, stream) = self.hub.connector.live().await.map_err(failed)?.split();
        let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let subscribed = timeout(PING_WITHIN, self.subscribe(&mut sink)).await;
        subscribed.unwrap_or_else(|_| Err(late())).map_err(failed)?;
        Ok(Ears { sink, stream })
    }

    async fn subscribe(&self, sink: &mut PubSubSink) -> RedisResult<()> {
        for pattern in &self.patterns {
            match pattern {
                ChannelPattern::Exact(channel) => sink.subscribe(self.hub.names.live(channel)).await?,
                wildcard => sink.psubscribe(self.hub.names.live_pattern(wildcard)).await?,
            }
        }
        Ok(())
    }

    /// Listens until the subscription is gone or the adapter closes; connects again by itself.
    pub(super) async fn listen(mut self, mut ears: Option<Ears>) {
        let (hub, feed) = (self.hub.clone(), self.feed.clone());
        loop {
            if let Some(ears) = ears.take() {
                let why = tokio::select! {
                    () = over(&hub, &feed) => return,
                    why = self.hear(ears) => why,
                };
                self.feed.state(SubscriptionState::Recovering(why.to_owned()));
            }
            let mut backoff = Backoff::default();
            loop {
                let connected = tokio::select! {
                    () = over(&hub, &feed) => return,
                    connected = self.connect() => connected,
                };
                match connected {
                    Ok(found) => {
                        ears = Some(found);
                        break;
                    }
                    Err(error) => self.feed.state(SubscriptionState::Recovering(error.to_string())),
                }
                tokio::select! {
                    () = over(&hub, &feed) => return,
                    () = sleep(backoff.next()) => {}
                }
            }
            let named = self.patterns.iter().filter_map(|pattern| match pattern {
                ChannelPattern::Exact(channel) | ChannelPattern::Family(channel) => Some(channel),
                ChannelPattern::All => None,
            });
            let met = self.met.iter().filter(|_| self.patterns.contains(&ChannelPattern::All));
            self.feed.gaps(named.chain(met), GapReason::Disconnected);
            self.feed.state(SubscriptionState::Active);
        }
    }

    /// Takes messages until the connection breaks, and says why it did.
    async fn hear(&mut self, ears: Ears) -> &'static str {
        let Ears { mut sink, mut stream } = ears;
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => {
                        heard = Instant::now();
                        self.take(&message);
                    }
                    None => return "the connection was lost",
                },
                () = sleep(PING_EVERY.saturating_sub(heard.elapsed())) => {
                    match timeout(PING_WITHIN, sink.ping::<::redis::Value>()).await {
                        Ok(Ok(_)) => heard = Instant::now(),
                        Ok(Err(_)) => return "the connection was lost",
                        Err(_) => return "the server gives no sign of life",
                    }
                }
            }
        }
    }

    fn take(&mut self, message: &Msg) {
        let Some(channel) = self.hub.names.parse_live(message.get_channel_name()) else { return };
        if !self.patterns.iter().any(|pattern| pattern.matches(&channel)) {
            return;
        }
        if self.met.len() < REMEMBERED && !self.met.contains(&channel) {
            self.met.insert(channel.clone());
        }
        let bytes = Bytes::copy_from_slice(message.get_payload_bytes());
        let (message, fault) = wire::read_live(&bytes, &channel);
        let delivery = unreadable::mark(Delivery::new(message, AckHandle::none()), fault);
        self.feed.broadcast(delivery, self.slow, self.buffer);
    }
}

/// Waits for the end of the subscription, and tells its reader of a close.
pub(super) async fn over(hub: &Hub, feed: &Feed) {
    tokio::select! {
        () = feed.gone().cancelled() => {}
        () = hub.closing.cancelled() => feed.end(),
    }
}

/// Whether every channel of one pattern is one of the other.
fn covers(wider: &ChannelPattern, pattern: &ChannelPattern) -> bool {
    match (wider, pattern) {
        (wider, ChannelPattern::Exact(channel)) => wider.matches(channel),
        (ChannelPattern::All, _) => true,
        (ChannelPattern::Family(family), ChannelPattern::Family(other)) => family == other || wider.matches(other),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_overlapping_patterns_the_widest_stay() {
        let parse = |text: &str| ChannelPattern::parse(text).unwrap();
        for (wider, pattern, expected) in [
            ("*", "a.*", true),
            ("a.*", "*", false),
            ("a.*", "a.b.*", true),
            ("a.*", "a.*", true),
            ("a.*", "a", false),
            ("a.*", "a.b", true),
            ("a", "a", true),
        ] {
            assert_eq!(covers(&parse(wider), &parse(pattern)), expected, "{wider} {pattern}");
        }
    }
}
