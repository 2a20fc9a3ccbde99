//! Lanes: the records of one topic on their way into the client, which is given no more than it can send.
//!
//! A client that keeps the order of a partition sends one request of it at a time, and while more than that lies in its
//! queue it looks for the answer without a rest: that loop takes a core from the broker and the publishers.
//!
//! What waits is written when it goes out, by the thread that is told of confirmations. The client frees a record there, and
//! the allocators of C libraries make two threads wait for each other when one frees what the other has allocated.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pubsub_core::{Error, ErrorKind, Message, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::{DELIVERY, outlet::Reports, underway::Pending};
use crate::kafka::{
    error::error,
    wire::{Encoded, Wire},
};

/// The client of the lanes.
pub(super) type Client = Arc<BaseProducer<Reports>>;

/// Of so many unconfirmed records the client still makes more than one request. Up to that records go out at once.
const PIPELINE: usize = 5;
/// How many bytes go to the client at a time: about what fits into one request. While it has less than that it is given
/// the next, so that one lies ready when another is confirmed.
const TOGETHER: usize = 900_000;
/// How many records are taken out of the lane at once.
const CHUNK: usize = 64;
/// What a record has beside its event: headers and their names.
const FRAME: usize = 300;
/// Where the client took nothing for so long, nothing is held back: it keeps the time of what it has.
const STUCK: Duration = Duration::from_millis(100);

/// A record that is ready for the client.
pub(super) struct Parcel {
    message: Arc<Message>,
    due: Option<Timestamp>,
    pending: Box<Pending>,
}

impl Parcel {
    pub(super) fn new(message: Arc<Message>, due: Option<Timestamp>, pending: Pending) -> Self {
        Self { message, due, pending: Box::new(pending) }
    }

    fn len(&self) -> usize {
        self.message.wire_len() + FRAME
    }

    /// Hands it to the client; whoever waits for it is told if that takes nothing.
    pub(super) fn send(mut self, topic: &str, client: &BaseProducer<Reports>, wire: &Wire) {
        let bytes = self.len();
        self.pending.enter(bytes);
        let Encoded { headers, document } = match wire.write(&self.message, self.due) {
            Ok(encoded) => encoded,
            Err(error) => return self.refuse(error),
        };
        let Self { message, pending, .. } = self;
        let mut record = BaseRecord::<str, [u8], _>::with_opaque_to(topic, pending).headers(headers);
        if let Some(key) = message.key() {
            record = record.key(key.as_str());
        }
        if let Some(body) = document.as_ref().or(message.payload().data()) {
            record = record.payload(body);
        }
        if let Err((cause, record)) = client.send(record) {
            client.context().look_at(&cause);
            record.delivery_opaque.refuse(error("publish", cause).on(message.channel()));
        }
    }

    /// Tells whoever waits why it never went out.
    pub(super) fn refuse(self, why: Error) {
        self.pending.refuse(why.on(self.message.channel()));
    }
}

/// The records of one topic that has one partition.
pub(super) struct Lane {
    topic: Arc<str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many records the client has, and about how many bytes.
    inside: usize,
    bytes: usize,
    /// Somebody hands over what has waited: nothing may overtake that.
    sends: bool,
    waiting: VecDeque<(Parcel, Instant)>,
    /// Where those go, and what writes them.
    client: Option<(Client, Arc<Wire>)>,
    /// When the client was given something for the last time.
    given: Option<Instant>,
}

impl Lane {
    fn new(topic: &Arc<str>) -> Self {
        Self { topic: topic.clone(), state: Mutex::default() }
    }

    /// Puts a record in; whether it has to wait.
    pub(super) fn put(&self, parcel: Parcel, client: &Client, wire: &Arc<Wire>) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        if state.inside < PIPELINE && !state.sends && state.waiting.is_empty() {
            state.inside += 1;
            state.bytes += parcel.len();
            state.given = Some(now);
            drop(state);
            parcel.send(&self.topic, client, wire);
            return false;
        }
        state.waiting.push_back((parcel, now));
        // The newest is the one that is in order.
        if state.client.as_ref().is_none_or(|(known, _)| !Arc::ptr_eq(known, client)) {
            state.client = Some((client.clone(), wire.clone()));
        }
        if state.given.is_none_or(|given| now.duration_since(given) >= STUCK) {
            self.hand_over(state, true);
        }
        true
    }

    /// The client is done with a record.
    pub(super) fn leave(&self, bytes: usize) {
        let mut state = self.lock();
        state.inside -= 1;
        state.bytes -= bytes;
        if state.bytes < TOGETHER && !state.waiting.is_empty() {
            self.hand_over(state, false);
        }
    }

    /// Hands over what has waited, in its order: as much as fits into one request, or all.
    fn hand_over<'a>(&'a self, mut state: MutexGuard<'a, State>, all: bool) {
        if state.sends {
            return;
        }
        state.sends = true;
        let now = Instant::now();
        let mut parcels = Vec::with_capacity(CHUNK);
        let mut room = 0;
        loop {
            if room == 0 && (all || state.bytes < TOGETHER) {
                room = TOGETHER;
            }
            // Those who put more in need not wait for all that goes out.
            while room > 0
                && parcels.len() < CHUNK
                && let Some((parcel, since)) = state.waiting.pop_front()
            {
                room = room.saturating_sub(parcel.len());
                state.bytes += parcel.len();
                parcels.push((parcel, since));
            }
            let client = if state.waiting.is_empty() { state.client.take() } else { state.client.clone() };
            let Some((client, wire)) = client.filter(|_| !parcels.is_empty()) else { break };
            state.inside += parcels.len();
            state.given = Some(now);
            drop(state);
            for (mut parcel, since) in parcels.drain(..) {
                let bytes = parcel.len();
                if client.context().is_abandoned() {
                    parcel.pending.enter(bytes);
                    parcel.refuse(Error::new(ErrorKind::Closed, "publish", "the adapter was closed before its turn"));
                } else if now.saturating_duration_since(since) + 10 * STUCK >= DELIVERY {
                    parcel.pending.enter(bytes);
                    let text = format!("the broker confirmed nothing within {DELIVERY:?}");
                    parcel.refuse(Error::new(ErrorKind::Timeout, "publish", text));
                } else {
                    parcel.send(&self.topic, &client, &wire);
                }
            }
            state = self.lock();
        }
        state.sends = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could come from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lanes in use, by their topics.
