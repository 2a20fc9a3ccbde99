//! The connection that all commands share, and the task that keeps it alive.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use ::redis::{Cmd, RedisError, RedisResult, Value, cmd};
use pubsub_core::{
    ChannelName, Error, ErrorKind, Result, Timestamp,
    driver::{AdapterState, StateSender},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    capabilities,
    channel::Channel,
    connect::{Conn, Connector},
    error::{breaks, closed, from_connect, from_redis, is_final, is_unknown_script},
    names::Names,
    options::RedisOptions,
    topology, wire,
};
use crate::common::{backoff::Backoff, ledger::Ledger, options::StartMode, policies::DeclaredPolicies};

/// How often the server is asked for a sign of life, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_WITHIN: Duration = Duration::from_secs(3);
/// How long commands about channels and groups may take, reconnecting included.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// One incarnation of the shared connection.
#[derive(Clone)]
pub(super) struct Link {
    conn: Conn,
    /// Is cancelled when this incarnation is given up: whoever waits for an answer waits in vain.
    dead: CancellationToken,
}

impl Link {
    /// Many commands, each with its own answer.
    pub(super) async fn commands(&self, cmds: Vec<Cmd>) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut conn = self.conn.clone();
        self.alive(conn.commands(cmds)).await
    }

    /// One command.
    pub(super) async fn command(&self, cmd: &Cmd) -> RedisResult<Value> {
        let mut conn = self.conn.clone();
        let asking = async {
            match conn.command(cmd).await {
                Err(error) if is_unknown_script(&error) => {
                    conn.load_scripts().await?;
                    conn.command(cmd).await
                }
                answer => answer,
            }
        };
        self.alive(asking).await
    }

    pub(super) async fn load_scripts(&self) -> RedisResult<()> {
        let mut conn = self.conn.clone();
        self.alive(conn.load_scripts()).await
    }

    /// Waits for an answer for as long as this incarnation lives, and gives it up when an error says so.
    async fn alive<T>(&self, asking: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let answer = tokio::select! {
            answer = asking => answer,
            () = self.dead.cancelled() => Err(gone()),
        };
        if answer.as_ref().err().is_some_and(breaks) {
            self.dead.cancel();
        }
        answer
    }

    /// Whether this incarnation was given up.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }
}

fn gone() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))
}

/// What is known of the connection.
#[derive(Clone, Default)]
struct Present {
    link: Option<Link>,
    fault: Option<Error>,
    /// What the server refuses of the adapter's own work, though there is a connection.
    trouble: Option<String>,
}

impl Present {
    fn state(&self) -> AdapterState {
        match (&self.link, &self.fault, &self.trouble) {
            (None, None, _) => AdapterState::Connecting,
            (None, Some(fault), _) => AdapterState::Degraded(fault.to_string()),
            (Some(_), _, Some(trouble)) => AdapterState::Degraded(trouble.clone()),
            (Some(_), _, None) => AdapterState::Ready,
        }
    }
}

/// What an adapter shares with its tasks and subscriptions.
pub(super) struct Hub {
    pub(super) options: RedisOptions,
    pub(super) names: Names,
    pub(super) connector: Connector,
    pub(super) states: StateSender,
    /// Is cancelled when the adapter is closed for good, and ends every task.
    pub(super) token: CancellationToken,
    /// Is cancelled when the adapter begins to close.
    pub(super) closing: CancellationToken,
    /// The tasks of subscriptions, which have something to tell before they end.
    pub(super) work: TaskTracker,
    /// The adapter's own tasks, which end with the token.
    pub(super) tasks: TaskTracker,
    pub(super) ledger: Ledger,
    pub(super) policies: DeclaredPolicies,
    channels: RwLock<HashMap<ChannelName, Arc<Channel>>>,
    present: watch::Sender<Present>,
    /// The server's clock minus this machine's, in milliseconds.
    offset: AtomicI64,
    members: AtomicU64,
}

