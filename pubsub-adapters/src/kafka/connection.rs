//! The connection: the clients of one adapter, what they report, and the task that watches them.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pubsub_core::{
    ChannelName, Error, ErrorKind, Result,
    driver::{AdapterState, StateSender},
};
use rdkafka::{
    ClientContext,
    admin::AdminClient,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    capabilities::Server,
    error::{code_of, error, in_our_words, is_refusal, refusal_text},
    names::Names,
    options::KafkaOptions,
    publisher::Outlet,
    topology::Topics,
    wire::Wire,
};
use crate::common::{
    backoff::Backoff,
    options::StartMode,
    policies::DeclaredPolicies,
    tls::{Certificates, chain},
};

/// How long the broker has for one answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// How often the connection is looked at while it is sound.
const LOOK: Duration = Duration::from_millis(1500);
/// How often a thread is asked for that drops a client, if the system has none.
const REAPING: usize = 20;
/// How long a sign of life may take.
const PING: Duration = Duration::from_secs(3);

/// What the clients report from their own threads.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Why the broker refuses us; stands until it answers.
    refusal: Mutex<Option<Error>>,
    /// What the client said last about connections that failed, which is more than its errors say.
    hint: Mutex<Option<String>>,
    /// Something is wrong: look at the connection now.
    pub(super) trouble: Notify,
}

impl Signals {
    fn report(&self, cause: KafkaError, reason: &str) {
        if code_of(&cause).is_some_and(|code| is_refusal(code, reason)) {
            let error = Error::new(ErrorKind::Auth, "connect", refusal_text(reason)).because(cause);
            self.refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        } else if code_of(&cause) != Some(Code::AllBrokersDown) {
            self.hint(reason);
        }
        self.trouble.notify_one();
    }

    pub(super) fn hint(&self, reason: &str) {
        *self.hint.lock().unwrap_or_else(PoisonError::into_inner) = Some(in_our_words(reason));
    }

    /// Why the broker refuses us, if it does.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The broker answers.
    fn clear(&self) {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.hint.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// An outage is a refusal where the broker has said so, and what the client knows of it is added.
    pub(super) fn explain(&self, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) {
            return error;
        }
        if let Some(refusal) = self.refusal() {
            return Error::new(ErrorKind::Auth, error.operation(), refusal.message().to_owned()).because(refusal);
        }
        let hint = self.hint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(hint) = hint else { return error };
        let text = format!("{}: {hint}", error.message());
        Error::new(error.kind(), error.operation(), text).because(error)
    }
}

/// The context of clients that only ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Context(pub(super) Arc<Signals>);

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == "FAIL" {
            self.0.hint(text);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.report(error, reason);
    }
}

impl ConsumerContext for Context {}

/// What befell a channel and concerns everybody who reads it.
#[derive(Clone, Debug)]
pub(super) struct Incident {
    pub(super) channel: ChannelName,
    pub(super) trouble: Trouble,
}

#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// Events were lost with its data.
    Lost,
    /// Events that waited for their time were lost.
    ScheduledLost,
    /// They cannot be brought in.
    Scheduled(Error),
}

/// What an adapter shares with its subscriptions and tasks.
pub(super) struct Link {
    pub(super) options: KafkaOptions,
    pub(super) names: Names,
    pub(super) wire: Arc<Wire>,
    pub(super) signals: Arc<Signals>,
    pub(super) states: StateSender,
    pub(super) topics: Topics,
    pub(super) policies: DeclaredPolicies,
    pub(super) outlet: Outlet,
    pub(super) server: Server,
    /// Subscriptions end by this.
    pub(super) closing: CancellationToken,
    /// Every task of the adapter.
    pub(super) tasks: TaskTracker,
    /// Channels came to be, here or elsewhere.
    pub(super) discovered: Notify,
    pub(super) incidents: broadcast::Sender<Incident>,
    /// Channels whose scheduled events this adapter brings in when they are due.
    pub(super) movers: Mutex<HashSet<ChannelName>>,
    closed: AtomicBool,
    explorer: Arc<BaseConsumer<Context>>,
    admin: Arc<AdminClient<Context>>,
}

