//! What the suites over all four brokers share: which brokers are built in, one server for all cases of a broker, a time
//! limit for each case.
#![allow(dead_code, reason = "no suite uses all of it")]

#[cfg(all(feature = "redis", feature = "nats", feature = "kafka", feature = "rabbitmq"))]
pub(crate) mod plain;

use std::{
    error::Error as StdError,
    fmt::{self, Display},
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{Adapter, BoxFuture},
};
use pubsub_testkit::broker::{BrokerError, BrokerKind, find};
use tokio::{runtime::Runtime, time::timeout};

/// No case takes longer unless it hangs.
const CASE: Duration = Duration::from_secs(60);

/// Why a case fails, as it is shown.
pub(crate) type Outcome = std::result::Result<(), Box<dyn StdError + Send + Sync>>;

/// What a case ends with on a broker that lacks what it is about: it is shown as ignored, not as passed.
#[derive(Debug)]
pub(crate) struct NothingToAsk(pub(crate) &'static str);

impl Display for NothingToAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for NothingToAsk {}

/// A name, and what is asserted of a broker's server.
pub(crate) type Case<S> = (&'static str, fn(Arc<S>) -> BoxFuture<'static, Outcome>);

/// The brokers whose adapters are built in.
pub(crate) fn kinds() -> impl Iterator<Item = BrokerKind> {
    let built = [
        (BrokerKind::Redis, cfg!(feature = "redis")),
        (BrokerKind::Nats, cfg!(feature = "nats")),
        (BrokerKind::Kafka, cfg!(feature = "kafka")),
        (BrokerKind::RabbitMq, cfg!(feature = "rabbitmq")),
    ];
    built.into_iter().filter(|(_, built)| *built).map(|(kind, _)| kind)
}

/// The `main` of a suite: every case on every broker, whose server is started before the first of its cases.
pub(crate) fn run<S: Send + Sync + 'static>(
    start: fn(BrokerKind) -> std::result::Result<S, BrokerError>,
    cases: &[Case<S>],
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Cases wait far more than they work.
    arguments.test_threads.get_or_insert(8);
    let mut trials = Vec::new();
    for kind in kinds() {
        let server: Arc<OnceLock<std::result::Result<Arc<S>, BrokerError>>> = Arc::default();
        for &(name, case) in cases {
            let server = server.clone();
            trials.push(Trial::ignorable_test(format!("{kind}::{name}"), move || {
                match server.get_or_init(|| start(kind).map(Arc::new)) {
                    Ok(server) => limited(case(server.clone())),
                    Err(missing @ BrokerError::Missing { .. }) if !find::is_required(kind) => {
                        Ok(Completion::ignored_with(missing))
                    }
                    Err(fault) => Err(Failed::from(chain(fault))),
                }
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn limited(case: BoxFuture<'static, Outcome>) -> std::result::Result<Completion, Failed> {
    let runtime = Runtime::new()?;
    let outcome = runtime.block_on(async { timeout(CASE, case).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(Ok(())) => Ok(Completion::Completed),
        Ok(Err(fault)) => match fault.downcast_ref() {
            Some(NothingToAsk(why)) => Ok(Completion::ignored_with(why)),
            None => Err(Failed::from(chain(&*fault))),
        },
        Err(_) => Err(Failed::from(format!("still running after {CASE:?}"))),
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(fault: &(dyn StdError + 'static)) -> String {
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// Fails with `what` unless it holds.
pub(crate) fn check(holds: bool, what: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_string().into()) }
}

/// Opens the adapter that an address names.
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Adapter>> {
    pubsub_adapters::adapter(&url.parse()?).await
}

/// What an attempt ended with, and after how long.
pub(crate) struct Attempt {
    pub(crate) error: Error,
    pub(crate) took: Duration,
}

impl Attempt {
    /// Opens an adapter, which must fail.
    pub(crate) async fn to_open(url: &str) -> std::result::Result<Self, Box<dyn StdError + Send + Sync>> {
        let begun = Instant::now();
        match open(url).await {
            Err(error) => Ok(Self { error, took: begun.elapsed() }),
            Ok(adapter) => {
                adapter.close(Duration::from_secs(2)).await.ok();
                Err("it was opened".into())
            }
        }
    }

    /// Holds the error against the kinds that it may have.
    pub(crate) fn is(&self, kinds: &[ErrorKind]) -> Outcome {
        let found = self.error.kind();
        check(kinds.contains(&found), format_args!("{found} instead of one of {kinds:?}: {}", chain(&self.error)))
    }

    /// Holds the time against a bound.
    pub(crate) fn within(&self, bound: Duration) -> Outcome {
        check(self.took <= bound, format_args!("took {:?}, more than {bound:?}: {}", self.took, chain(&self.error)))
    }

    /// Looks for one of these words, in small letters, in the error and its causes.
    pub(crate) fn says(&self, words: &[&str]) -> Outcome {
        let text = chain(&self.error).to_lowercase();
        check(
            words.iter().any(|word| text.contains(word)),
            format_args!("the error says none of {words:?}: {}", chain(&self.error)),
        )
    }
}

/// An address with more options.
pub(crate) fn with(url: &str, options: &str) -> String {
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}{options}")
}
