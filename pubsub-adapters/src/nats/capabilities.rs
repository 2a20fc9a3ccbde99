//! What the adapter can do, by the version of its server.

use std::time::Duration;

use pubsub_core::driver::{Capabilities, Feature, OrderKeeper, Support};

use super::connection::Shared;

/// What the adapter can do with the server that it is connected to; before that, with the oldest that it knows.
pub(super) fn capabilities(shared: &Shared) -> Capabilities {
    let version = shared.link.borrow().client().and_then(async_nats::Client::try_server_info);
    let (version, payload) = match &version {
        Some(info) => (info.version.as_str(), Some(info.max_payload)),
        None => ("0", None),
    };
    of(version, payload, shared.options.broker.strict)
}

fn of(version: &str, max_payload: Option<usize>, strict: bool) -> Capabilities {
    let at_least = |minor| super::connection::version_at_least(version, 2, minor);
    let mut capabilities = Capabilities::new("nats")
        .with(
            Support::Native,
            &[
                Feature::DurableGroup,
                Feature::EphemeralBroadcast,
                Feature::LosslessBroadcast,
                Feature::Inbox,
                Feature::ReplayById,
                Feature::ReplayByTime,
                Feature::Backlog,
                Feature::Seek,
                Feature::Nack,
                Feature::DelayedNack,
                Feature::LeaseExtension,
                Feature::ManualLease,
                Feature::DeliveryCount,
                Feature::PublishDedup,
                Feature::WildcardDurable,
                Feature::WildcardEphemeral,
                Feature::Tombstone,
            ],
        )
        .with(
            Support::Emulated,
            &[
                Feature::DeadLetter,
                Feature::KeyOrder,
                Feature::TotalOrder,
                Feature::SlowDropOldest,
                Feature::SlowDisconnect,
                Feature::Ttl,
            ],
        );
    if at_least(11) {
        capabilities = capabilities.with(Support::Native, &[Feature::Ttl]);
    }
    if at_least(12) {
        capabilities = capabilities.with(Support::Native, &[Feature::ScheduledPublish]);
    }
    if strict {
        capabilities = capabilities.with(Support::Native, &[Feature::StrictChannels]);
    }
    capabilities.order_keeper = OrderKeeper::Library;
    capabilities.limits.max_payload = max_payload;
    capabilities.limits.delay_granularity = Some(Duration::from_millis(1));
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_newer_servers_bring_is_declared_for_them_only() {
        for (version, ttl, schedules) in [
            ("2.9.0", Support::Emulated, Support::Unsupported),
            ("2.10.22", Support::Emulated, Support::Unsupported),
            ("2.11.0", Support::Native, Support::Unsupported),
            ("2.12.0", Support::Native, Support::Native),
            ("2.15.1", Support::Native, Support::Native),
        ] {
            let capabilities = of(version, Some(1_048_576), false);
            assert_eq!(capabilities.support(Feature::Ttl), ttl, "{version}");
            assert_eq!(capabilities.support(Feature::ScheduledPublish), schedules, "{version}");
            assert!(!capabilities.has(Feature::StrictChannels) && of(version, None, true).has(Feature::StrictChannels));
        }
    }
}
