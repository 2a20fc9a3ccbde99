//! Pull requests of one consumer: how many events are asked for, what the server answers.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, Message as NatsMessage, Subscriber};
use futures_util::{FutureExt, StreamExt};
use pubsub_core::{ChannelName, Error, Message, Result, Timestamp};
use tokio::time::{Instant, timeout};

use super::{connection::Shared, error, wire};

/// How long a request for events stays open. It is short, for its end is the only one that loses nothing: what the server
/// has on its way when the subscription behind a request goes, stays with nobody until the lease is over. Its end is a
/// sign of life, too.
const EXPIRES: Duration = Duration::from_millis(500);
/// How many requests may be open.
const REQUESTS: usize = 4;
/// Silence after which the requests are given up.
const SILENCE: Duration = Duration::from_millis(4_000);

/// An event as a consumer delivers it.
#[derive(Debug)]
pub(super) struct Arrived {
    /// Where settlements go.
    pub(super) reply: async_nats::Subject,
    pub(super) sequence: u64,
    pub(super) consumer_sequence: u64,
    /// How often it was delivered, this time included.
    pub(super) delivered: u32,
    /// How many more there are.
    pub(super) pending: u64,
    pub(super) stored: Timestamp,
    /// Until it is read.
    message: Option<NatsMessage>,
}

impl Arrived {
    fn parse(mut message: NatsMessage) -> Option<Self> {
        let reply = message.reply.take()?;
        let mut parts = [""; 11];
        let mut length = 0;
        for (part, text) in parts.iter_mut().zip(reply.as_str().split('.')) {
            (*part, length) = (text, length + 1);
        }
        // `$JS.ACK.<stream>.<consumer>.…`, or with domain and account before the stream.
        let at = match length {
            9 => 4,
            11 => 6,
            _ => return None,
        };
        let number = |index: usize| parts.get(index)?.parse::<u64>().ok();
        Some(Self {
            delivered: u32::try_from(number(at)?).unwrap_or(u32::MAX),
            sequence: number(at + 1)?,
            consumer_sequence: number(at + 2)?,
            stored: wire::from_nanos(i128::from(number(at + 3)?)),
            pending: number(at + 4)?,
            reply,
            message: Some(message),
        })
    }

    /// The event, or its bytes and why they are none; nothing if its time is over.
    pub(super) fn read(&mut self, shared: &Shared, channel: &ChannelName) -> Option<(Arc<Message>, Option<Error>)> {
        let message = self.message.take()?;
        if wire::is_expired(message.headers.as_ref(), self.stored) {
            return None;
        }
        let place = || format!("nats-{}-{}", self.sequence, self.stored.as_millis());
        Some(wire::decode(shared, channel, self.stored, place, message))
    }
}

/// What came in.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are events, which are moved to where they stay at once")]
pub(super) enum Heard {
    Event(Arrived),
    /// A sign of life.
    Nothing,
    /// Fewer events are on their way than were asked for.
    Less,
    /// There is nobody to answer any more.
    Gone(String),
}

/// Asks for events of one consumer.
pub(super) struct Puller {
    client: Client,
    answers: Subscriber,
    inbox: String,
    api: String,
    outstanding: usize,
    requests: usize,
    heard: Instant,
    drained: bool,
}

impl Puller {
    pub(super) async fn open(shared: &Shared, stream: &str, consumer: &str) -> Result<Self> {
        let (client, _) = shared.connected("subscribe", super::connection::REQUEST).await?;
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await.map_err(|cause| error::client("subscribe", cause))?;
        Ok(Self {
            client,
            answers,
            inbox,
            api: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            outstanding: 0,
            requests: 0,
            heard: Instant::now(),
            drained: false,
        })
    }

    /// How many events were asked for and have not come.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether the server said that there are no more.
    pub(super) fn is_drained(&self) -> bool {
        self.drained
    }

    /// Whether so much room is worth a request.
    pub(super) fn is_worth(&self, room: usize) -> bool {
        let more = room.saturating_sub(self.outstanding);
        more > 0 && (self.outstanding == 0 || (more * 4 >= room && self.requests < REQUESTS))
    }

    /// At how many events that are out there is room that is worth a request, where there may be `most`.
    pub(super) fn wakes_at(&self, most: usize) -> usize {
        match self.outstanding {
            0 => most.saturating_sub(1),
            _ if self.requests >= REQUESTS => 0,
            outstanding => most.saturating_sub((outstanding * 4).div_ceil(3).max(outstanding + 1)),
        }
    }

