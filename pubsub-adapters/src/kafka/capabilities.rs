//! What the adapter can do, and what the broker says of itself.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{Capabilities, Feature, OrderKeeper, Support},
};
use rdkafka::{
    admin::{AdminOptions, ResourceSpecifier},
    consumer::Consumer,
};

use super::{
    connection::{ANSWER, Link},
    error::error,
    options::KafkaOptions,
    position::SCHEME,
    publisher::{max_payload, within},
};

/// The oldest version whose groups and idempotent producers are as they have to be.
const OLDEST: (u32, u32) = (2, 5);

/// What a broker has said of itself.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// It was asked, and has answered.
    pub(super) known: AtomicBool,
    /// The largest record that it takes; 0 if it did not say.
    largest: AtomicUsize,
}

impl Link {
    /// Asks the broker for its limits and its version. Who may not ask works with the defaults.
    ///
    /// # Errors
    /// `Unsupported` for a broker that is too old, `Unavailable`, `Timeout`.
    pub(super) async fn learn(&self) -> Result<()> {
        let asked = self.ask("connect", |explorer| {
            let answer = explorer.fetch_metadata(Some("__consumer_offsets"), ANSWER);
            let answer = answer.map_err(|cause| error("connect", cause))?;
            Ok(answer.brokers().first().map(|broker| broker.id()))
        });
        let Some(node) = asked.await? else { return Ok(()) };
        let (admin, patience) = (self.admin(), AdminOptions::new().request_timeout(Some(ANSWER)));
        let answer = admin.describe_configs(&[ResourceSpecifier::Broker(node)], &patience).await;
        let found = answer.map_err(|cause| error("connect", cause))?.into_iter().next();
        self.server.known.store(true, Ordering::SeqCst);
        let Some(Ok(found)) = found else { return Ok(()) };
        let value = |name: &str| found.get(name).and_then(|entry| entry.value.as_deref());
        let largest = value("message.max.bytes").and_then(|text| text.parse().ok()).unwrap_or(0);
        self.server.largest.store(largest, Ordering::SeqCst);
        value("inter.broker.protocol.version").map_or(Ok(()), check_version)
    }
}

/// Brokers before version 4 say which version they speak among themselves; later ones are not too old.
fn check_version(text: &str) -> Result<()> {
    let mut numbers = text.split(|other: char| !other.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => {
            let text =
                format!("the broker is of version {major}.{minor}, {}.{} is the oldest that works", OLDEST.0, OLDEST.1);
            Err(Error::new(ErrorKind::Unsupported, "connect", text))
        }
        _ => Ok(()),
    }
}

pub(super) fn capabilities(options: &KafkaOptions, server: &Server) -> Capabilities {
    let mut capabilities = Capabilities::new(SCHEME)
        .with(
            Support::Native,
            &[
                Feature::DurableGroup,
                Feature::ReplayById,
                Feature::ReplayByTime,
                Feature::Backlog,
                Feature::Seek,
                Feature::KeyOrder,
                Feature::TotalOrder,
                Feature::Tombstone,
            ],
        )
        .with(
            Support::Emulated,
            &[
                Feature::EphemeralBroadcast,
                Feature::LosslessBroadcast,
                Feature::Nack,
                Feature::DelayedNack,
                Feature::LeaseExtension,
                Feature::DeadLetter,
                Feature::WildcardDurable,
                Feature::WildcardEphemeral,
                Feature::SlowDropOldest,
                Feature::SlowDisconnect,
            ],
        )
        .with(Support::Weak, &[Feature::DeliveryCount, Feature::Inbox, Feature::ScheduledPublish]);
    if options.broker.strict {
        capabilities = capabilities.with(Support::Native, &[Feature::StrictChannels]);
    }
    capabilities.order_keeper = OrderKeeper::Library;
    let ours = max_payload(options.property_value("message.max.bytes"));
    let theirs = match server.largest.load(Ordering::SeqCst) {
        0 => ours,
        largest => within(largest),
    };
    capabilities.limits.max_payload = Some(ours.min(theirs));
    capabilities.limits.delay_granularity = Some(Duration::from_millis(1));
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_limit_holds() {
        let limit = |largest, options: &KafkaOptions| {
            let server = Server { largest: AtomicUsize::new(largest), ..Server::default() };
            capabilities(options, &server).limits.max_payload
        };
        let options = KafkaOptions::new();
        assert_eq!(limit(0, &options), Some(1_000_000));
        assert_eq!(limit(1_048_588, &options), Some(1_000_000));
        assert_eq!(limit(540_000, &options), Some(500_000));
        assert_eq!(limit(50_000, &options), Some(25_000));
        let options = options.property("message.max.bytes", "5000000");
        assert_eq!(limit(1_048_588, &options), Some(1_008_588));
    }

    #[test]
    fn brokers_that_are_too_old_are_named() {
        for (text, old) in [("2.4-IV1", true), ("0.10.2", true), ("2.5-IV0", false), ("3.9", false), ("new", false)] {
            let checked = check_version(text);
            assert_eq!(checked.is_err(), old, "{text}: {checked:?}");
        }
        assert!(check_version("2.4-IV1").unwrap_err().message().contains("version 2.4, 2.5"));
    }
}
