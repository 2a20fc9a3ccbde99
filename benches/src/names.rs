//! The names of the cases that need a broker or a database. `cargo xtask bench` includes this file to know what to build and start.

/// The brokers, by the names of their features.
pub const BROKERS: [&str; 4] = ["redis", "kafka", "nats", "rabbitmq"];

/// What is measured of every broker, with the size of the events; a case is `<broker>/<operation>/<size>`.
pub const OPERATIONS: [(&str, usize); 20] = [
    ("publish", 256),
    ("publish", 4096),
    ("publish-all", 256),
    ("publish-all", 4096),
    ("publish-plain", 256),
    ("publish-raw", 256),
    ("publish-raw", 4096),
    ("consume", 256),
    ("consume", 4096),
    ("consume-wide", 256),
    ("consume-wide", 4096),
    ("router", 256),
    ("e2e", 256),
    ("e2e", 4096),
    ("publish-one", 256),
    ("latency-p50", 256),
    ("latency-p99", 256),
    ("request", 256),
    ("request-one", 256),
    ("request-p99", 256),
];

/// The databases that an outbox is measured on.
pub const DATABASES: [&str; 2] = ["sqlite", "postgres"];

/// What is measured of each of them.
pub const OUTBOX: [&str; 3] = ["relay", "lone-p50", "lone-p99"];

/// How many streams of the web edge one channel goes to.
pub const STREAMS: [usize; 4] = [1, 100, 1_000, 10_000];

/// What is measured of each of them.
pub const FAN_OUT: [&str; 5] = ["fan-out", "cpu", "latency-p50", "latency-p99", "idle"];

/// What is measured of the web edge beside that, with the number of connections.
pub const EDGE: [(&str, usize); 6] =
    [("trpc", 1_000), ("trpc-cpu", 1_000), ("publish", 1), ("publish", 64), ("send", 64), ("resume", 1_000)];

/// The cases of the web edge.
pub fn edge() -> impl Iterator<Item = String> {
    let fan_out = STREAMS.into_iter().flat_map(|streams| FAN_OUT.map(|operation| case("sse", operation, streams)));
    fan_out.chain(EDGE.into_iter().map(|(operation, connections)| case("sse", operation, connections)))
}

/// The name of a case.
pub fn case(broker: &str, operation: &str, size: usize) -> String {
    format!("{broker}/{operation}/{size}")
}

/// Whether the case is one of those asked for; without any words all are.
pub fn is_wanted(case: &str, words: &[String]) -> bool {
    words.is_empty() || words.iter().any(|word| case.contains(word.as_str()))
}
