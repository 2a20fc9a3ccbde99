//! The adapter for NATS keeps its promises when the broker, the network or a consumer's process fails.

use pubsub_adapters::adapter;
use pubsub_testkit::{broker::BrokerKind, faults::FaultHarness};

/// What is open.
const GAPS: &[(&str, &str)] = &[
    ("S2", "a shard may move to another member before a failed event of it is due: one inversion in some runs"),
    ("S3", "a shard may move to another member before a failed event of it is due: one inversion in some runs"),
    ("X10", "the server may forget a confirmed acknowledgement when it is killed: the event comes again"),
];

pubsub_testkit::fault_tests!(
    FaultHarness::new(BrokerKind::Nats, |url| async move { adapter(&url.parse()?).await }).gaps(GAPS)
);