impl Hub {
    pub(super) fn new(options: RedisOptions) -> Result<Arc<Self>> {
        options.check()?;
        Ok(Arc::new(Self {
            names: Names::new(options.broker.prefix.as_deref(), i64::from(options.db)),
            connector: Connector::new(&options)?,
            options,
            states: StateSender::new(AdapterState::Connecting),
            token: CancellationToken::new(),
            closing: CancellationToken::new(),
            work: TaskTracker::new(),
            tasks: TaskTracker::new(),
            ledger: Ledger::default(),
            policies: DeclaredPolicies::default(),
            channels: RwLock::default(),
            present: watch::Sender::new(Present::default()),
            offset: AtomicI64::new(0),
            members: AtomicU64::new(0),
        }))
    }

    /// Fails once the adapter is closed.
    pub(super) fn open(&self, operation: &'static str) -> Result<()> {
        if self.closing.is_cancelled() { Err(closed(operation)) } else { Ok(()) }
    }

    /// The connection, if there is one now.
    pub(super) fn link(&self) -> Option<Link> {
        self.present.borrow().link.clone().filter(|link| !link.is_dead())
    }

    /// Resolves once there is a connection. Cancel safe.
    pub(super) async fn linked(&self) {
        let mut present = self.present.subscribe();
        // Its sender is this hub's own.
        let _ = present.wait_for(|now| now.link.as_ref().is_some_and(|link| !link.is_dead())).await;
    }