impl Link {
    /// Makes the clients, which connect by themselves.
    ///
    /// # Errors
    /// `Invalid` for a property that the client does not take.
    pub(super) fn new(options: KafkaOptions) -> Result<Arc<Self>> {
        options.check()?;
        let (encrypted, remedy) = options.security.encryption();
        drop(Certificates::read(&options.broker, encrypted, remedy)?);
        let signals = Arc::<Signals>::default();
        let mut config = options.client();
        options.finish(&mut config);
        let context = Context(signals.clone());
        let explorer = BaseConsumer::from_config_and_context(&config, context.clone());
        let explorer = explorer.map_err(|cause| error("connect", cause))?;
        let admin = AdminClient::from_config_and_context(&config, context).map_err(|cause| error("connect", cause))?;
        Ok(Arc::new(Self {
            names: Names::new(options.broker.prefix.as_deref()),
            wire: Arc::new(Wire::new(&options.broker.source, options.broker.wire.unwrap_or_default())),
            signals,
            states: StateSender::new(AdapterState::Connecting),
            topics: Topics::default(),
            policies: DeclaredPolicies::default(),
            outlet: Outlet::new(),
            server: Server::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            discovered: Notify::new(),
            incidents: broadcast::channel(256).0,
            movers: Mutex::default(),
            closed: AtomicBool::new(false),
            explorer: Arc::new(explorer),
            admin: Arc::new(admin),
            options,
        }))
    }

    /// Waits for the first answer of the broker, as far as the options ask for it, and begins to watch.
    ///
    /// # Errors
    /// `Unavailable`, `Auth`, `Unsupported` for a broker that is too old.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<()> {
        self.outlet.warm(self)?;
        if self.options.broker.start == StartMode::Wait {
            let limit = Instant::now() + self.options.broker.connect_timeout;
            loop {
                let left = limit.saturating_duration_since(Instant::now());
                let pinged = self.ping(left.clamp(Duration::from_millis(50), Duration::from_secs(1))).await;
                if let (Err(_), Some(refusal)) = (&pinged, self.signals.refusal()) {
                    return Err(refusal);
                }
                match pinged {
                    Ok(_) => break,
                    Err(error) if error.kind() == ErrorKind::Auth => return Err(error),
                    Err(error) if Instant::now() >= limit => {
                        let limit = self.options.broker.connect_timeout;
                        let way = if self.options.security.encryption().0 { "over TLS" } else { "without TLS" };
                        let text = format!("no broker answered within {limit:?} at {}, {way}", self.options.servers());
                        let error = Error::new(ErrorKind::Unavailable, "connect", text).because(error);
                        return Err(self.signals.explain(error));
                    }
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
            // Whatever else is in the way is met again by who watches.
            if let Err(error) = self.learn().await
                && error.kind() == ErrorKind::Unsupported
            {
                return Err(error);
            }
            self.states.set(AdapterState::Ready);
        }
        self.tasks.spawn(watch(Arc::downgrade(self), self.closing.clone()));
        Ok(())
    }

    /// Asks for a sign of life, and says how long it took.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout`, `Auth`.
    pub(super) async fn ping(&self, limit: Duration) -> Result<Duration> {
        let explorer = self.explorer.clone();
        let asked = blocking("ping", move || {
            let began = Instant::now();
            drain(&explorer);
            let answer = explorer.fetch_metadata(Some("__consumer_offsets"), limit);
            drain(&explorer);
            answer.map(|_| began.elapsed())
        });
        asked.await?.map_err(|cause| error("ping", cause))
    }

    /// Runs something with the client that asks, on a thread that may wait.
    ///
    /// # Errors
    /// `Closed` once the adapter is closed, and what `ask` reports.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        ask: impl FnOnce(&BaseConsumer<Context>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.open(operation)?;
        let explorer = self.explorer.clone();
        blocking(operation, move || ask(&explorer)).await?.map_err(|error| self.signals.explain(error))
    }

    pub(super) fn admin(&self) -> &AdminClient<Context> {
        &self.admin
    }

