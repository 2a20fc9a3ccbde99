//! `Server`: building it, mounting it, ending it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use http::request::Parts;
use pubsub_codegen::{Contracts, DocumentOptions};
use pubsub_core::{
    Envelope, PubSub, Result,
    rpc::Forward,
    store::{Idempotency, Transactions},
};
use pubsub_router::Running;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tower_http::cors::CorsLayer;

use crate::{
    ApiError, Authenticate, Authorize, Cors, MemoryIdempotency, Settings, User, WebPolicy,
    auth::{ByToken, Gate, Tickets, Visible},
    body::BodyLimits,
    dashboard,
    edge::{Documents, Edge, Inner, Metrics},
    hub::Hub,
    policy::WebPolicies,
    procedures::Table,
    rates::Rates,
    ready::{Check, Checks},
    rest, trpc,
};

/// A web edge over a bus: mount [`Server::router`] into an application, under any prefix. Several may run in one process.
/// Cloning it gives another handle to the same.
///
/// ```
/// use std::time::Duration;
///
/// use pubsub_core::PubSub;
/// use pubsub_server::{Access, Server, Tokens, User, WebPolicy};
///
/// # async fn example(bus: PubSub) -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder(&bus)
///     .channel(WebPolicy::new("orders").read(Access::scope("reader")))
///     .authenticate(Tokens::new().with("a token", User::new("u-1", ["reader"])))
///     .build()?;
/// let app: axum::Router = axum::Router::new().nest("/api", server.router());
/// // … serve `app`; then end the streams, spread over ten seconds:
/// server.drain(Duration::from_secs(10)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Server {
    edge: Edge,
    dashboard: bool,
    cors: Option<CorsLayer>,
}

impl Server {
    /// Prepares a server over a bus.
    pub fn builder(bus: &PubSub) -> ServerBuilder {
        ServerBuilder {
            bus: bus.clone(),
            policies: Vec::new(),
            settings: Settings::default(),
            authenticate: None,
            authorize: None,
            visible: None,
            cookie: None,
            ticket_secret: None,
            store: None,
            transactions: None,
            actions: None,
            forward: None,
            cors: None,
            checks: Vec::new(),
            metrics: None,
            documents: DocumentOptions::new("pubsub", env!("CARGO_PKG_VERSION")),
            dashboard: false,
        }
    }

    /// The routes, to be mounted under any prefix.
    pub fn router(&self) -> Router {
        let settings = &self.edge.settings;
        let wire = trpc::Settings {
            max_batch_size: settings.max_batch_size,
            body: BodyLimits { size: settings.max_body_size, time: settings.body_timeout },
            method_override: settings.method_override,
            ping: settings.heartbeat,
            reconnect_after_inactivity: Some(settings.reconnect_after_inactivity),
            retry: settings.retry,
        };
        let mut router = rest::router(self.edge.clone()).merge(trpc::router(Arc::new(self.edge.clone()), wire));
        if self.dashboard {
            router = router.merge(dashboard::router());
        }
        match &self.cors {
            Some(layer) => router.layer(layer.clone()),
            None => router,
        }
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.edge.hub.streams()
    }

    /// Whether everything that is needed works: what `/readyz` answers.
    pub fn is_ready(&self) -> bool {
        crate::ready::readiness(&self.edge).0
    }

    /// Who sent a request to a route of the application's own, by the hook and the cookie of this server. Tickets count for
    /// streams only.
    ///
    /// # Errors
    /// As [`Authenticate::authenticate`]; an [`ApiError`] is a response, too.
    pub async fn user(&self, request: &Parts) -> std::result::Result<Option<User>, ApiError> {
        Ok(self.edge.gate.identify(request, None, None).await?.map(|user| (*user).clone()))
    }

    /// Ends the server's work: new streams are told to come back later, those that are open are ended evenly over `within`,
    /// so that clients do not reconnect all at once, and calls that run to their end are waited for, at most as long again.
    ///
    /// Cancel safe: what was not ended stays open.
    pub async fn drain(&self, within: Duration) {
        self.edge.hub.drain(within).await;
        self.edge.tasks.close();
        let grace = within.max(Duration::from_secs(1));
        if timeout(grace, self.edge.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.edge.tasks.len(), "calls are still underway at the end of the drain");
        }
    }
}

/// Collects what a [`Server`] needs.
#[must_use]
pub struct ServerBuilder {
    bus: PubSub,
    policies: Vec<WebPolicy>,
    settings: Settings,
    authenticate: Option<Arc<dyn Authenticate>>,
    authorize: Option<Arc<dyn Authorize>>,
    visible: Option<Visible>,
    cookie: Option<String>,
    ticket_secret: Option<Vec<u8>>,
    store: Option<Arc<dyn Idempotency>>,
    transactions: Option<Arc<dyn Transactions>>,
    actions: Option<Running>,
    forward: Option<Arc<dyn Forward>>,
    cors: Option<Cors>,
    checks: Checks,
    metrics: Option<Metrics>,
    documents: DocumentOptions,
    dashboard: bool,
}

impl ServerBuilder {
    /// Exposes a channel or a family of channels. What is not exposed does not exist for clients.
    pub fn channel(mut self, policy: WebPolicy) -> Self {
        self.policies.push(policy);
        self
    }

