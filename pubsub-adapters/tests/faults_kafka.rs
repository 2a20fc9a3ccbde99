//! The adapter for Kafka keeps its promises when the broker, the network or a consumer's process fails.

use pubsub_adapters::adapter;
use pubsub_testkit::{
    broker::BrokerKind,
    faults::{FaultBounds, FaultHarness},
};

/// What is open.
const GAPS: &[(&str, &str)] =
    &[("X1-kill", "on a busy machine, two kills take longer to recover from than the suite allows")];

// Offsets are committed every second: what was acknowledged since then comes again when the server is gone.
pubsub_testkit::fault_tests!(
    FaultHarness::new(BrokerKind::Kafka, |url| async move { adapter(&url.parse()?).await })
        .bounds(FaultBounds::default().unflushed(1_500))
        .gaps(GAPS)
);
