//! From an address to an adapter.

use std::sync::Arc;

use pubsub_core::{Error, ErrorKind, PubSub, PubSubBuilder, Result, driver::Adapter};

use crate::url::BrokerUrl;

/// Every scheme, and the feature that brings its adapter.
const SCHEMES: &[(&str, &str)] = &[
    ("memory", "memory"),
    ("redis", "redis"),
    ("rediss", "redis"),
    ("redis+sentinel", "redis"),
    ("redis+cluster", "redis"),
    ("kafka", "kafka"),
    ("nats", "nats"),
    ("tls", "nats"),
    ("amqp", "rabbitmq"),
    ("amqps", "rabbitmq"),
];

/// Connects to the broker that the address names: `memory:` for a private bus inside the process, `memory://name` for
/// one that the process shares.
///
/// What waits (groups, timeouts, closing, publishing into a full channel) needs a tokio runtime whose time is enabled:
/// `#[tokio::main]` has it, a runtime built by hand needs `enable_time` or `enable_all`. Outside of any runtime such calls
/// answer `Invalid`; tokio does not let the library find out whether a runtime has its time.
///
/// # Errors
/// `Invalid` for an address or option that does not parse, `Unsupported` for a scheme whose feature is not built in,
/// with the feature's name; then whatever the broker answers.
pub async fn connect(url: &str) -> Result<PubSub> {
    Ok(builder(url).await?.build())
}

/// As [`connect`], to add a catalog, policies and options before the handle is made.
///
/// # Errors
/// As [`connect`].
pub async fn builder(url: &str) -> Result<PubSubBuilder> {
    Ok(PubSub::builder(adapter(&BrokerUrl::parse(url)?).await?))
}

/// The adapter that an address names.
///
/// # Errors
/// As [`connect`].
pub async fn adapter(url: &BrokerUrl) -> Result<Arc<dyn Adapter>> {
    match url.scheme() {
        #[cfg(feature = "memory")]
        "memory" => Ok(crate::memory::Memory::open(crate::memory::MemoryOptions::from_url(url)?)?),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+sentinel" | "redis+cluster" => {
            Ok(crate::redis::Redis::open(crate::redis::RedisOptions::from_url(url)?).await?)
        }
        #[cfg(feature = "kafka")]
        "kafka" => Ok(crate::kafka::Kafka::open(crate::kafka::KafkaOptions::from_url(url)?).await?),
        #[cfg(feature = "nats")]
        "nats" | "tls" | "wss" => Ok(crate::nats::Nats::open(crate::nats::NatsOptions::from_url(url)?).await?),
        #[cfg(feature = "rabbitmq")]
        "amqp" | "amqps" => {
            Ok(crate::rabbitmq::RabbitMq::open(crate::rabbitmq::RabbitMqOptions::from_url(url)?).await?)
        }
        scheme => Err(unknown(scheme)),
    }
}

fn unknown(scheme: &str) -> Error {
    match SCHEMES.iter().find(|(known, _)| *known == scheme) {
        Some((_, feature)) => {
            let text =
                format!("the adapter for `{scheme}:` is not built in: turn on the feature `{feature}` of pubsub-kit");
            Error::new(ErrorKind::Unsupported, "connect", text)
        }
        None => {
            let known: Vec<_> = SCHEMES.iter().map(|(scheme, _)| *scheme).collect();
            let text = format!("field `scheme` is unknown: `{scheme}`; known: {}", known.join(", "));
            Error::new(ErrorKind::Invalid, "connect", text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_built_in_names_its_feature() {
        for (scheme, feature) in SCHEMES {
            let error = unknown(scheme);
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains(&format!("`{feature}`")), "{error}");
        }
        assert_eq!(connect("ftp://localhost").await.unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[tokio::test]
    async fn options_of_memory_are_checked() {
        for (url, field) in [
            ("memory:?capacity=0", "capacity"),
            ("memory:?capacity=x", "capacity"),
            ("memory:?capcity=1", "capcity"),
            ("memory://", "host"),
            ("memory://?capacity=1", "host"),
            ("memory://a,b", "host"),
            ("memory://a/b", "path"),
            ("memory://user@a", "user"),
            ("memory:?prefix=a%20b", "prefix"),
        ] {
            let error = connect(url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
            assert!(error.message().contains(&format!("`{field}`")), "{url}: {error}");
        }
        assert!(connect("memory://name?capacity=16&strict=true&prefix=test").await.is_ok());
    }
}
