//! Metrics, where they are switched on: every series goes to the recorder that is installed when it begins.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use metrics::{Counter, Gauge, Key, KeyName, Label, Metadata, SharedString, Unit, with_recorder};
use smol_str::SmolStr;

use super::{Begun, Durations, Level, Metric, MetricKind, Observer, Series, Tally, names};
use crate::{ChannelName, ErrorKind, EventName};

/// How many channels of a handle have series of their own, and how many events of a channel: applications may name
/// channels after customers, and every series costs memory wherever it is kept.
const MOST_CHANNELS: usize = 1_000;
const MOST_EVENTS: usize = 256;
/// The label of all others.
const OTHER: &str = "(other)";
/// The label of all inboxes, whose own names are ids.
const INBOX: &str = "(inbox)";

static METADATA: Metadata<'static> = Metadata::new("pubsub", metrics::Level::INFO, Some(module_path!()));

/// The channels of a handle, as labels name them. All tables are whole at every point where a panic could come from.
#[derive(Debug, Default)]
pub(super) struct Channels {
    known: RwLock<HashSet<SmolStr>>,
    publishing: RwLock<HashMap<SmolStr, Events>>,
}

/// The events that are published on a channel.
#[derive(Debug, Default)]
struct Events {
    named: HashMap<EventName, Arc<Outcomes>>,
    other: Option<Arc<Outcomes>>,
}

/// What becomes of the events of one name on one channel.
pub(super) struct Outcomes {
    series: Series,
    published: Tally,
    confirm: Durations,
}

impl Outcomes {
    fn new(series: Series) -> Arc<Self> {
        let (published, confirm) = (series.tally(&names::PUBLISHED), series.durations(&names::PUBLISH_CONFIRM));
        Arc::new(Self { series, published, confirm })
    }

    pub(super) fn published(&self, begun: Begun) {
        self.published.one();
        self.confirm.since(begun);
    }

    #[cold]
    pub(super) fn failed(&self, kind: ErrorKind) {
        let mut series = self.series.clone();
        series.labels.push(Label::from_static_parts("kind", kind.as_str()));
        series.counter(&names::PUBLISH_FAILURES).increment(1);
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes").field("series", &self.series).finish_non_exhaustive()
    }
}

impl Channels {
    /// The label of a channel, or of a list of patterns.
    fn label(&self, channel: &str) -> SmolStr {
        if channel.starts_with("_inbox.") {
            return SmolStr::new_static(INBOX);
        }
        if let Some(label) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(channel) {
            return label.clone();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_CHANNELS && !known.contains(channel) {
            return SmolStr::new_static(OTHER);
        }
        let label = SmolStr::new(channel);
        known.insert(label.clone());
        label
    }
}

impl Observer {
    /// Metrics with the adapter's label and these, which are in the order of the metrics' own.
    pub fn series(&self, labels: &[(&'static str, &str)]) -> Series {
        let mut all = vec![Label::from_static_parts("adapter", self.system)];
        all.extend(labels.iter().map(|&(name, value)| match name {
            "channel" => Label::new(name, self.channels.label(value).to_string()),
            _ => Label::new(name, value.to_owned()),
        }));
        Series { labels: all }
    }

    /// What becomes of the events of this name on this channel.
    pub(super) fn outcomes(&self, channel: &ChannelName, event: &EventName) -> Arc<Outcomes> {
        let label = self.channels.label(channel.as_str());
        let table = &self.channels.publishing;
        let known = |events: &Events| events.named.get(event).cloned();
        if let Some(outcomes) = table.read().unwrap_or_else(PoisonError::into_inner).get(&label).and_then(known) {
            return outcomes;
        }
        let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
        let events = table.entry(label.clone()).or_default();
        let named = |name: &str| Outcomes::new(self.series(&[("channel", &label), ("event", name)]));
        if events.named.len() >= MOST_EVENTS && !events.named.contains_key(event) {
            return events.other.get_or_insert_with(|| named(OTHER)).clone();
        }
        events.named.entry(event.clone()).or_insert_with(|| named(event.as_str())).clone()
    }
}

impl Series {
    /// Every series of a metric has the labels that are documented.
    fn key(&self, metric: &Metric) -> Key {
        let labels = self.labels.iter().map(Label::key);
        debug_assert!(labels.eq(metric.labels.iter().copied()), "{}: {:?}", metric.name, self.labels);
        Key::from_parts(metric.name, self.labels.clone())
    }

    pub(crate) fn counter(&self, metric: &Metric) -> Counter {
        with_recorder(|recorder| recorder.register_counter(&self.key(metric), &METADATA))
    }

    pub(crate) fn gauge(&self, metric: &Metric) -> Gauge {
        with_recorder(|recorder| recorder.register_gauge(&self.key(metric), &METADATA))
    }

    /// A counter among them.
    pub fn tally(&self, metric: &Metric) -> Tally {
        Tally::metered(self.counter(metric))
    }

    /// A gauge among them.
    pub fn level(&self, metric: &Metric) -> Level {
        Level::metered(self.gauge(metric))
    }

    /// A histogram among them.
    pub fn durations(&self, metric: &Metric) -> Durations {
        let key = self.key(metric);
        Durations::metered(with_recorder(|recorder| recorder.register_histogram(&key, &METADATA)))
    }
}

/// Tells the recorder what the metrics are.
pub(super) fn describe() {
    with_recorder(|recorder| {
        for metric in names::ALL {
            let (name, about) = (KeyName::from_const_str(metric.name), SharedString::const_str(metric.about));
            let unit = metric.name.ends_with("_seconds").then_some(Unit::Seconds);
            match metric.kind {
                MetricKind::Counter => recorder.describe_counter(name, unit, about),
                MetricKind::Gauge => recorder.describe_gauge(name, unit, about),
                MetricKind::Histogram => recorder.describe_histogram(name, unit, about),
            }
        }
    });
}
