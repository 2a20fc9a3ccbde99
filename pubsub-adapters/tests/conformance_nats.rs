//! The adapter for a real Nats server passes all of the suite.

use std::process::ExitCode;

use pubsub_adapters::adapter;
use pubsub_testkit::{
    broker::BrokerKind,
    conformance::{Bounds, Minimum, ServerHarness},
};

fn main() -> ExitCode {
    let open = |url: String| async move { adapter(&url.parse()?).await };
    ServerHarness::new(BrokerKind::Nats, open).minimum(Minimum::new()).bounds(Bounds::default()).main()
}
