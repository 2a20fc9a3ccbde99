//! Requests to JetStream's API.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{WITHIN, failed};
use crate::broker::{BrokerError, BrokerOptions, Endpoint, handshake::nats};

/// Asks the server's API; an error that it answers with is an error.
pub(crate) fn request(server: SocketAddr, subject: &str, body: &str) -> Result<Value, BrokerError> {
    let failed = failed(&format!("ask NATS for {subject}"));
    let (mut session, _) = nats::connect(&Endpoint::of(server, &BrokerOptions::new()), WITHIN).map_err(&failed)?;
    let answer = session.request(subject, body).map_err(&failed)?;
    if answer["error"].is_null() {
        return Ok(answer);
    }
    Err(BrokerError::io(format!("ask NATS for {subject}"))(std::io::Error::other(answer["error"].to_string())))
}

/// The names of all streams with `part` in their name.
pub(crate) fn streams(server: SocketAddr, part: &str) -> Result<Vec<String>, BrokerError> {
    Ok(matching(&request(server, "$JS.API.STREAM.NAMES", "")?["streams"], part))
}

/// The names of all consumers of a stream.
pub(crate) fn consumers(server: SocketAddr, stream: &str) -> Result<Vec<String>, BrokerError> {
    Ok(matching(&request(server, &format!("$JS.API.CONSUMER.NAMES.{stream}"), "")?["consumers"], ""))
}

/// Takes all the room that there is, and gives it back by deleting what took it.
pub(crate) fn fill(server: SocketAddr, full: bool) -> Result<(), BrokerError> {
    const FILLER: &str = "filler";
    if !full {
        return request(server, &format!("$JS.API.STREAM.DELETE.{FILLER}"), "").map(drop);
    }
    let stream = json!({ "name": FILLER, "subjects": [FILLER], "storage": "file" }).to_string();
    request(server, &format!("$JS.API.STREAM.CREATE.{FILLER}"), &stream)?;
    let failed = failed("fill NATS");
    let (mut session, _) = nats::connect(&Endpoint::of(server, &BrokerOptions::new()), WITHIN * 6).map_err(&failed)?;
    // Smaller and smaller, until not even an empty event has room.
    for size in [900_000, 30_000, 1_000, 0] {
        let filling = "x".repeat(size);
        while session.request(FILLER, &filling).map_err(&failed)?["error"].is_null() {}
    }
    Ok(())
}

fn matching(names: &Value, part: &str) -> Vec<String> {
    let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| name.contains(part)).map(str::to_owned).collect()
}
