//! A broker that only pretends, over the memory adapter: it falls silent, dies, loses its data and comes back at will, and
//! its adapter has one flaw on purpose. It proves that the cases of the suite find what they look for.

mod adapter;
mod flaw;
mod leases;
mod member;
mod server;
mod source;

pub use flaw::Flaw;

use std::{fmt, sync::Arc, time::Duration};

use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{Adapter, async_trait},
};
use tokio::time::sleep;

use super::{Action, Member, Record, Rig, What, Work};
use crate::{
    broker::BrokerKind,
    conformance::{Failure, Verdict},
};
use adapter::SimulatedAdapter;
use server::Server;

/// A rig without a broker.
pub struct Simulated(Arc<Server>);

impl Simulated {
    /// A broker whose adapters have this flaw, or none.
    pub fn new(flaw: Option<Flaw>) -> Arc<Self> {
        Arc::new(Self(Arc::new(Server::new(flaw))))
    }
}

#[async_trait]
impl Rig for Simulated {
    fn kind(&self) -> BrokerKind {
        // Cases about what only some brokers have are about Redis, too.
        BrokerKind::Redis
    }

    async fn open(&self, prefix: &str, more: &str) -> Result<Arc<dyn Adapter>> {
        Ok(SimulatedAdapter::open(self.0.clone(), prefix, more).await?)
    }

    async fn open_uninvited(&self, _: &str) -> Result<Arc<dyn Adapter>> {
        if self.0.has(Flaw::RetriesBadCredentials) {
            sleep(Duration::from_secs(3)).await;
            return Err(Error::new(ErrorKind::Unavailable, "connect", "the broker does not let us in"));
        }
        Err(Error::new(ErrorKind::Auth, "connect", "the broker does not know the password"))
    }

    async fn act(&self, action: Action) -> Verdict {
        self.0.act(action);
        Ok(())
    }

    async fn delete(&self, _: &str, what: What) -> Verdict {
        self.0.delete(what);
        Ok(())
    }

    async fn alarm(&self, on: bool) -> Verdict {
        self.0.alarm(on);
        Ok(())
    }

    async fn member(&self, prefix: &str, number: u32, work: &Work, record: &Record) -> Verdict<Box<dyn Member>> {
        let adapter = SimulatedAdapter::open(self.0.clone(), prefix, "").await.map_err(Failure::from)?;
        Ok(member::start(self.0.clone(), adapter, work.clone(), record.notebook(number)))
    }
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated").finish_non_exhaustive()
    }
}
