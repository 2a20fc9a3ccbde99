//! The connection: made, watched, and told of.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event, ServerError,
    jetstream::{Context, ContextBuilder, response::Response},
};
use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{AdapterState, StateSender},
    wire::attributes::{Binding, HeaderText},
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{error, names::Names, options::NatsOptions, orphans::Orphans, outbox::Outbox, topology::Routes};
use crate::common::{backoff::Backoff, options::StartMode, policies::DeclaredPolicies, tls::Certificates};

/// The client asks the server for a sign of life this often, and gives the connection up when three stay away.
const PING: Duration = Duration::from_millis(1_200);
/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long the server may take for an answer to an API request.
pub(super) const REQUEST: Duration = Duration::from_secs(4);

/// How long a request waits for the first connection of a degraded start.
const FIRST: Duration = Duration::from_millis(500);

/// From this attempt on the pauses between attempts to connect again do not grow.
const LONGEST_AT: usize = 5;

/// What is known of the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) up: bool,
    /// Grows with each connection.
    pub(super) epoch: u64,
    /// The server does not let us in; nothing is going to work.
    pub(super) refused: Option<Error>,
    /// Why the last attempt to make the first connection failed.
    fault: Option<Error>,
    client: Option<(Client, Context)>,
}

impl Link {
    pub(super) fn client(&self) -> Option<&Client> {
        self.client.as_ref().map(|(client, _)| client)
    }
}

/// What all parts of the adapter share.
pub(super) struct Shared {
    pub(super) options: NatsOptions,
    pub(super) names: Names,
    pub(super) binding: Binding,
    pub(super) link: watch::Sender<Link>,
    pub(super) states: StateSender,
    pub(super) outbox: Outbox,
    pub(super) declared: DeclaredPolicies,
    pub(super) routes: Routes,
    /// A client-side buffer ran over: its subscription is not known.
    pub(super) overrun: broadcast::Sender<()>,
    closed: AtomicBool,
    /// Subscriptions end.
    pub(super) closing: CancellationToken,
    /// Everything ends.
    pub(super) kill: CancellationToken,
    /// The tasks of subscriptions.
    pub(super) readers: TaskTracker,
    /// All other tasks.
    pub(super) tasks: TaskTracker,
    /// How often events were released without having been handed out, by consumer and sequence.
    pub(super) released: Mutex<HashMap<(Arc<str>, u64), u32>>,
    /// Events that came to members which had left.
    pub(super) orphans: Orphans,
    /// How many members of this adapter each group has on a channel.
    pub(super) members: Mutex<HashMap<String, usize>>,
}

impl Shared {
    /// Connects, or, in the degraded mode, begins to.
    pub(super) async fn open(options: NatsOptions) -> Result<Arc<Self>> {
        options.check()?;
        Certificates::read(&options.broker, options.tls, "write `tls://`")?;
        let names = Names::new(options.broker.prefix.as_deref());
        let shared = Arc::new(Self {
            names,
            binding: Binding::new("ce-", HeaderText::Ascii).of_source(&options.broker.source),
            link: watch::Sender::new(Link::default()),
            states: StateSender::new(AdapterState::Connecting),
            outbox: Outbox::new(),
            declared: DeclaredPolicies::default(),
            routes: Routes::default(),
            overrun: broadcast::Sender::new(1),
            closed: AtomicBool::new(false),
            closing: CancellationToken::new(),
            kill: CancellationToken::new(),
            readers: TaskTracker::new(),
            tasks: TaskTracker::new(),
            released: Mutex::default(),
            orphans: Orphans::default(),
            members: Mutex::default(),
            options,
        });
        let (sender, events) = mpsc::unbounded_channel();
        match shared.options.broker.start {
            StartMode::Degraded => {
                let task = shared.clone();
                shared.spawn(async move { task.connect_until(None, sender).await.map(drop).unwrap_or_default() });
            }
            _ => {
                let deadline = Instant::now() + shared.options.broker.connect_timeout;
                shared.connect_until(Some(deadline), sender).await?;
            }
        }
        let task = shared.clone();
        shared.spawn(async move { task.watch(events).await });
        let task = shared.clone();
        shared.spawn(async move { super::outbox::run(task).await });
        Ok(shared)
    }

