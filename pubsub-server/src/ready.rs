//! Whether the server can do its work: part by part.

use std::sync::Arc;

use pubsub_core::driver::AdapterState;
use serde_json::{Map, Value, json};

use crate::edge::Inner;

/// A part of the application that has to work.
pub(crate) type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The application's parts by name.
pub(crate) type Checks = Vec<(String, Check)>;

/// Whether everything that is needed works, and how each part is.
pub(crate) fn readiness(edge: &Inner) -> (bool, Value) {
    let mut parts = Map::new();
    let mut all = true;
    let mut note = |name: String, fault: Option<String>| {
        all &= fault.is_none();
        let part = match fault {
            None => json!({ "ready": true }),
            Some(why) => json!({ "ready": false, "reason": why }),
        };
        parts.insert(name, part);
    };
    note("server".to_owned(), edge.hub.is_draining().then(|| "it is being drained".to_owned()));
    let adapter = match edge.bus.states().current() {
        AdapterState::Ready => None,
        AdapterState::Connecting => Some("not connected yet".to_owned()),
        AdapterState::Closed => Some("closed".to_owned()),
        // What the adapter says of its broker is for logs.
        _ => Some("the connection is being restored".to_owned()),
    };
    note("adapter".to_owned(), adapter);
    // By number: who may not read a channel is not to learn its name here.
    let occupied = edge.hub.occupied();
    let down = occupied.iter().filter(|(_, occupied)| !occupied.is_up).count();
    let interrupted = || format!("{down} of {} channels are interrupted", occupied.len());
    note("streams".to_owned(), (down > 0).then(interrupted));
    for status in edge.actions.iter().flat_map(pubsub_router::Running::status) {
        let down = (!status.is_ready()).then(|| "its subscription does not work now".to_owned());
        note(format!("handlers {} on {}", status.group, status.channel), down);
    }
    for (name, check) in &edge.checks {
        note(name.clone(), check().err());
    }
    (all, json!({ "ready": all, "parts": parts }))
}