    /// Sets sizes, times and limits.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Changes sizes, times and limits.
    pub fn configure(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Sets who finds out who calls. Without one everybody is anonymous.
    pub fn authenticate(mut self, hook: impl Authenticate) -> Self {
        self.authenticate = Some(Arc::new(hook));
        self
    }

    /// As [`ServerBuilder::authenticate`], with a function from token to user. Requests without a token are anonymous.
    pub fn authenticate_token<F, Fut>(self, hook: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<User, ApiError>> + Send + 'static,
    {
        self.authenticate(ByToken(Arc::new(hook)))
    }

    /// Sets who decides what callers may do, in place of the scopes of the policies.
    pub fn authorize(mut self, hook: impl Authorize) -> Self {
        self.authorize = Some(Arc::new(hook));
        self
    }

    /// Sets which events a caller may see: in streams, replayed or live, in history, and in what its own calls lead to. It
    /// runs for every event of every stream, so it must be fast.
    pub fn visible(mut self, hook: impl Fn(Option<&User>, &Envelope) -> bool + Send + Sync + 'static) -> Self {
        self.visible = Some(Arc::new(hook));
        self
    }

    /// Sets the cookie that holds the token where neither header nor `connectionParams` do.
    pub fn cookie(mut self, name: impl Into<String>) -> Self {
        self.cookie = Some(name.into());
        self
    }

    /// Sets the secret that signs tickets, at least 16 bytes; nodes with the same secret and the same idempotency store take
    /// each other's tickets. Random by default.
    pub fn ticket_secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.ticket_secret = Some(secret.into());
        self
    }

    /// Sets where ids of published and sent events are remembered; in memory by default, within this process.
    pub fn idempotency(mut self, store: Arc<dyn Idempotency>) -> Self {
        self.store = Some(store);
        self
    }

    /// Gives actions that ask for it a transaction in which their effect, their answer and their events are one commit, as
    /// `SqlActions` of `pubsub-sql` does; ids are remembered there as well. The relay of its outbox publishes the events.
    pub fn transactions(mut self, transactions: Arc<dyn Transactions>) -> Self {
        self.store = Some(transactions.clone());
        self.transactions = Some(transactions);
        self
    }

    /// Sets the handlers whose actions run for the events that clients send.
    pub fn actions(mut self, running: Running) -> Self {
        self.actions = Some(running);
        self
    }

    /// Sets who passes requests on that have no action in this process; `EventRpc` of `pubsub-client` does.
    pub fn forward(mut self, forward: Arc<dyn Forward>) -> Self {
        self.forward = Some(forward);
        self
    }

    /// Lets pages of other origins use the server.
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = Some(cors);
        self
    }

    /// Adds a part of the application that has to work for the server to be ready. It is asked by every probe; the text of
    /// a fault is shown to whoever can reach `/readyz`.
    pub fn ready_check(
        mut self,
        name: impl Into<String>,
        check: impl Fn() -> std::result::Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push((name.into(), Arc::new(check) as Check));
        self
    }

    /// Adds Prometheus text to what `/metrics` answers, such as that of an exporter's recorder.
    pub fn metrics(mut self, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Arc::new(text));
        self
    }

    /// Sets what the OpenAPI and AsyncAPI documents say of the service.
    pub fn documents(mut self, options: DocumentOptions) -> Self {
        self.documents = options;
        self
    }

    /// Mounts the live page at `/_dashboard`: channels with rates and streams, a tail, history, definitions, and how the
    /// subscriptions are. Its files are for everybody and hold nothing; what it shows it asks for with the token that is
    /// typed in, so everybody sees what the policies and hooks let them see. By default there is no such page.
    pub fn dashboard(mut self) -> Self {
        self.dashboard = true;
        self
    }

    /// The server. Does no I/O; its streams need a tokio runtime.
    ///
    /// # Errors
    /// `Invalid` for bad patterns, numbers, origins or a short secret, `Conflict` for two policies of one pattern and for
    /// events that would be the same procedure.
    pub fn build(self) -> Result<Server> {
        self.settings.check()?;
        let policies = WebPolicies::new(self.policies)?;
        let cors = self.cors.as_ref().map(Cors::layer).transpose()?;
        let table = Table::new(self.bus.catalog(), &policies)?;
        let contracts = Contracts::of(self.bus.catalog());
        let documents = Documents {
            openapi: pubsub_codegen::openapi(&contracts, &self.documents)?.to_string().into(),
            asyncapi: pubsub_codegen::asyncapi(&contracts, &self.documents).to_string().into(),
        };
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryIdempotency::new(self.settings.dedup_window)));
        let gate = Gate {
            authenticate: self.authenticate,
            authorize: self.authorize,
            visible: self.visible,
            cookie: self.cookie,
            tickets: Tickets::new(self.ticket_secret.as_deref(), store.clone(), self.bus.clock().clone())?,
        };
        let inner = Inner {
            hub: Hub::new(&self.bus, &self.settings),
            gate,
            policies,
            store,
            transactions: self.transactions,
            actions: self.actions,
            forward: self.forward,
            table,
            rates: Rates::new(self.settings.call_rate),
            checks: self.checks,
            documents,
            metrics: self.metrics,
            started: Instant::now(),
            tasks: TaskTracker::new(),
            met: Mutex::new(HashMap::new()),
            settings: self.settings,
            bus: self.bus,
        };
        Ok(Server { edge: Edge(Arc::new(inner)), dashboard: self.dashboard, cors })
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("channels", &self.policies)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
