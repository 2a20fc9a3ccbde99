//! A lane: one channel of the protocol in confirm mode, the task that publishes on it, and what is unconfirmed.

mod held;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use pubsub_core::{ChannelName, Error, ErrorKind, Result};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::held::Held;
use super::{
    connection::{Link, Live},
    error::{closed, convert, is_missing, unavailable},
    stream,
    topology::Topologist,
};
use crate::common::{backoff::Backoff, ledger::OpenTickets};

/// How exactly deadlines are kept.
const TICK: Duration = Duration::from_millis(50);
/// How often an event is sent again that found no queue although its channel was declared anew.
const MOST_TRIES: u8 = 3;
/// A channel of the protocol on which nothing was answered for so long is given up when something on it is late.
const SILENCE: Duration = Duration::from_secs(5);

/// What it means that no queue takes an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unrouted {
    /// Nobody needs it.
    Fine,
    /// Nobody needs it, unless the exchanges have lost their bindings.
    Groups,
    /// The channel was deleted: it is declared again.
    Channel(ChannelName),
    /// A rung of the ladder was deleted: it is declared again.
    Ladder(u64),
    /// It is an error: the channel's stream is not there.
    Stream(ChannelName),
    /// It is an error.
    Refuse,
}

/// A message on its way.
pub(super) struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
    pub(super) unrouted: Unrouted,
    pub(super) channel: ChannelName,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<()>>,
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) tickets: Option<OpenTickets>,
    pub(super) trace: Trace,
}

/// What became of a message so far.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// It was sent and not answered: it may be with the broker.
    sent: bool,
    /// It came back for want of a queue.
    returned: bool,
    tries: u8,
}

impl Outgoing {
    /// The channel whose stream is to keep it.
    fn stream(&self) -> Option<&ChannelName> {
        match &self.unrouted {
            Unrouted::Channel(channel) | Unrouted::Stream(channel) => Some(channel),
            _ => None,
        }
    }

    fn done(self, outcome: Result<()>) {
        let outcome = outcome.map_err(|error| {
            let error = error.on(&self.channel);
            if self.trace.sent && !matches!(error.kind(), ErrorKind::Unroutable) {
                error.perhaps_applied()
            } else {
                error
            }
        });
        if let (Err(error), Some(tickets)) = (&outcome, &self.tickets) {
            tickets.fail(error);
        }
        // The answer is there before the ticket counts as resolved: who flushes finds it.
        let _ = self.answer.send(outcome);
        drop(self.tickets);
        drop(self.permit);
    }
}

/// The way into a lane's task.
pub(super) type Inlet = mpsc::UnboundedSender<Outgoing>;

/// Starts a lane. What waits in it is bounded by the permits of its messages.
pub(super) fn start(link: Arc<Link>, topology: Arc<Topologist>, stop: CancellationToken, tasks: &TaskTracker) -> Inlet {
    let (inlet, queue) = mpsc::unbounded_channel();
    let (waiting, repairs) = (VecDeque::new(), FuturesUnordered::new());
    let lane = Lane { link, topology, queue, waiting, repairs, missing: false };
    tasks.spawn(lane.run(stop));
    inlet
}

type Repair = Pin<Box<dyn Future<Output = (Outgoing, Result<()>)> + Send>>;
type Confirm = Pin<Box<dyn Future<Output = (u64, lapin::Result<Confirmation>)> + Send>>;

struct Lane {
    link: Arc<Link>,
    topology: Arc<Topologist>,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    /// To be sent, in order.
    waiting: VecDeque<Outgoing>,
    /// Channels that are being declared again for an event.
    repairs: FuturesUnordered<Repair>,
    /// Whether an exchange was missing.
    missing: bool,
}

/// An open channel of the protocol and what was sent on it.
struct Session {
    live: Arc<Live>,
    channel: Channel,
    next: u64,
    open: BTreeMap<u64, Outgoing>,
    confirms: FuturesUnordered<Confirm>,
    /// When the broker last answered anything.
    heard: Instant,
    /// The channels whose streams keep what is sent.
    kept: HashSet<ChannelName>,
    /// What waits for other streams.
    held: Held,
}

