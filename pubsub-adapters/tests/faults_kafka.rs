//! The adapter for Kafka keeps its promises when the broker, the network or a consumer's process fails.

use pubsub_adapters::adapter;
use pubsub_testkit::{
    broker::BrokerKind,
    faults::{FaultBounds, FaultHarness},
};

// Offsets are committed every second, sooner when there are many: what was acknowledged since then comes again when the
// server is gone.
pubsub_testkit::fault_tests!(
    FaultHarness::new(BrokerKind::Kafka, |url| async move { adapter(&url.parse()?).await })
        .bounds(FaultBounds::default().unflushed(400))
);
