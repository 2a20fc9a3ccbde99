//! What a case has: a server, a corner of it, and both kinds of clients.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use libtest_mimic::Failed;
use pubsub_core::{Message, PubSub, StartPosition};
use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions, find};

use crate::{
    client::{self, Client},
    order::{CHANNEL, GROUP},
};

/// Within that time everything comes that comes.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// Code of a case.
pub(crate) type Case = fn(Stage) -> Verdict;

/// How a case ends.
pub(crate) type Verdict = Pin<Box<dyn Future<Output = Result<(), Failed>> + Send>>;

/// The servers that were started, one of each kind.
#[derive(Default)]
pub(crate) struct Servers(Mutex<HashMap<BrokerKind, Arc<Mutex<Option<Broker>>>>>);

impl Servers {
    /// The address of a server, which is started if the environment names none.
    fn url(&self, kind: BrokerKind) -> Result<String, Failed> {
        if let Some(url) = find::url_from_environment(kind) {
            return Ok(url);
        }
        let broker = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default().clone();
        let mut broker = broker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broker) = &*broker {
            return Ok(broker.url());
        }
        Ok(broker.insert(Broker::start(kind, &BrokerOptions::new())?).url())
    }

    pub(crate) fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Why a broker's cases cannot run here.
pub(crate) fn is_possible(kind: BrokerKind) -> Result<(), String> {
    if find::url_from_environment(kind).is_none() {
        Broker::is_installed(kind).map_err(|fault| fault.to_string())?;
    }
    client::is_here(kind)
}

pub(crate) fn run(servers: &Servers, kind: BrokerKind, case: Case) -> Result<(), Failed> {
    is_possible(kind)?;
    let url = servers.url(kind)?;
    let prefix = unique();
    let stage = Stage { client: client::open(kind, &url, &prefix).into(), kind, url, prefix };
    // Plain clients block the thread that runs the case; ours go on in the others.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let outcome = tokio::time::timeout(CASE_LIMIT, case(stage)).await;
        outcome.map_err(|_| format!("the case did not end within {CASE_LIMIT:?}"))?
    })
}

/// A prefix that no other case has, in this run or another.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("i{:x}-{}", now.as_millis(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// One case's corner.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) kind: BrokerKind,
    pub(crate) client: Arc<dyn Client>,
    url: String,
    prefix: String,
}

impl Stage {
    /// A handle of ours. `options` go into its address.
    pub(crate) async fn bus(&self, options: &str) -> Result<PubSub, Failed> {
        let mark = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{mark}prefix={}{options}", self.url, self.prefix);
        Ok(pubsub_adapters::connect(&url).await?)
    }
}

/// The first dead letter of the group, as soon as it is written.
pub(crate) async fn dead_letter(bus: &PubSub) -> Result<Arc<Message>, Failed> {
    let begun = Instant::now();
    loop {
        let letters = bus.dead_letters(CHANNEL, GROUP, StartPosition::Earliest).await?;
        if let Some(letter) = letters.events.into_iter().next() {
            return Ok(letter.message);
        }
        if begun.elapsed() > LIMIT {
            return Err("no dead letter came".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fails with what came instead.
#[allow(clippy::needless_pass_by_value, reason = "what is compared is mostly made for it")]
pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(what: &str, came: T, expected: T) -> Result<(), Failed> {
    if came == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}, came {came:?}").into()) }
}
