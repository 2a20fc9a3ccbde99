//! What the server itself measures, as Prometheus text.

use std::fmt::Write as _;

use crate::{edge::Inner, ready::readiness};

/// All figures. Channels are not labels: their number is up to clients.
pub(crate) fn text(edge: &Inner) -> String {
    let occupied = edge.hub.occupied();
    let figures = [
        ("pubsub_server_streams", "gauge", "Open event streams.", edge.hub.streams() as f64),
        ("pubsub_server_channels", "gauge", "Channels that have streams.", occupied.len() as f64),
        (
            "pubsub_server_slow_consumers_total",
            "counter",
            "Streams that were ended because they did not read.",
            edge.hub.slow_dropped() as f64,
        ),
        ("pubsub_server_calls_underway", "gauge", "Calls that run to their end.", edge.tasks.len() as f64),
        ("pubsub_server_ready", "gauge", "Whether every part works.", f64::from(u8::from(readiness(edge).0))),
        (
            "pubsub_server_uptime_seconds",
            "gauge",
            "Time since the server was built.",
            edge.started.elapsed().as_secs_f64(),
        ),
    ];
    let mut out = String::new();
    for (name, kind, help, value) in figures {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    out
}