impl Lane {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            if self.waiting.is_empty() && self.repairs.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    message = self.queue.recv() => match message {
                        Some(message) => self.waiting.push_back(message),
                        None => return,
                    },
                }
            }
            let Some(session) = self.connect(&stop).await else { break };
            let Some(session) = self.serve(session, &stop).await else { break };
            // In the order of sending, and before what was not sent yet. Of a channel whose stream is waited for nothing
            // was sent on this session.
            for message in session.held.into_messages().rev() {
                self.waiting.push_front(message);
            }
            for (_, mut message) in session.open.into_iter().rev() {
                message.trace.sent = true;
                self.waiting.push_front(message);
            }
        }
        self.queue.close();
        while let Ok(message) = self.queue.try_recv() {
            message.done(Err(closed("publish")));
        }
        for message in self.waiting.drain(..) {
            message.done(Err(closed("publish")));
        }
    }

    /// Waits for a connection, and lets messages go whose time is over. None once the lane is stopped.
    async fn connect(&mut self, stop: &CancellationToken) -> Option<Session> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut backoff = Backoff::default();
        let mut opening = self.opening(Duration::ZERO);
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                opened = &mut opening => match opened {
                    Ok(session) => {
                        self.missing = false;
                        return Some(session);
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::Auth | ErrorKind::Closed) => {
                        for message in self.waiting.drain(..) {
                            message.done(Err(error.clone()));
                        }
                        if error.kind() == ErrorKind::Closed {
                            return None;
                        }
                        opening = self.opening(backoff.next().max(TICK));
                    }
                    Err(_) => {
                        opening = self.opening(backoff.next().max(TICK));
                    }
                },
                // What is opening may wait for what a repair has locked.
                Some(repaired) = self.repairs.next() => self.repaired(repaired),
                Some(message) = self.queue.recv() => self.waiting.push_back(message),
                _ = ticks.tick() => self.expire(|| unavailable("publish", "the connection is being restored")),
            }
        }
    }

    /// Opens a session after a while, and after what was missing was made.
    fn opening(&self, after: Duration) -> Pin<Box<dyn Future<Output = Result<Session>> + Send>> {
        let (link, topology, missing) = (self.link.clone(), self.topology.clone(), self.missing);
        let ladder: BTreeSet<u64> = self
            .waiting
            .iter()
            .filter_map(|message| match message.unrouted {
                Unrouted::Ladder(units) if missing => Some(units),
                _ => None,
            })
            .collect();
        Box::pin(async move {
            sleep(after).await;
            if missing {
                topology.base(true).await?;
                for units in ladder {
                    topology.ladder(units, true).await?;
                }
            }
            open(link, topology).await
        })
    }

    fn expire(&mut self, error: impl Fn() -> Error) {
        let now = Instant::now();
        if self.waiting.iter().all(|message| message.deadline > now) {
            return;
        }
        let (late, waiting): (VecDeque<_>, _) = self.waiting.drain(..).partition(|message| message.deadline <= now);
        self.waiting = waiting;
        for message in late {
            message.done(Err(error()));
        }
    }

    /// Publishes until the session is no longer of use. None once the lane is stopped.
    async fn serve(&mut self, mut session: Session, stop: &CancellationToken) -> Option<Session> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while !session.live.is_blocked()
                && let Some(message) = self.waiting.pop_front()
            {
                session.send_or_hold(message);
                while let Ok(message) = self.queue.try_recv() {
                    self.waiting.push_back(message);
                }
            }
            let blocked = session.live.is_blocked();
            let busy = !(session.open.is_empty() && self.waiting.is_empty() && session.held.is_empty());
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    session.refuse();
                    return None;
                }
                () = session.live.dead.cancelled() => return Some(session),
                Some(confirm) = session.confirms.next() => {
                    session.heard = Instant::now();
                    if let Err(error) = self.settle(&mut session, confirm) {
                        // The exchange is gone: it was deleted, or the broker was wiped.
                        self.missing |= is_missing(&error);
                        return Some(session);
                    }
                }
                Some(repaired) = self.repairs.next() => self.repaired(repaired),
                message = self.queue.recv() => match message {
                    Some(message) => self.waiting.push_back(message),
                    None => {
                        session.refuse();
                        return None;
                    }
                },
                () = session.live.unblocked(), if blocked => {}
                Some((channel, messages)) = session.held.next() => {
                    session.kept.insert(channel);
                    for message in messages.into_iter().rev() {
                        self.waiting.push_front(message);
                    }
                }
                _ = ticks.tick(), if busy => {
                    self.expire(held_back);
                    session.expire_held(blocked);
                    if session.expire() {
                        return Some(session);
                    }
                }
            }
        }
    }

    /// Takes the broker's word on a message, and on all others that it has answered by now.
    ///
    /// The client hands a returned message to whichever confirmation comes next, and that is answered before the one of
    /// the message itself: so all that is answered is gathered before anything is told.
    fn settle(&mut self, session: &mut Session, first: (u64, lapin::Result<Confirmation>)) -> Result<(), lapin::Error> {
        let mut answers = vec![first];
        while let Some(Some(answer)) = session.confirms.next().now_or_never() {
            answers.push(answer);
        }
        let mut returned = HashSet::new();
        let mut failed = None;
        let mut told = Vec::with_capacity(answers.len());
        for (number, answer) in answers {
            let accepted = match answer {
                Ok(Confirmation::Ack(message)) => (true, message),
                Ok(Confirmation::Nack(message)) => (false, message),
                Ok(Confirmation::NotRequested) => (true, None),
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            if let Some(id) = accepted.1.and_then(|message| message.delivery.properties.message_id().clone()) {
                returned.insert(id);
            }
            told.push((number, accepted.0));
        }
        if !returned.is_empty() {
            for message in session.open.values_mut() {
                message.trace.returned |=
                    message.properties.message_id().as_ref().is_some_and(|id| returned.contains(id));
            }
        }
        for (number, accepted) in told {
            let Some(message) = session.open.remove(&number) else { continue };
            if !accepted {
                let text = "the broker refused the event: it could not be stored";
                message.done(Err(Error::new(ErrorKind::Backend, "publish", text)));
            } else if message.trace.returned {
                self.repair(message);
            } else {
                message.done(Ok(()));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Sends a message again for which something was declared anew.
    fn repaired(&mut self, (message, outcome): (Outgoing, Result<()>)) {
        match outcome {
            Ok(()) => self.waiting.push_back(message),
            Err(error) => message.done(Err(error)),
        }
    }

    /// Deals with a message that no queue took.
    fn repair(&mut self, mut message: Outgoing) {
        message.trace = Trace { tries: message.trace.tries + 1, ..Trace::default() };
        let refusal = || Error::new(ErrorKind::Unroutable, "publish", "nobody is there to take the event");
        let again = message.trace.tries > 1;
        if message.unrouted == Unrouted::Fine || (message.unrouted == Unrouted::Groups && again) {
            return message.done(Ok(()));
        }
        let refused = matches!(message.unrouted, Unrouted::Refuse | Unrouted::Stream(_));
        if refused || message.trace.tries > MOST_TRIES {
            return message.done(Err(refusal()));
        }
        let topology = self.topology.clone();
        self.repairs.push(Box::pin(async move {
            let outcome = match &message.unrouted {
                Unrouted::Channel(channel) => topology.restore(channel).await,
                Unrouted::Ladder(units) => topology.ladder(*units, true).await,
                Unrouted::Groups => topology.look().await,
                _ => Ok(()),
            };
            (message, outcome)
        }));
    }
}

impl Session {
    /// Sends a message, unless the stream that is to keep it has not proved itself yet.
    fn send_or_hold(&mut self, message: Outgoing) {
        match message.stream().filter(|channel| !self.kept.contains(*channel)).cloned() {
            Some(channel) => self.held.push(&channel, message),
            None => self.send(message),
        }
    }

    /// Lets messages go whose stream was not ready in time.
    fn expire_held(&mut self, blocked: bool) {
        for (message, reason) in self.held.late() {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let text = format!("the stream that keeps the channel's events is not ready{reason}");
            let not_ready = || Error::new(ErrorKind::Unavailable, "publish", text);
            message.done(Err(if blocked { held_back() } else { not_ready() }));
        }
    }

    /// Lets everything go, as the lane is stopped.
    fn refuse(self) {
        for message in self.held.into_messages() {
            message.done(Err(closed("publish")));
        }
        for (_, mut message) in self.open {
            message.trace.sent = true;
            message.done(Err(closed("publish")));
        }
    }

    /// Hands a message to the client. The order of these calls is the order on the connection.
    fn send(&mut self, message: Outgoing) {
        let number = self.next;
        self.next += 1;
        let channel = self.channel.clone();
        let (exchange, key) = (message.exchange.clone(), message.routing_key.clone());
        let (properties, body) = (message.properties.clone(), message.body.clone());
        let options = BasicPublishOptions { mandatory: message.unrouted != Unrouted::Fine, immediate: false };
        let mut confirm: Confirm = Box::pin(async move {
            let sent = channel.basic_publish(exchange, key, options, &body, properties).await;
            match sent {
                Ok(confirm) => (number, confirm.await),
                Err(error) => (number, Err(error)),
            }
        });
        if self.open.is_empty() {
            self.heard = Instant::now(); // who is asked nothing is not silent
        }
        self.open.insert(number, message);
        // The first poll enqueues it, so that nothing is sent out of order.
        match futures_util::future::poll_immediate(&mut confirm).now_or_never().flatten() {
            Some(answer) => self.confirms.push(Box::pin(std::future::ready(answer))),
            None => self.confirms.push(confirm),
        }
    }

    /// Lets messages go whose time is over. Whether the channel is to be given up: the broker's end of it may be stuck
    /// with a writer of a stream that has gone since.
    fn expire(&mut self) -> bool {
        let now = Instant::now();
        let late: Vec<u64> =
            self.open.iter().filter(|(_, message)| message.deadline <= now).map(|(number, _)| *number).collect();
        let stuck = !late.is_empty() && now.duration_since(self.heard) >= SILENCE;
        for number in late {
            if let Some(mut message) = self.open.remove(&number) {
                message.trace.sent = true;
                let text = "the broker did not confirm the event in time";
                message.done(Err(Error::new(ErrorKind::Timeout, "publish", text)));
            }
        }
        stuck
    }
}

fn held_back() -> Error {
    let text = "the broker holds publishers back, as its memory or disk is nearly full";
    Error::new(ErrorKind::Backpressure, "publish", text)
}

async fn open(link: Arc<Link>, topology: Arc<Topologist>) -> Result<Session> {
    let live = link.live("publish", Duration::from_secs(3600)).await?;
    let channel = live.channel("publish").await?;
    let confirmed = channel.confirm_select(ConfirmSelectOptions::default());
    tokio::select! {
        confirmed = confirmed => confirmed.map_err(|error| convert("publish", error))?,
        () = live.dead.cancelled() => return Err(unavailable("publish", "the connection was lost")),
    }
    let asked = live.clone();
    let held = Held::new(Arc::new(move |channel| {
        let (topology, live) = (topology.clone(), asked.clone());
        Box::pin(async move { stream::keeps(&topology, &live, &channel).await })
    }));
    let (open, confirms, kept) = (BTreeMap::new(), FuturesUnordered::new(), HashSet::new());
    Ok(Session { live, channel, next: 0, open, confirms, heard: Instant::now(), kept, held })
}