    /// Fails once the adapter is closed.
    pub(super) fn open(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, operation, "the adapter is closed"));
        }
        Ok(())
    }

    /// Ends everything within the deadline; false if it was closed already.
    pub(super) async fn close(&self, deadline: Duration) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let until = tokio::time::Instant::now() + deadline;
        // Publishes that are underway first: handlers have settled by now, and may have published at their end.
        let flushed = tokio::time::timeout_at(until - deadline / 4, self.outlet.flush()).await;
        self.closing.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout_at(until, self.tasks.wait()).await;
        self.outlet.abandon();
        self.states.set(AdapterState::Closed);
        let left = match (flushed, ended) {
            (Err(_), _) => "events were not confirmed",
            (_, Err(_)) => "subscriptions were not ended",
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Timeout, "close", format!("{left} within {deadline:?}")))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.closing.cancel();
        self.outlet.retire();
        reap((self.explorer.clone(), self.admin.clone()));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Serves what the client has to tell.
fn drain(explorer: &BaseConsumer<Context>) {
    for _ in 0..64 {
        let _ = explorer.poll(Duration::ZERO);
    }
}

/// Looks at the connection until the adapter is closed, and has what was lost declared again.
async fn watch(link: Weak<Link>, closing: CancellationToken) {
    let (mut backoff, mut lost) = (Backoff::default(), false);
    loop {
        let Some(link) = link.upgrade() else { return };
        let ping = tokio::select! {
            () = closing.cancelled() => return,
            ping = link.ping(PING) => ping,
        };
        // Another broker may be there after an outage.
        let ping = match ping {
            Ok(_) if lost || !link.server.known.load(Ordering::SeqCst) => tokio::select! {
                () = closing.cancelled() => return,
                learned = link.learn() => learned,
            },
            ping => ping.map(drop),
        };
        match ping {
            Ok(()) => {
                link.signals.clear();
                // What was there before an outage may not be there after it.
                let looked = tokio::select! {
                    () = closing.cancelled() => return,
                    looked = link.look_after(lost) => looked,
                };
                if looked.is_ok() {
                    backoff.reset();
                    lost = false;
                    if !closing.is_cancelled() {
                        link.states.set(AdapterState::Ready);
                    }
                }
            }
            Err(error) => {
                lost = true;
                link.states.set(AdapterState::Degraded(chain(&link.signals.explain(error))));
            }
        }
        let (pause, signals) =
            (if lost { backoff.next().min(Duration::from_millis(500)) } else { LOOK }, link.signals.clone());
        drop(link);
        tokio::select! {
            () = closing.cancelled() => return,
            _ = timeout(pause, signals.trouble.notified()) => {}
        }
        if !lost {
            // Many reports of one trouble are one look.
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Runs what waits on a thread that may wait.
///
/// # Errors
/// `Invalid` outside of a runtime, `Closed` if the runtime ends.
pub(super) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let outside = |_| Error::new(ErrorKind::Invalid, operation, "this needs a tokio runtime");
    let runtime = Handle::try_current().map_err(outside)?;
    let ended = |_| Error::new(ErrorKind::Closed, operation, "the runtime has ended");
    runtime.spawn_blocking(work).await.map_err(ended)
}

/// Drops a client on a thread of its own: that waits for the broker, and must not hold up anybody.
///
/// Where the system has no thread left, a task tries again. Only where there is no runtime either, or none is free for
/// long, it is dropped by whoever is here, which is slow and correct.
pub(super) fn reap<T: Send + 'static>(client: T) {
    let Err(client) = on_a_thread(client) else { return };
    let Ok(runtime) = Handle::try_current() else { return drop(client) };
    runtime.spawn(async move {
        let (mut client, mut backoff) = (client, Backoff::default());
        for _ in 0..REAPING {
            sleep(backoff.next()).await;
            match on_a_thread(client) {
                Ok(()) => return,
                Err(again) => client = again,
            }
        }
    });
}

/// Drops it on a new thread, or gives it back if there is none.
fn on_a_thread<T: Send + 'static>(client: T) -> std::result::Result<(), T> {
    // A thread that cannot be started would drop what it was given right here.
    let parcel = Arc::new(Mutex::new(Some(client)));
    let theirs = parcel.clone();
    let take = |parcel: &Mutex<Option<T>>| parcel.lock().unwrap_or_else(PoisonError::into_inner).take();
    let started = std::thread::Builder::new().name("kafka-reaper".to_owned()).spawn(move || drop(take(&theirs)));
    match started {
        Ok(_) => Ok(()),
        Err(_) => take(&parcel).map_or(Ok(()), Err),
    }
}
