//! `Sampler`: metrics that nobody tells of unasked.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Metric, Observer, Series, Tally, names};
use crate::{ErrorKind, PubSub, Result, driver::AdapterState, store::Outbox};

/// Takes samples of what has to be asked for: lag, the age of the oldest event in hand, whether the adapter is connected,
/// and what waits in outboxes. Everything else tells of itself.
///
/// Either [`Sampler::run`] it, or call [`Sampler::sample`] before the metrics are read.
///
/// ```
/// # async fn example(bus: pubsub_core::PubSub) {
/// use std::time::Duration;
///
/// use pubsub_core::observe::Sampler;
///
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let sampler = Sampler::new(&bus).run(Duration::from_secs(15), async { drop(stopped.await) });
/// let sampling = tokio::spawn(sampler);
/// // … until the process ends:
/// drop(stop);
/// let _ = sampling.await;
/// # }
/// ```
pub struct Sampler {
    bus: PubSub,
    outboxes: Vec<Arc<dyn Outbox>>,
    failures: Tally,
    /// What was sampled before: a series whose subscription has ended goes to zero.
    shown: Mutex<HashSet<Place>>,
}

/// A gauge of a subscription.
type Place = (&'static str, String, String);

impl Sampler {
    /// Samples of a bus: its connection, and its subscriptions.
    pub fn new(bus: &PubSub) -> Self {
        let failures = bus.observer().series(&[]).tally(&names::SAMPLING_FAILURES);
        Self { bus: bus.clone(), outboxes: Vec::new(), failures, shown: Mutex::default() }
    }

    /// Adds an outbox whose events go to this bus. Several add up.
    #[must_use]
    pub fn outbox(mut self, outbox: impl Outbox + 'static) -> Self {
        self.outboxes.push(Arc::new(outbox));
        self
    }

    /// Takes one sample of everything.
    ///
    /// Cancel safety: dropped before it resolves, some series keep the values of before.
    ///
    /// # Errors
    /// The first of those that the broker or a database gave; what could be sampled has been. What an adapter does not tell
    /// has no series, and is no error.
    pub async fn sample(&self) -> Result<()> {
        let connected = self.bus.states().current() == AdapterState::Ready;
        gauge(&self.observer().series(&[]), &names::CONNECTED, f64::from(u8::from(connected)));
        let subscriptions = self.subscriptions().await;
        let outboxes = self.backlogs().await;
        let outcome = subscriptions.and(outboxes);
        self.failures.add(u64::from(outcome.is_err()));
        outcome
    }

    /// Takes samples at intervals until `shutdown` resolves. What could not be sampled is counted, and asked again.
    pub async fn run(self, every: Duration, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let mut turn = pin!(async {
                // Counted by itself, and asked again next time.
                let _ = self.sample().await;
                tokio::time::sleep(every).await;
            });
            let over = std::future::poll_fn(|cx| match shutdown.as_mut().poll(cx) {
                std::task::Poll::Ready(()) => std::task::Poll::Ready(true),
                std::task::Poll::Pending => turn.as_mut().poll(cx).map(|()| false),
            });
            if over.await {
                return;
            }
        }
    }

    fn observer(&self) -> &Observer {
        self.bus.observer()
    }

    async fn subscriptions(&self) -> Result<()> {
        let mut values: HashMap<Place, f64> = HashMap::new();
        let mut asked = HashSet::new();
        let mut outcome = Ok(());
        for member in self.bus.samples() {
            let place = |metric: &Metric| (metric.name, member.channels.join(","), member.group.clone());
            let oldest = values.entry(place(&names::OLDEST_UNACKED)).or_default();
            *oldest = oldest.max(member.oldest.unwrap_or_default().as_secs_f64());
            *values.entry(place(&names::HELD)).or_default() += member.held as f64;
            for channel in member.channels.iter().filter(|channel| !channel.contains('*') && !member.group.is_empty()) {
                let place = (names::LAG.name, channel.clone(), member.group.clone());
                if !asked.insert(place.clone()) {
                    continue;
                }
                match self.bus.lag(channel, &member.group).await {
                    Ok(lag) => drop(values.insert(place, lag as f64)),
                    Err(error) if error.kind() == ErrorKind::Unsupported => {}
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.iter().filter(|place| !values.contains_key(*place)).cloned().collect::<Vec<_>>() {
            self.show(&gone, 0.0);
            shown.remove(&gone);
        }
        for (place, value) in values {
            self.show(&place, value);
            shown.insert(place);
        }
        outcome
    }

    fn show(&self, (name, channel, group): &Place, value: f64) {
        if let Some(metric) = names::ALL.iter().find(|metric| metric.name == *name) {
            gauge(&self.observer().series(&[("channel", channel), ("group", group)]), metric, value);
        }
    }

    async fn backlogs(&self) -> Result<()> {
        if self.outboxes.is_empty() {
            return Ok(());
        }
        let (mut depth, mut parked, mut oldest) = (0, 0, Duration::ZERO);
        for outbox in &self.outboxes {
            let backlog = outbox.backlog().await?;
            depth += backlog.depth;
            parked += backlog.parked;
            oldest = oldest.max(backlog.oldest_age);
        }
        let series = self.observer().series(&[]);
        gauge(&series, &names::OUTBOX_DEPTH, depth as f64);
        gauge(&series, &names::OUTBOX_PARKED, parked as f64);
        gauge(&series, &names::OUTBOX_OLDEST, oldest.as_secs_f64());
        Ok(())
    }
}

fn gauge(series: &Series, metric: &Metric, value: f64) {
    series.gauge(metric).set(value);
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").field("outboxes", &self.outboxes.len()).finish_non_exhaustive()
    }
}

/// A subscription as it is sampled.
pub(crate) struct Sample {
    pub(crate) channels: Vec<String>,
    /// Empty for a broadcast.
    pub(crate) group: String,
    pub(crate) oldest: Option<Duration>,
    pub(crate) held: usize,
}
