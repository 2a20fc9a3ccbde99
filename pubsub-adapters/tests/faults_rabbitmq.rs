//! The adapter for RabbitMQ keeps its promises when the broker, the network or a consumer's process fails.

use pubsub_adapters::adapter;
use pubsub_testkit::{broker::BrokerKind, faults::FaultHarness};

pubsub_testkit::fault_tests!(FaultHarness::new(
    BrokerKind::RabbitMq,
    |url| async move { adapter(&url.parse()?).await }
));