    /// Asks for more events, if so many less are on their way that it is worth a request.
    pub(super) async fn want(&mut self, room: usize) -> Result<()> {
        if !self.is_worth(room) {
            return Ok(());
        }
        let more = room - self.outstanding;
        let body = format!(r#"{{"batch":{more},"expires":{}}}"#, EXPIRES.as_nanos());
        self.ask(more, body).await
    }

    /// Asks for what is there now.
    pub(super) async fn fetch(&mut self, most: usize) -> Result<()> {
        self.drained = false;
        self.ask(most, format!(r#"{{"batch":{most},"no_wait":true}}"#)).await
    }

    async fn ask(&mut self, count: usize, body: String) -> Result<()> {
        if self.outstanding == 0 {
            self.heard = Instant::now();
            self.requests = 0;
        }
        let sent = self.client.publish_with_reply(self.api.clone(), self.inbox.clone(), body.into());
        sent.await.map_err(|cause| error::client("receive", cause))?;
        self.outstanding += count;
        self.requests += 1;
        Ok(())
    }

    /// What comes next. Cancel safe.
    pub(super) async fn hear(&mut self) -> Heard {
        match self.answers.next().await {
            Some(message) => self.take(message),
            None => Heard::Gone("the connection is closed".to_owned()),
        }
    }

    /// What is there already.
    pub(super) fn hear_now(&mut self) -> Option<Heard> {
        // Outside of tokio's budget: whoever takes what is there knows how much it wants.
        let message = tokio::task::unconstrained(self.answers.next()).now_or_never()??;
        Some(self.take(message))
    }

    /// When requests without an answer are given up.
    pub(super) fn silence(&self) -> Option<Instant> {
        (self.outstanding > 0).then(|| self.heard + SILENCE)
    }

    /// Forgets what was asked for, as after a broken connection.
    pub(super) fn reset(&mut self) {
        self.outstanding = 0;
        self.requests = 0;
        self.heard = Instant::now();
    }

    fn take(&mut self, message: NatsMessage) -> Heard {
        self.heard = Instant::now();
        let Some(status) = message.status else {
            self.outstanding = self.outstanding.saturating_sub(1);
            return match Arrived::parse(message) {
                Some(arrived) => Heard::Event(arrived),
                None => Heard::Nothing, // no event of a consumer
            };
        };
        let text = message.description.clone().unwrap_or_default();
        let lower = text.to_ascii_lowercase();
        match status.as_u16() {
            200 | 100 => Heard::Nothing,
            503 => Heard::Gone("the server does not know the consumer".to_owned()),
            409 if lower.contains("deleted") || lower.contains("push based") => Heard::Gone(text),
            404 | 408 | 409 => {
                self.drained = true;
                let left = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
                let left = left.and_then(|left| left.as_str().parse::<usize>().ok());
                match left {
                    Some(left) => {
                        self.outstanding = self.outstanding.saturating_sub(left);
                        self.requests = self.requests.saturating_sub(1);
                    }
                    None => self.reset(),
                }
                Heard::Less
            }
            _ => {
                self.reset();
                Heard::Less
            }
        }
    }

    /// Waits for the end of what was asked for, and gives what came until then.
    pub(super) async fn withdraw(&mut self, mut came: impl FnMut(&Arrived)) -> Vec<Arrived> {
        let mut rest = Vec::new();
        let all = async {
            while self.outstanding > 0 {
                match self.hear().await {
                    Heard::Event(arrived) => {
                        came(&arrived);
                        rest.push(arrived);
                    }
                    Heard::Gone(_) => break,
                    Heard::Nothing | Heard::Less => {}
                }
            }
        };
        timeout(Duration::from_secs(1), all).await.ok();
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(reply: &str) -> Option<Arrived> {
        Arrived::parse(NatsMessage {
            subject: "a".into(),
            reply: Some(reply.into()),
            payload: bytes::Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        })
    }

    #[test]
    fn both_forms_of_reply_subjects_are_read() {
        for reply in [
            "$JS.ACK.s.c.2.17.19.1700000000123000000.5",
            "$JS.ACK.domain.hash.s.c.2.17.19.1700000000123000000.5.random",
        ] {
            let arrived = arrived(reply).unwrap();
            assert_eq!((arrived.delivered, arrived.sequence, arrived.consumer_sequence), (2, 17, 19), "{reply}");
            assert_eq!((arrived.pending, arrived.stored.as_millis()), (5, 1_700_000_000_123));
        }
        assert!(arrived("$JS.ACK.s.c.x.17.19.1.5").is_none() && arrived("a.b").is_none());
    }
}
