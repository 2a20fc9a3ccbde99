//! The addresses that the README shows are read, each by the adapter that it names.

#![cfg(all(feature = "redis", feature = "kafka", feature = "nats", feature = "rabbitmq", feature = "full"))]

use pubsub::{BrokerUrl, kafka::KafkaOptions, memory::MemoryOptions, nats::NatsOptions, rabbitmq::RabbitMqOptions};

const README: &str = include_str!("../README.md");

/// What stands between backticks and has the form of an address with something behind its scheme.
fn addresses() -> impl Iterator<Item = &'static str> {
    README.split('`').skip(1).step_by(2).filter(|text| {
        let host = text.split_once("://").map(|(_, rest)| rest).or_else(|| Some(text.split_once("memory:")?.1));
        host.is_some_and(|rest| !rest.is_empty()) && !text.contains(char::is_whitespace)
    })
}

#[test]
fn every_address_in_the_readme_is_read() {
    let mut read = 0;
    for address in addresses() {
        let url: BrokerUrl = address.parse().unwrap_or_else(|error| panic!("`{address}`: {error}"));
        let result = match url.scheme() {
            "memory" => MemoryOptions::from_url(&url).map(drop),
            "kafka" => KafkaOptions::from_url(&url).map(drop),
            "nats" | "tls" => NatsOptions::from_url(&url).map(drop),
            "amqp" | "amqps" => RabbitMqOptions::from_url(&url).map(drop),
            scheme if scheme.starts_with("redis") => pubsub::redis::RedisOptions::from_url(&url).map(drop),
            scheme => panic!("`{address}`: the scheme {scheme} is nobody's"),
        };
        result.unwrap_or_else(|error| panic!("`{address}`: {error}"));
        read += 1;
    }
    assert!(read >= 6, "only {read} addresses found");
}
