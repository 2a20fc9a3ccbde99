//! What the adapter can do.

use std::time::Duration;

use ::redis::Value;
use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{Capabilities, Feature, OrderKeeper, Support},
};

use super::{SCHEME, options::RedisOptions};

/// The longest lease, and the longest delay.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn capabilities(options: &RedisOptions) -> Capabilities {
    use Feature::{
        Backlog, DeadLetter, DelayedNack, DeliveryCount, DurableGroup, EphemeralBroadcast, Inbox, KeyOrder,
        LeaseExtension, LosslessBroadcast, ManualLease, Nack, PublishDedup, ReplayById, ReplayByTime, ScheduledPublish,
        Seek, SlowDisconnect, SlowDropOldest, StrictChannels, Tombstone, TotalOrder, WildcardEphemeral,
    };
    let mut capabilities = Capabilities::new(SCHEME)
        .with(
            Support::Native,
            &[
                DurableGroup,
                EphemeralBroadcast,
                ReplayById,
                ReplayByTime,
                Backlog,
                Seek,
                DeliveryCount,
                WildcardEphemeral,
                Tombstone,
            ],
        )
        .with(
            Support::Emulated,
            &[
                LosslessBroadcast,
                Nack,
                DelayedNack,
                LeaseExtension,
                ManualLease,
                DeadLetter,
                ScheduledPublish,
                KeyOrder,
                TotalOrder,
                PublishDedup,
                SlowDropOldest,
                SlowDisconnect,
                StrictChannels,
            ],
        )
        .with(Support::Weak, &[Inbox]);
    capabilities.order_keeper = OrderKeeper::Library;
    let limits = &mut capabilities.limits;
    limits.max_payload = Some(options.max_payload);
    limits.max_delay = Some(LONGEST);
    limits.delay_granularity = Some(Duration::from_millis(100));
    limits.max_lease = Some(LONGEST);
    limits.max_dedup_window = Some(LONGEST);
    capabilities
}

/// The oldest server whose streams tell how many events were ever added to them, and how many of these a group has read.
/// Without that, nothing that retention has removed could be told. Newer ones add nothing that is used.
const OLDEST: (u32, u32) = (7, 0);

/// Holds the answer to `INFO server`, of one server or of each node, against what is used.
///
/// # Errors
/// `Unsupported` for a server that is too old. One that does not say is taken.
pub(super) fn check_version(options: &RedisOptions, info: &Value) -> Result<()> {
    match info {
        Value::Map(nodes) => nodes.iter().try_for_each(|(_, info)| check_version(options, info)),
        Value::Array(nodes) => nodes.iter().try_for_each(|info| check_version(options, info)),
        Value::VerbatimString { text, .. } => check_text(options, text),
        Value::BulkString(text) => check_text(options, &String::from_utf8_lossy(text)),
        _ => Ok(()),
    }
}

fn check_text(options: &RedisOptions, info: &str) -> Result<()> {
    let Some(version) = info.lines().find_map(|line| line.strip_prefix("redis_version:")) else { return Ok(()) };
    let mut numbers = version.trim().split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), minor) if (major, minor.unwrap_or(0)) < OLDEST => {
            let (place, version) = (options.places(), version.trim());
            let text = format!("{place}: the server is Redis {version}, the adapter needs 7.0 or later");
            Err(Error::new(ErrorKind::Unsupported, "connect", text))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_named() {
        let text = |version: &str| Value::BulkString(format!("# Server\r\nredis_version:{version}\r\n").into_bytes());
        let of = |info| check_version(&RedisOptions::default(), &info);
        for version in ["7.0.0", "7.4.1", "8.2.0", "10.1", "255.255.255", "7", "odd", ""] {
            of(text(version)).unwrap();
        }
        for version in ["6.2.14", "5.0.7", "6"] {
            let error = of(text(version)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains(version) && error.message().contains("7.0"), "{error}");
        }
        let node = |name: &str, version| (Value::BulkString(name.as_bytes().to_vec()), text(version));
        of(Value::Map(vec![node("a:1", "7.0.1"), node("b:1", "7.2.0")])).unwrap();
        of(Value::Map(vec![node("a:1", "7.0.1"), node("b:1", "6.2.0")])).unwrap_err();
        of(Value::Nil).unwrap();
    }
}
