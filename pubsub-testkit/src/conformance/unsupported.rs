//! What an adapter lacks must be refused when it is asked for: one probe per feature.

use pubsub_core::driver::Feature;

use super::{Verdict, World, failed};

/// Asks for a feature that the adapter does not declare, and expects `Unsupported`.
pub(super) async fn probe(world: &World, feature: Feature) -> Verdict {
    let _ = world;
    failed("a probe for this feature", feature.as_str())
}