    /// Waits for the connection. Cancel safe.
    ///
    /// # Errors
    /// `Unavailable` after the deadline, `Auth`, `Invalid` and `Unsupported` at once where that is why there is none, `Closed`.
    pub(super) async fn wait(&self, operation: &'static str, deadline: Instant) -> Result<Link> {
        let mut present = self.present.subscribe();
        let waiting = async {
            loop {
                {
                    let now = present.borrow_and_update();
                    if let Some(link) = now.link.clone().filter(|link| !link.is_dead()) {
                        return Ok(link);
                    }
                    if let Some(fault) = now.fault.as_ref().filter(|fault| is_final(fault)) {
                        return Err(fault.clone());
                    }
                }
                if present.changed().await.is_err() {
                    return Err(closed(operation));
                }
            }
        };
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(closed(operation)),
            link = timeout_at(deadline, waiting) => link.unwrap_or_else(|_| Err(self.unavailable(operation))),
        }
    }

    /// Why there is no connection.
    pub(super) fn unavailable(&self, operation: &'static str) -> Error {
        let error = Error::new(
            ErrorKind::Unavailable,
            operation,
            format!("there is no connection to {}", self.options.places()),
        );
        match self.present.borrow().fault.clone() {
            Some(fault) => error.because(fault),
            None => error,
        }
    }

    /// Runs a command that may be repeated: again after a lost connection, until the deadline.
    ///
    /// # Errors
    /// What the server says; `Unavailable` or `Timeout` at the deadline; `Closed`.
    pub(super) async fn run(&self, operation: &'static str, cmd: &Cmd, deadline: Instant) -> Result<Value> {
        loop {
            let link = self.wait(operation, deadline).await?;
            let answer = tokio::select! {
                () = self.token.cancelled() => return Err(closed(operation)),
                answer = timeout_at(deadline, link.command(cmd)) => answer,
            };
            match answer {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) if !breaks(&error) || Instant::now() >= deadline => {
                    return Err(from_redis(operation, error));
                }
                Ok(Err(_)) => {}
                Err(_) => {
                    let text = "the server did not answer in time";
                    return Err(Error::new(ErrorKind::Timeout, operation, text).perhaps_applied());
                }
            }
        }
    }

    /// As [`Hub::run`], with the deadline that commands about channels and groups have.
    ///
    /// # Errors
    /// As [`Hub::run`].
    pub(super) async fn ask(&self, operation: &'static str, cmd: &Cmd) -> Result<Value> {
        self.run(operation, cmd, Instant::now() + PATIENCE).await
    }

    /// The time now, by the server's clock as far as it is known.
    pub(super) fn server_now(&self) -> i64 {
        Timestamp::now().as_millis() + self.offset.load(Ordering::Relaxed)
    }

    /// A number that no other subscription of this adapter has.
    pub(super) fn next_member(&self) -> u64 {
        self.members.fetch_add(1, Ordering::Relaxed)
    }

    /// A channel that was used before.
    pub(super) fn known(&self, name: &ChannelName) -> Option<Arc<Channel>> {
        // The table is whole at every point where a panic could come from.
        self.channels.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn remember(&self, channel: Channel) -> Arc<Channel> {
        let channel = Arc::new(channel);
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        channels.insert(channel.name.clone(), channel.clone());
        channel
    }

    /// Connects again and again, and watches over the connection. Ends when the adapter is closed.
    pub(super) async fn supervise(self: Arc<Self>) {
        // Without this task nothing would ever connect again, as when its runtime has ended.
        let _end = self.token.clone().drop_guard();
        let mut backoff = Backoff::default();
        loop {
            let connected = tokio::select! {
                () = self.token.cancelled() => return,
                connected = self.connect() => connected,
            };
            match connected {
                Ok(link) => {
                    backoff.reset();
                    self.change(|present| (present.link, present.fault) = (Some(link.clone()), None));
                    let why = tokio::select! {
                        () = self.token.cancelled() => return,
                        why = self.watch(&link) => why,
                    };
                    link.dead.cancel();
                    let fault = Error::new(ErrorKind::Unavailable, "connect", why);
                    self.change(|present| (present.link, present.fault) = (None, Some(fault)));
                }
                Err(error) => {
                    self.change(|present| (present.link, present.fault) = (None, Some(error)));
                    tokio::select! {
                        () = self.token.cancelled() => return,
                        () = sleep(backoff.next()) => {}
                    }
                }
            }
        }
    }

    /// Says what the server refuses of the adapter's own work, if anything.
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        let differs = self.present.borrow().trouble != trouble;
        if differs {
            self.change(|present| present.trouble = trouble);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Present)) {
        self.present.send_modify(|present| {
            change(present);
            // Under the same lock, so that the state told last is that of what is known last.
            if !self.closing.is_cancelled() {
                self.states.set(present.state());
            }
        });
    }

    async fn connect(&self) -> Result<Link> {
        let failed = |error| from_connect(&self.options, error);
        // Whoever waits for the first one is to learn why there is none.
        let time = self.options.broker.connect_timeout.mul_f64(0.8);
        let conn = self.connector.commands_within(time).await.map_err(failed)?;
        let mut link = Link { conn, dead: CancellationToken::new() };
        let silent = || Error::new(ErrorKind::Timeout, "connect", "the server does not answer");
        // Who may not ask for it is trusted to know.
        let info = timeout(PING_WITHIN, link.conn.command(cmd("INFO").arg("server"))).await.map_err(|_| silent())?;
        info.map_or(Ok(()), |info| capabilities::check_version(&self.options, &info))?;
        let setting_up = async {
            link.conn.load_scripts().await?;
            let before = Timestamp::now().as_millis();
            let time = link.conn.command(&cmd("TIME")).await?;
            RedisResult::Ok((before, time))
        };
        let set_up = timeout(PING_WITHIN, setting_up).await;
        let (before, time) = set_up.map_err(|_| silent())?.map_err(failed)?;
        if let Some([seconds, micros]) = wire::list(time).as_deref()
            && let (Some(seconds), Some(micros)) = (wire::int(seconds), wire::int(micros))
        {
            self.offset.store(seconds * 1_000 + micros / 1_000 - before, Ordering::Relaxed);
        }
        timeout(PING_WITHIN, topology::declare_again(self, &link)).await.map_err(|_| silent())?.map_err(failed)?;
        Ok(link)
    }

    /// Returns when the connection is of no more use.
    async fn watch(&self, link: &Link) -> &'static str {
        loop {
            tokio::select! {
                () = link.dead.cancelled() => return "the connection was lost",
                () = sleep(PING_EVERY) => {}
            }
            match timeout(PING_WITHIN, link.command(&cmd("PING"))).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return "the server refuses a sign of life",
                Err(_) => return "the server gives no sign of life",
            }
        }
    }

    /// Waits for the first connection as the options say.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn first(&self) -> Result<()> {
        if self.options.broker.start == StartMode::Degraded {
            return Ok(());
        }
        self.wait("connect", Instant::now() + self.options.broker.connect_timeout).await.map(drop)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("options", &self.options).finish_non_exhaustive()
    }
}
