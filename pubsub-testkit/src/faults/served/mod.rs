//! A rig over a real broker behind a fault proxy.

mod delete;
mod slot;

pub(super) use slot::Slot;

use std::{fmt, sync::Arc, time::Duration};

use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{Adapter, BoxFuture, async_trait},
};

use super::{
    Action, Member, Record, Rig, What, Work,
    member::{self, Task},
};
use crate::{
    broker::{Broker, BrokerError, BrokerKind, BrokerOptions},
    conformance::{Failure, Verdict},
};

/// Opens an adapter by its address.
pub(super) type Open = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Arc<dyn Adapter>>> + Send + Sync>;

/// A broker of our own, and how adapters connect to it.
pub(super) struct Served {
    pub(super) slot: Arc<Slot>,
    pub(super) open: Open,
    /// What every address carries.
    pub(super) query: String,
    pub(super) connect: Duration,
    pub(super) close: Duration,
}

impl Served {
    fn url(&self, scheme: &str, credentials: &str, prefix: &str, more: &str) -> String {
        let mut url = format!("{scheme}://{credentials}{}?prefix={prefix}", self.slot.address());
        for part in [self.query.as_str(), more].into_iter().filter(|part| !part.is_empty()) {
            url.push('&');
            url.push_str(part);
        }
        url
    }

    fn address(&self, prefix: &str, more: &str) -> String {
        self.url(self.kind().scheme(), "", prefix, more)
    }
}

#[async_trait]
impl Rig for Served {
    fn kind(&self) -> BrokerKind {
        self.slot.kind()
    }

    async fn open(&self, prefix: &str, more: &str) -> Result<Arc<dyn Adapter>> {
        (self.open)(self.address(prefix, more)).await
    }

    async fn open_uninvited(&self, prefix: &str) -> Result<Arc<dyn Adapter>> {
        let kind = self.kind();
        if kind == BrokerKind::RabbitMq {
            return (self.open)(self.url(kind.scheme(), "guest:nobody-knows@", prefix, "")).await;
        }
        let user = if kind == BrokerKind::Redis { "default" } else { "somebody" };
        let options = BrokerOptions::new().credentials(user, "another");
        let started = tokio::task::spawn_blocking(move || Broker::start(kind, &options)).await;
        let fault = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Backend, "start broker", "the broker did not start").because(cause)
        };
        let broker = started.map_err(|error| fault(error.into()))?.map_err(|error| fault(error.into()))?;
        let url = broker.url().replace("another", "nobody-knows");
        (self.open)(format!("{url}?prefix={prefix}")).await
    }

    async fn act(&self, action: Action) -> Verdict {
        self.slot.clone().act(action).await
    }

    async fn delete(&self, prefix: &str, what: What) -> Verdict {
        let prefix = prefix.to_owned();
        self.slot.with_broker(move |broker| delete::delete(broker, &prefix, what)).await
    }

    async fn alarm(&self, on: bool) -> Verdict {
        self.slot.spoil();
        self.slot.with_broker(move |broker| delete::alarm(broker, on)).await
    }

    async fn member(&self, prefix: &str, number: u32, work: &Work, record: &Record) -> Verdict<Box<dyn Member>> {
        let url = self.address(prefix, "");
        let task = Task { number, url, work: work.clone(), connect: self.connect, close: self.close };
        member::spawn(&task.to_text()?, record)
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// A fault of the broker as a failure of the case.
#[expect(clippy::needless_pass_by_value, reason = "it reads better in `map_err`")]
pub(super) fn broken(error: BrokerError) -> Failure {
    let source = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Failure::new("a broker that does what it is told", format!("{error}{source}"))
}
