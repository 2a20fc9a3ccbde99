//! The adapter for RabbitMQ keeps its promises when the broker, the network or a consumer's process fails.

use pubsub_adapters::adapter;
use pubsub_testkit::{broker::BrokerKind, faults::FaultHarness};

/// What is open.
const GAPS: &[(&str, &str)] = &[
    ("X1", "on a busy machine, members that found a group while the broker restarts do not start in time"),
    ("X1-kill", "on a busy machine, members that found a group while the broker restarts do not start in time"),
];

pubsub_testkit::fault_tests!(
    FaultHarness::new(BrokerKind::RabbitMq, |url| async move { adapter(&url.parse()?).await }).gaps(GAPS)
);
