//! Requests to JetStream's API.

use std::net::SocketAddr;

use serde_json::Value;

use super::{WITHIN, failed};
use crate::broker::{BrokerError, Endpoint, handshake::nats};

/// Asks the server's API; an error that it answers with is an error.
pub(crate) fn request(server: SocketAddr, subject: &str, body: &str) -> Result<Value, BrokerError> {
    let failed = failed(&format!("ask NATS for {subject}"));
    let (mut session, _) = nats::connect(&Endpoint::at(server), WITHIN).map_err(&failed)?;
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

fn matching(names: &Value, part: &str) -> Vec<String> {
    let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| name.contains(part)).map(str::to_owned).collect()
}
