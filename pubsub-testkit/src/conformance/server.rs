//! The harness of adapters whose backend is one of the four real servers.

use std::{fmt, future::Future, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub_core::{
    Result,
    driver::{Adapter, BoxFuture, async_trait},
};

use super::{Bounds, Harness, Minimum, cases, main};
use crate::broker::{Broker, BrokerKind, BrokerOptions, find};

type Open = Box<dyn Fn(String) -> BoxFuture<'static, Result<Arc<dyn Adapter>>> + Send + Sync>;

/// An adapter that is opened by address, before a real server: the one that the environment names, or one of its own.
/// A world is a prefix of the address.
pub struct ServerHarness {
    kind: BrokerKind,
    open: Open,
    minimum: Minimum,
    bounds: Bounds,
    url: String,
    sized: fn(usize) -> usize,
}

impl fmt::Debug for ServerHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHarness").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl ServerHarness {
    /// A harness whose adapters are opened by `open`, from an address with a `prefix` and, for strict ones,
    /// `strict=true`.
    pub fn new<F>(kind: BrokerKind, open: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn Adapter>>> + Send + 'static,
    {
        Self {
            kind,
            open: Box::new(move |url| Box::pin(open(url))),
            minimum: Minimum::new(),
            bounds: Bounds::default(),
            url: String::new(),
            sized: |count| count,
        }
    }

    /// Sets the least that the adapter must declare.
    #[must_use]
    pub fn minimum(mut self, minimum: Minimum) -> Self {
        self.minimum = minimum;
        self
    }

    /// Sets how long things may take.
    #[must_use]
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Sets how the counts of the default size are lowered.
    #[must_use]
    pub fn sized(mut self, sized: fn(usize) -> usize) -> Self {
        self.sized = sized;
        self
    }

    /// The `main` of a test target. Without a server every case is shown as ignored, or fails where
    /// `PUBSUB_TEST_REQUIRE` demands the broker.
    pub fn main(mut self) -> ExitCode {
        if let Some(url) = find::url_from_environment(self.kind) {
            self.url = url;
            return main(self);
        }
        match Broker::start(self.kind, &BrokerOptions::new()) {
            Ok(broker) => {
                self.url = broker.url();
                let code = main(self);
                drop(broker);
                code
            }
            Err(fault) => absent(self.kind, &fault.to_string()),
        }
    }

    fn address(&self, world: &str, more: &str) -> String {
        let mark = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{mark}prefix={world}{more}", self.url)
    }
}

/// All cases of a broker that is not there.
fn absent(kind: BrokerKind, fault: &str) -> ExitCode {
    let required = find::is_required(kind);
    let trials = cases().into_iter().map(|case| {
        let fault = fault.to_owned();
        let trial = Trial::test(format!("{}: {}", case.id, case.title), move || Err(Failed::from(fault)));
        trial.with_ignored_flag(!required)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

#[async_trait]
impl Harness for ServerHarness {
    fn name(&self) -> &str {
        self.kind.name()
    }

    async fn adapter(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        (self.open)(self.address(world, "")).await
    }

    fn minimum(&self) -> Minimum {
        self.minimum.clone()
    }

    async fn strict(&self, world: &str) -> Result<Arc<dyn Adapter>> {
        (self.open)(self.address(&format!("{world}-strict"), "&strict=true")).await
    }

    fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn sized(&self, count: usize) -> usize {
        (self.sized)(count)
    }
}
