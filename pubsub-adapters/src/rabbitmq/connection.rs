//! Connections that are watched and made anew.
//!
//! The client's own recovery is not used: it hides what was lost. A link is one connection with a supervisor, which asks
//! the broker for a sign of life every two seconds, cuts the connection when none comes, and connects again.

use std::{
    fmt,
    net::{Shutdown, TcpStream as StdTcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Event,
    options::BasicQosOptions,
    tcp::{AMQPUriTcpExt, OwnedIdentity, OwnedTLSConfig},
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{AdapterState, StateSender},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    error::{closed, convert, late, unavailable},
    names::short,
    options::RabbitMqOptions,
};
use crate::common::{
    backoff::Backoff,
    tls::{Certificates, chain, explain},
};

/// How often the broker is asked for a sign of life.
const PROBE_EVERY: Duration = Duration::from_millis(1_500);
/// How long it may take to give one.
const PROBE_TIMEOUT: Duration = Duration::from_millis(4_500);
/// How long a channel of the protocol may take to open on a connection that lives.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one host may take to let us in.
const HOST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take to end that was cut.
const ENDS_WITHIN: Duration = Duration::from_millis(500);

/// A connection that is up.
pub(super) struct Live {
    connection: Connection,
    /// The socket itself, to cut it; where the system gives none, the client's heartbeats end the connection.
    socket: Option<StdTcpStream>,
    control: Channel,
    blocked: watch::Sender<bool>,
    /// Is cancelled when the connection is gone.
    pub(super) dead: CancellationToken,
    /// Counts the connections of this process, so that what belongs to an earlier one is known.
    pub(super) number: u64,
}

impl Live {
    /// Opens a channel of the protocol.
    pub(super) async fn channel(&self, operation: &'static str) -> Result<Channel> {
        tokio::select! {
            opened = timeout(CHANNEL_TIMEOUT, self.connection.create_channel()) => {
                opened.map_err(|_| late(operation))?.map_err(|error| convert(operation, error))
            }
            () = self.dead.cancelled() => Err(unavailable(operation, "the connection was lost")),
        }
    }

    /// Whether the broker holds publishers back.
    pub(super) fn is_blocked(&self) -> bool {
        *self.blocked.borrow()
    }

    /// Waits until the broker no longer holds publishers back. Cancel safe.
    pub(super) async fn unblocked(&self) {
        let mut blocked = self.blocked.subscribe();
        if blocked.wait_for(|blocked| !blocked).await.is_err() {
            self.dead.cancelled().await;
        }
    }

    /// Asks for a sign of life: something that must be answered and changes nothing.
    pub(super) async fn probe(&self) -> Result<Duration> {
        let started = Instant::now();
        let asked = timeout(PROBE_TIMEOUT, self.control.basic_qos(1, BasicQosOptions::default())).await;
        asked.map_err(|_| late("ping"))?.map_err(|error| convert("ping", error))?;
        Ok(started.elapsed())
    }

    /// Cuts the connection, whatever the broker does.
    fn cut(&self) {
        self.dead.cancel();
        if let Some(socket) = &self.socket {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    async fn close(&self, limit: Duration) {
        let _ = timeout(limit, self.connection.close(200, short("closed"))).await;
        self.cut();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.cut();
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Where a link stands.
#[derive(Clone, Debug)]
enum Phase {
    /// Being connected; the text says why it is not.
    Down(String),
    Up(Arc<Live>),
    /// The broker refuses our credentials or our certificates.
    Refused(Error),
    Closed,
}

/// One supervised connection.
#[derive(Debug)]
pub(super) struct Link {
    phase: watch::Sender<Phase>,
    stop: CancellationToken,
    /// The supervisor.
    tasks: TaskTracker,
}

impl Link {
    /// Starts to connect.
    pub(super) fn start(options: &Arc<RabbitMqOptions>, role: &'static str, board: &Arc<Board>) -> Arc<Self> {
        let link = Arc::new(Self {
            phase: watch::Sender::new(Phase::Down("not connected yet".to_owned())),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        link.tasks.spawn(supervise(link.phase.clone(), link.stop.clone(), options.clone(), role, board.clone()));
        link.tasks.close();
        link
    }

    /// The connection, if it is up.
    pub(super) fn now(&self) -> Option<Arc<Live>> {
        match &*self.phase.borrow() {
            Phase::Up(live) if !live.dead.is_cancelled() => Some(live.clone()),
            _ => None,
        }
    }

    /// Waits for a connection until `deadline`. Cancel safe.
    ///
    /// # Errors
    /// `Unavailable` with the reason, `Auth` at once where the broker refuses us, `Closed`.
    pub(super) async fn live_until(&self, operation: &'static str, deadline: Instant) -> Result<Arc<Live>> {
        let mut phase = self.phase.subscribe();
        let wait = phase.wait_for(|phase| match phase {
            Phase::Down(_) => false,
            Phase::Up(live) => !live.dead.is_cancelled(),
            Phase::Refused(_) | Phase::Closed => true,
        });
        let found = match timeout_at(deadline, wait).await {
            Ok(Ok(found)) => found.clone(),
            Ok(Err(_)) => Phase::Closed,
            Err(_) => self.phase.borrow().clone(),
        };
        match found {
            Phase::Up(live) => Ok(live),
            Phase::Refused(error) => Err(error),
            Phase::Closed => Err(closed(operation)),
            Phase::Down(reason) => Err(unavailable(operation, &reason)),
        }
    }

    /// As [`Link::live_until`], for a while.
    pub(super) async fn live(&self, operation: &'static str, limit: Duration) -> Result<Arc<Live>> {
        if let Some(live) = self.now() {
            return Ok(live);
        }
        self.live_until(operation, Instant::now() + limit).await
    }

    /// Ends the supervisor and the connection.
    pub(super) async fn close(&self, limit: Duration) {
        self.stop.cancel();
        let before = self.phase.send_replace(Phase::Closed);
        if let Phase::Up(live) = before {
            live.close(limit).await;
        }
        // An attempt to connect that is underway ends before the runtime may.
        let _ = timeout(limit.max(ENDS_WITHIN), self.tasks.wait()).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Puts the states of the links together.
#[derive(Debug)]
pub(super) struct Board {
    states: Arc<StateSender>,
    parts: Mutex<Vec<(&'static str, AdapterState)>>,
}

impl Board {
    pub(super) fn new(states: Arc<StateSender>, roles: &[&'static str]) -> Arc<Self> {
        let parts = roles.iter().map(|role| (*role, AdapterState::Connecting)).collect();
        Arc::new(Self { states, parts: Mutex::new(parts) })
    }

    fn set(&self, role: &'static str, state: AdapterState) {
        // The table is whole at every point where a panic could come from.
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, part)) = parts.iter_mut().find(|(known, _)| *known == role) {
            *part = state;
        }
        if self.states.current() == AdapterState::Closed {
            return;
        }
        let worst = parts.iter().map(|(_, part)| part).max_by_key(|part| match part {
            AdapterState::Ready => 0,
            AdapterState::Connecting => 1,
            _ => 2,
        });
        self.states.set(worst.cloned().unwrap_or(AdapterState::Ready));
    }
}

async fn supervise(
    phase: watch::Sender<Phase>,
    stop: CancellationToken,
    options: Arc<RabbitMqOptions>,
    role: &'static str,
    board: Arc<Board>,
) {
    let mut backoff = Backoff::default();
    let put = |new: Phase| {
        phase.send_if_modified(|current| {
            let open = !matches!(current, Phase::Closed);
            if open {
                *current = new;
            }
            open
        })
    };
    loop {
        let connected = connect_any(&options, role, &stop).await;
        if stop.is_cancelled() {
            if let Ok((live, _)) = connected {
                live.close(ENDS_WITHIN).await;
            }
            return;
        }
        match connected {
            Ok((live, events)) => {
                backoff.reset();
                let live = Arc::new(live);
                // Whoever waits for the connection finds the state that goes with it.
                board.set(role, AdapterState::Ready);
                if !put(Phase::Up(live.clone())) {
                    live.cut();
                    return;
                }
                let reason = tokio::select! {
                    () = stop.cancelled() => return,
                    reason = watch_over(&live, events, &board, role) => reason,
                };
                live.cut();
                board.set(role, AdapterState::Degraded(reason.clone()));
                put(Phase::Down(reason));
            }
            Err(error) if error.kind() == ErrorKind::Auth => {
                board.set(role, AdapterState::Degraded(error.to_string()));
                put(Phase::Refused(error));
            }
            Err(error) => {
                let reason = with_cause(&error);
                board.set(role, AdapterState::Degraded(reason.clone()));
                put(Phase::Down(reason));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(backoff.next()) => {}
        }
    }
}

fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{}: {cause}", error.message()),
        None => error.message().to_owned(),
    }
}

/// Returns once the connection is no longer of use, with the reason.
async fn watch_over(
    live: &Live,
    mut events: impl futures_util::Stream<Item = Event> + Unpin,
    board: &Board,
    role: &'static str,
) -> String {
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.next() => match event {
                // Errors of single channels are told here, too.
                Some(Event::Error(error)) if !live.connection.status().connected() => return error.to_string(),
                Some(Event::ConnectionBlocked(reason)) => {
                    live.blocked.send_replace(true);
                    board.set(role, AdapterState::Degraded(format!("the broker holds publishers back: {reason}")));
                }
                Some(Event::ConnectionUnblocked) => {
                    live.blocked.send_replace(false);
                    board.set(role, AdapterState::Ready);
                }
                Some(_) => {}
                None => return "the connection has ended".to_owned(),
            },
            () = live.dead.cancelled() => return "the connection was cut".to_owned(),
            _ = ticks.tick() => {
                if !live.connection.status().connected() {
                    return "the connection has ended".to_owned();
                }
                // A broker that holds us back reads nothing from us, so that it cannot answer; heartbeats still come.
                if !live.is_blocked() && live.probe().await.is_err() && !live.is_blocked() {
                    return "the broker gives no sign of life".to_owned();
                }
            }
        }
    }
}

type Events = std::pin::Pin<Box<dyn futures_util::Stream<Item = Event> + Send>>;

/// Checks what the options say of certificates.
///
/// # Errors
/// `Invalid` that names the option.
pub(super) fn check_certificates(options: &RabbitMqOptions) -> Result<()> {
    tls_config(options).map(drop)
}

async fn connect_any(
    options: &RabbitMqOptions,
    role: &'static str,
    stop: &CancellationToken,
) -> Result<(Live, Events)> {
    let tls = Arc::new(tls_config(options)?);
    let mut last = unavailable("connect", "no host is named");
    for (host, port) in &options.hosts {
        let port = *port;
        // What is underway when the time is over is cut: its thread would wait for the broker for ever.
        let socket = Arc::new(Mutex::new(None));
        let mut attempt = Box::pin(connect(options, role, host, port, &tls, socket.clone()));
        let ended = tokio::select! {
            ended = timeout(HOST_TIMEOUT, &mut attempt) => ended.ok(),
            () = stop.cancelled() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                // Its end is awaited, for the client's thread must not outlive the runtime.
                if let Some(socket) = take(&socket) {
                    let _ = socket.shutdown(Shutdown::Both);
                    let _ = timeout(ENDS_WITHIN, &mut attempt).await;
                }
                Err(late("connect"))
            }
        };
        match ended {
            Ok(live) => return Ok(live),
            Err(error) if error.kind() == ErrorKind::Auth => return Err(error),
            Err(error) => last = error,
        }
        if let Some(socket) = take(&socket) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if stop.is_cancelled() {
            break;
        }
    }
    Err(last)
}

type Socket = Arc<Mutex<Option<StdTcpStream>>>;

fn take(socket: &Socket) -> Option<StdTcpStream> {
    socket.lock().unwrap_or_else(PoisonError::into_inner).take()
}

async fn connect(
    options: &RabbitMqOptions,
    role: &'static str,
    host: &str,
    port: u16,
    tls: &Arc<OwnedTLSConfig>,
    socket: Socket,
) -> Result<(Live, Events)> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let user = options.user.as_deref().unwrap_or("guest");
    let uri = AMQPUri {
        scheme: if options.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: user.to_owned(),
                password: options.password().unwrap_or(if options.user.is_none() { "guest" } else { "" }).to_owned(),
            },
            host: host.to_owned(),
            port,
        },
        vhost: options.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(u16::try_from(options.heartbeat.as_secs()).unwrap_or(10).max(1)),
            ..AMQPQueryString::default()
        },
    };
    let name = options.broker.prefix.as_deref().unwrap_or("pubsub");
    let properties = ConnectionProperties::default().with_connection_name(format!("{name} {role}").into());
    let runtime = lapin::runtime::default_runtime().map_err(|error| convert("connect", error))?;
    let (tls, kept) = (tls.clone(), socket.clone());
    let connection = Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..uri.clone() };
            let stream = plain.connect_async(&runtime).await?;
            #[cfg(unix)]
            if let AsyncTcpStream::Plain(stream) = &stream {
                let kept_socket = std::os::fd::AsFd::as_fd(stream.get_ref()).try_clone_to_owned()?;
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(StdTcpStream::from(kept_socket));
            }
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => Ok(stream.into_tls(&uri.authority.host, tls.as_ref().as_ref()).await?),
            }
        },
        properties,
    )
    .await;
    let connection = connection.map_err(|error| refused(options, host, port, convert("connect", error)))?;
    let events: Events = Box::pin(connection.events_listener());
    let control = connection.create_channel().await.map_err(|error| convert("connect", error))?;
    let socket = take(&socket);
    let live = Live {
        connection,
        socket,
        control,
        blocked: watch::Sender::new(false),
        dead: CancellationToken::new(),
        number: NUMBER.fetch_add(1, Ordering::Relaxed),
    };
    Ok((live, events))
}

/// Wrong credentials and certificates are told apart from a broker that is not there.
fn refused(options: &RabbitMqOptions, host: &str, port: u16, error: Error) -> Error {
    let (kind, text) = match explain(&chain(&error), options.tls) {
        Some(explained) => explained,
        None if error.kind() == ErrorKind::Auth => {
            (ErrorKind::Auth, "the broker refuses the user, the password or the virtual host")
        }
        None => (error.kind(), "no connection"),
    };
    Error::new(kind, "connect", format!("{text}, at {host}:{port}")).because(error)
}

/// The files are read anew for each attempt: certificates are replaced while a program runs.
fn tls_config(options: &RabbitMqOptions) -> Result<OwnedTLSConfig> {
    let certificates = Certificates::read(&options.broker, options.tls, "write `amqps://`")?;
    Ok(OwnedTLSConfig {
        cert_chain: certificates.ca.map(|pem| String::from_utf8_lossy(&pem).into_owned()),
        identity: certificates.identity.map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key }),
    })
}
