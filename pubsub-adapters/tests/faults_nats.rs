//! The adapter for NATS keeps its promises when the broker, the network or a consumer's process fails.

use std::time::Duration;

use pubsub_adapters::adapter;
use pubsub_testkit::{
    broker::BrokerKind,
    faults::{FaultBounds, FaultHarness},
};

pubsub_testkit::fault_tests!(
    FaultHarness::new(BrokerKind::Nats, |url| async move { adapter(&url.parse()?).await }).bounds(
        // The server writes acknowledgements to its files ten times a second, and answers them before.
        FaultBounds::default().unwritten(Duration::from_millis(500))
    )
);