#[derive(Default)]
pub(super) struct Lanes(Mutex<HashMap<Arc<str>, Arc<Lane>>>);

impl Lanes {
    pub(super) fn of(&self, topic: &Arc<str>) -> Arc<Lane> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(topic) {
            return lane.clone();
        }
        // Whatever has no record underway is as good as new.
        lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        lanes.entry(topic.clone()).or_insert_with(|| Arc::new(Lane::new(topic))).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use pubsub_core::{ChannelName, EventName, Payload, Result, wire::WireFormat};
    use rdkafka::{ClientConfig, config::FromClientConfigAndContext, producer::PurgeConfig};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        common::ledger::Ledger,
        kafka::publisher::underway::{Confirmed, Fault, Underway},
    };

    /// A client whose broker never answers.
    fn client() -> Client {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").set("enable.idempotence", "true");
        Arc::new(BaseProducer::from_config_and_context(&config, Reports::new(Arc::default())).unwrap())
    }

    fn parcel(batch: &Arc<Underway>, index: usize) -> Parcel {
        let channel = ChannelName::parse("a").unwrap();
        let message = Message::new(EventName::parse("a:b").unwrap(), channel, Payload::json("1"));
        Parcel::new(Arc::new(message), None, Pending::new(batch.clone(), index))
    }

    fn wire() -> Arc<Wire> {
        Arc::new(Wire::new("/test", WireFormat::Binary))
    }

    fn batch(lane: &Arc<Lane>, records: u32) -> Arc<Underway> {
        let permit = Arc::new(Semaphore::new(100)).try_acquire_many_owned(records).unwrap();
        let channel = ChannelName::parse("a").unwrap();
        Underway::new(records as usize, channel, Some(lane.clone()), Ledger::default().open(records as usize), permit)
    }

    /// How many records the client has, and how many wait.
    fn counts(lane: &Lane) -> (usize, usize) {
        let state = lane.lock();
        (state.inside, state.waiting.len())
    }

    #[tokio::test]
    async fn what_waits_in_a_lane_is_told_when_nothing_more_goes_out() -> Result<()> {
        let (client, lane) = (client(), Lanes::default().of(&"a".into()));
        let batch = batch(&lane, 8);
        let waits: Vec<_> = (0..8).map(|index| lane.put(parcel(&batch, index), &client, &wire())).collect();
        assert_eq!(waits, [false, false, false, false, false, true, true, true]);
        assert_eq!(counts(&lane), (PIPELINE, 3));
        client.context().abandon();
        client.purge(PurgeConfig::default().queue().inflight());
        let ended = poll_fn(|context| {
            client.poll(Duration::from_millis(10));
            context.waker().wake_by_ref();
            batch.poll(context)
        });
        let ended = tokio::time::timeout(Duration::from_secs(5), ended).await.expect("all of them are told");
        let refused =
            |result: &Confirmed| matches!(result, Err(Fault::Refused(why)) if why.kind() == ErrorKind::Closed);
        let reported = |result: &Confirmed| matches!(result, Err(Fault::Reported(_)));
        assert!(ended[..5].iter().all(reported) && ended[5..].iter().all(refused), "{ended:?}");
        assert_eq!(counts(&lane), (0, 0));
        Ok(())
    }

    #[test]
    fn a_client_that_takes_nothing_for_long_gets_all_of_it() {
        let (client, lane) = (client(), Lanes::default().of(&"a".into()));
        let batch = batch(&lane, 7);
        let waits: Vec<_> = (0..6).map(|index| lane.put(parcel(&batch, index), &client, &wire())).collect();
        assert_eq!(waits, [false, false, false, false, false, true]);
        lane.lock().given = Instant::now().checked_sub(STUCK);
        lane.put(parcel(&batch, 6), &client, &wire());
        assert_eq!(counts(&lane), (7, 0), "it keeps the time of these");
    }

    #[test]
    fn lanes_that_nobody_uses_are_forgotten() {
        let lanes = Lanes::default();
        let used = lanes.of(&"a".into());
        drop(lanes.of(&"b".into()));
        assert!(Arc::ptr_eq(&used, &lanes.of(&"a".into())));
        drop(lanes.of(&"c".into()));
        assert_eq!(lanes.0.lock().unwrap().len(), 2, "a and c");
    }
}