    /// Starts a task that ends with the adapter.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = kill.cancelled() => {}
                () = future => {}
            }
        });
    }

    async fn connect_until(&self, deadline: Option<Instant>, events: mpsc::UnboundedSender<Event>) -> Result<()> {
        let mut backoff = Backoff::default();
        loop {
            let fault = match self.connect(events.clone()).await {
                Ok(client) => {
                    let context = ContextBuilder::new().timeout(REQUEST).build(client.clone());
                    self.link.send_modify(|link| {
                        link.client = Some((client, context));
                        link.up = true;
                        link.epoch += 1;
                        (link.refused, link.fault) = (None, None);
                    });
                    self.states.set(AdapterState::Ready);
                    return Ok(());
                }
                Err(fault) => fault,
            };
            let hopeless = matches!(fault.kind(), ErrorKind::Auth | ErrorKind::Invalid);
            if hopeless {
                self.refuse(&fault);
            }
            self.link.send_modify(|link| link.fault = Some(fault.clone()));
            let wait = if hopeless { Duration::from_secs(2) } else { backoff.next() };
            match deadline {
                Some(_) if hopeless => return Err(fault),
                Some(deadline) if Instant::now() + wait >= deadline => return Err(fault),
                Some(_) => {}
                None => self.states.set(AdapterState::Degraded(fault.message().to_owned())),
            }
            sleep(wait).await;
        }
    }

    async fn connect(&self, events: mpsc::UnboundedSender<Event>) -> Result<Client> {
        let options = &self.options;
        let mut connect = ConnectOptions::new()
            .name(&options.broker.source)
            .custom_inbox_prefix(self.names.private())
            .ping_interval(PING)
            .connection_timeout(ATTEMPT)
            .request_timeout(Some(REQUEST))
            .require_tls(options.tls)
            .reconnect_delay_callback(delay)
            .event_callback(move |event| {
                let events = events.clone();
                async move { drop(events.send(event)) }
            });
        if options.tls_first {
            connect = connect.tls_first();
        }
        if let Some(ca) = &options.broker.ca {
            connect = connect.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (&options.broker.cert, &options.broker.key) {
            connect = connect.add_client_certificate(cert.clone(), key.clone());
        }
        if let Some(user) = &options.user {
            connect = connect.user_and_password(user.clone(), options.secret_password().to_owned());
        }
        if let Some(token) = options.secret_token() {
            connect = connect.token(token.to_owned());
        }
        let unreadable = |what: &str, cause: std::io::Error| {
            Error::new(ErrorKind::Invalid, "connect", format!("field `{what}` names a file that cannot be read"))
                .because(cause)
        };
        if let Some(path) = &options.nkey {
            let seed = tokio::fs::read_to_string(path).await.map_err(|cause| unreadable("nkey", cause))?;
            connect = connect.nkey(seed.trim().to_owned());
        }
        if let Some(path) = &options.creds {
            connect = connect.credentials_file(path).await.map_err(|cause| unreadable("creds", cause))?;
        }
        let scheme = if options.tls { "tls" } else { "nats" };
        let address = |(host, port): &(String, u16)| {
            if host.contains(':') { format!("{scheme}://[{host}]:{port}") } else { format!("{scheme}://{host}:{port}") }
        };
        let addresses: Vec<_> = options.hosts.iter().map(address).collect();
        match timeout(ATTEMPT * 2, connect.connect(addresses)).await {
            Ok(connected) => connected.map_err(|cause| error::connect(cause, options)),
            Err(_) => {
                let text = format!("the server at {} does not answer", options.place());
                Err(Error::new(ErrorKind::Unavailable, "connect", text))
            }
        }
    }

    fn refuse(&self, fault: &Error) {
        self.link.send_modify(|link| link.refused = Some(fault.clone()));
    }

    /// Follows what the client tells of its connection.
    async fn watch(&self, mut events: mpsc::UnboundedReceiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Connected => {
                    self.link.send_if_modified(|link| {
                        // The first one was told by whoever made it.
                        let again = !link.up && link.client.is_some();
                        if again {
                            link.up = true;
                            link.epoch += 1;
                            link.refused = None;
                        }
                        again
                    });
                    if !self.is_closed() && self.link.borrow().up {
                        self.states.set(AdapterState::Ready);
                    }
                }
                Event::Disconnected => {
                    self.link.send_modify(|link| link.up = false);
                    self.degrade("the connection is lost, and is being restored");
                }
                Event::Closed => self.link.send_modify(|link| link.up = false),
                Event::SlowConsumer(_) => drop(self.overrun.send(())),
                Event::ServerError(ServerError::AuthorizationViolation) => self.not_let_in("authorization violation"),
                Event::ClientError(fault) if error::is_auth(&fault.to_string()) => self.not_let_in(&fault.to_string()),
                _ => {}
            }
        }
    }

    fn not_let_in(&self, text: &str) {
        if self.link.borrow().up {
            return; // about something else than this connection
        }
        let text = format!("the server does not let us in: {text}");
        self.degrade(&text);
        self.refuse(&Error::new(ErrorKind::Auth, "connect", text));
    }

    fn degrade(&self, text: &str) {
        if !self.is_closed() {
            self.states.set(AdapterState::Degraded(text.to_owned()));
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Closes the way in; false if it was closed before.
    pub(super) fn shut(&self) -> bool {
        !self.closed.swap(true, Ordering::SeqCst)
    }

    pub(super) fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.is_closed() { Err(error::closed(operation)) } else { Ok(()) }
    }

    /// An error, unless it only says that the adapter was closed meanwhile.
    pub(super) fn or_closed(&self, operation: &'static str, error: Error) -> Error {
        if self.is_closed() { error::closed(operation).because(error) } else { error }
    }

    /// The client and its JetStream context, once there is a connection.
    ///
    /// # Errors
    /// `Auth` if the server does not let us in, `Unavailable` if there is no connection within the time.
    pub(super) async fn connected(&self, operation: &'static str, within: Duration) -> Result<(Client, Context)> {
        let mut link = self.link.subscribe();
        // Where there never was a connection, callers may queue up behind each other; they learn soon that there is none.
        let within = if link.borrow().client.is_some() { within } else { within.min(FIRST) };
        let deadline = Instant::now() + within;
        loop {
            self.check_open(operation)?;
            {
                let link = link.borrow_and_update();
                if let Some(refused) = &link.refused {
                    return Err(
                        Error::new(refused.kind(), operation, refused.message().to_owned()).because(refused.clone())
                    );
                }
                if let (true, Some(client)) = (link.up, &link.client) {
                    return Ok(client.clone());
                }
            }
            if !matches!(timeout_at(deadline, link.changed()).await, Ok(Ok(()))) {
                let text = format!("there is no connection to the server at {}", self.options.place());
                let error = Error::new(ErrorKind::Unavailable, operation, text);
                return Err(match self.link.borrow().fault.clone() {
                    Some(fault) => error.because(fault),
                    None => error,
                });
            }
        }
    }

    /// Lets go of the client: the connection ends with its last user.
    pub(super) fn forget_client(&self) {
        self.link.send_modify(|link| {
            link.up = false;
            link.client = None;
        });
    }

    /// As [`Shared::connected`], with the time that API requests get.
    pub(super) async fn context(&self, operation: &'static str) -> Result<Context> {
        Ok(self.connected(operation, REQUEST).await?.1)
    }

    /// One API request.
    pub(super) async fn api<T: for<'a> serde::Deserialize<'a>>(
        &self,
        operation: &'static str,
        subject: String,
        payload: &(impl serde::Serialize + Sync),
    ) -> Result<T> {
        let context = self.context(operation).await?;
        match context.request(subject, payload).await.map_err(|cause| error::request(operation, cause))? {
            Response::Ok(answer) => Ok(answer),
            Response::Err { error } => Err(error::api(operation, error)),
        }
    }

    /// Waits until a connection is there, as long as it takes. False if the adapter ends before.
    pub(super) async fn wait_up(&self) -> bool {
        let mut link = self.link.subscribe();
        tokio::select! {
            up = link.wait_for(|link| link.up) => up.is_ok(),
            () = self.kill.cancelled() => false,
        }
    }

    /// Whether the server is at least of this version; false while it is not known.
    pub(super) fn is_at_least(&self, major: i64, minor: i64) -> bool {
        let link = self.link.borrow();
        let Some(info) = link.client().and_then(Client::try_server_info) else { return false };
        version_at_least(&info.version, major, minor)
    }

    /// How often an event was released without having been handed out.
    pub(super) fn times_released(&self, consumer: &Arc<str>, sequence: u64) -> u32 {
        let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        released.get(&(consumer.clone(), sequence)).copied().unwrap_or(0)
    }

    /// Remembers that an event was released, for deliveries of it that are counted in this process.
    pub(super) fn note_released(&self, consumer: &Arc<str>, sequence: u64) {
        const MOST: usize = 65_536;
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        if released.len() >= MOST {
            released.clear();
        }
        *released.entry((consumer.clone(), sequence)).or_default() += 1;
    }

    /// Forgets an event that is settled for good.
    pub(super) fn forget_released(&self, consumer: &Arc<str>, sequence: u64) {
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        if !released.is_empty() {
            released.remove(&(consumer.clone(), sequence));
        }
    }
}

/// How long the client waits before this attempt to connect again, from 1 on: some 0.8 s at most, and not all at once.
fn delay(attempt: usize) -> Duration {
    let mut backoff = Backoff::default();
    for _ in 1..attempt.min(LONGEST_AT) {
        backoff.next();
    }
    backoff.next()
}

/// Whether a version such as `2.11.3-beta` is at least this one.
pub(super) fn version_at_least(version: &str, major: i64, minor: i64) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(|part| part.parse::<i64>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ() {
        for (attempt, full) in [(0, 50), (1, 50), (2, 100), (5, 800), (1_000, 800)] {
            let delay = delay(attempt).as_millis();
            assert!((full / 2..=full).contains(&delay), "{delay} of {full}");
        }
        let all: std::collections::HashSet<_> = (0..100).map(|_| delay(9)).collect();
        assert!(all.len() > 90, "clients of one server do not come back at one moment: {}", all.len());
    }

    #[test]
    fn versions_are_compared_by_number() {
        for (version, expected) in [("2.11.0", true), ("2.9.25", false), ("v2.12.1-rc.1", true), ("3.0.0", true)] {
            assert_eq!(version_at_least(version, 2, 11), expected, "{version}");
        }
    }
}
