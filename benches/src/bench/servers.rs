//! The cases of the brokers.

#[cfg(any(feature = "redis", feature = "kafka", feature = "nats", feature = "rabbitmq"))]
mod broker;

use crate::{args::Options, case::Case};

/// The environment variable that holds a broker's address.
pub(crate) fn variable(broker: &str) -> &'static str {
    match broker {
        "redis" => "PUBSUB_TEST_REDIS_URL",
        "kafka" => "PUBSUB_TEST_KAFKA_URL",
        "nats" => "PUBSUB_TEST_NATS_URL",
        _ => "PUBSUB_TEST_AMQP_URL",
    }
}

/// The address of a broker, if it is built in and the environment tells it.
pub(crate) fn url(broker: &str) -> Result<String, String> {
    let built = match broker {
        "redis" => cfg!(feature = "redis"),
        "kafka" => cfg!(feature = "kafka"),
        "nats" => cfg!(feature = "nats"),
        "rabbitmq" => cfg!(feature = "rabbitmq"),
        _ => return Err(format!("no broker is named {broker}")),
    };
    if !built {
        return Err(format!("{broker}: not built in, build with the feature `{broker}`"));
    }
    let variable = variable(broker);
    std::env::var(variable).map_err(|_| format!("{broker}: {variable} names no server"))
}

/// A name that nothing else on the broker has.
pub(crate) fn fresh() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// All cases of a broker.
pub(crate) fn cases(broker: &'static str, options: &Options) -> Result<Vec<Case>, String> {
    let url = url(broker)?;
    match broker {
        #[cfg(feature = "redis")]
        "redis" => Ok(broker::cases::<pubsub_benches::limit::redis::Redis>(broker, &url, options)),
        #[cfg(feature = "kafka")]
        "kafka" => Ok(broker::cases::<pubsub_benches::limit::kafka::Kafka>(broker, &url, options)),
        #[cfg(feature = "nats")]
        "nats" => Ok(broker::cases::<pubsub_benches::limit::nats::Nats>(broker, &url, options)),
        #[cfg(feature = "rabbitmq")]
        "rabbitmq" => Ok(broker::cases::<pubsub_benches::limit::rabbitmq::RabbitMq>(broker, &url, options)),
        _ => {
            let _ = (url, options);
            Err(format!("no broker is named {broker}"))
        }
    }
}
