//! What the memory adapter can do: everything.

use std::time::Duration;

use pubsub_core::driver::{Capabilities, Feature, Support};

use super::options::MemoryOptions;

pub(super) fn capabilities(options: &MemoryOptions) -> Capabilities {
    let mut capabilities = Capabilities::new("memory").with(Support::Native, Feature::ALL);
    if !options.strict {
        capabilities = capabilities.with(Support::Unsupported, &[Feature::StrictChannels]);
    }
    capabilities.limits.max_payload = Some(options.max_payload);
    capabilities.limits.max_delay = Some(options.max_delay);
    capabilities.limits.delay_granularity = Some(Duration::from_millis(1));
    capabilities.limits.max_lease = Some(options.max_delay);
    capabilities
}
