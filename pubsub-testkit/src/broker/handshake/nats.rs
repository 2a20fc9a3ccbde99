//! `INFO`, `CONNECT`, `PING` → `PONG`, then a request to the JetStream API, which answers last of all.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Endpoint, HandshakeError, Opened, ServerInfo, Session, unexpected};
use crate::broker::wire::Wire;

pub(in crate::broker) struct Nats(Wire);

const INBOX: &str = "_INBOX.handshake";

pub(super) fn open(endpoint: &Endpoint, within: Duration) -> Opened {
    let (session, info) = connect(endpoint, within)?;
    Ok((Box::new(session), info))
}

pub(in crate::broker) fn connect(endpoint: &Endpoint, within: Duration) -> Result<(Nats, ServerInfo), HandshakeError> {
    let mut wire = Wire::connect(endpoint.address, within)?;
    let greeting = wire.receive_line()?;
    let Some(info) = greeting.strip_prefix("INFO ") else {
        return unexpected(greeting);
    };
    let version = parsed(info.as_bytes())?["version"].as_str().map(str::to_owned);
    // With no_responders the server says at once that nobody serves JetStream, instead of staying silent.
    let mut options = json!({
        "verbose": false, "pedantic": false, "tls_required": false, "lang": "rust", "version": "1",
        "name": "pubsub-testkit", "protocol": 1, "headers": true, "no_responders": true,
    });
    if let Some(user) = &endpoint.user {
        options["user"] = json!(user);
        options["pass"] = json!(endpoint.password);
    }
    wire.send(format!("CONNECT {options}\r\nPING\r\n").as_bytes())?;
    let answer = wire.receive_line()?;
    if answer != "PONG" {
        return unexpected(answer);
    }
    wire.send(format!("SUB {INBOX} 1\r\n").as_bytes())?;
    let mut session = Nats(wire);
    let account = session.request("$JS.API.INFO", "")?;
    match account["streams"].as_u64() {
        Some(streams) => Ok((session, ServerInfo { version, proof: format!("JetStream with {streams} streams") })),
        None => unexpected(account),
    }
}

/// Asks a server that speaks TLS alone, at its monitoring port: its health includes that of JetStream.
pub(in crate::broker) fn monitored(address: SocketAddr, within: Duration) -> Result<ServerInfo, HandshakeError> {
    let health = get(address, "/healthz", within)?;
    if health["status"] != "ok" {
        return unexpected(health);
    }
    let server = get(address, "/varz", within)?;
    if !server["jetstream"]["config"].is_object() {
        return unexpected("a server without JetStream");
    }
    let version = server["version"].as_str().map(str::to_owned);
    Ok(ServerInfo { version, proof: "healthy with JetStream".into() })
}

fn get(address: SocketAddr, path: &str, within: Duration) -> Result<Value, HandshakeError> {
    let mut wire = Wire::connect(address, within)?;
    wire.send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let answer = String::from_utf8_lossy(&wire.receive_to_end()?).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.lines().next().is_some_and(|status| status.contains(" 200 ")) {
        parsed(body.as_bytes())
    } else {
        unexpected(answer)
    }
}

impl Nats {
    pub(in crate::broker) fn request(&mut self, subject: &str, body: &str) -> Result<Value, HandshakeError> {
        self.0.send(format!("PUB {subject} {INBOX} {}\r\n{body}\r\n", body.len()).as_bytes())?;
        loop {
            let line = self.0.receive_line()?;
            let words: Vec<&str> = line.split(' ').collect();
            let length = words.last().and_then(|length| length.parse::<usize>().ok());
            match (words.first(), length) {
                (Some(&"MSG"), Some(length)) => {
                    let body = self.0.receive(length)?;
                    self.0.receive(2)?;
                    return parsed(&body);
                }
                (Some(&"HMSG"), Some(length)) => {
                    let status = self.0.receive(length)?;
                    return unexpected(String::from_utf8_lossy(&status).trim());
                }
                (Some(&"PING"), _) => self.0.send(b"PONG\r\n")?,
                (Some(&("INFO" | "+OK")), _) => {}
                _ => return unexpected(line),
            }
        }
    }
}

impl Session for Nats {
    fn leave_mark(&mut self, name: &str) -> Result<(), HandshakeError> {
        let stream = json!({ "name": name, "subjects": [name], "storage": "file" });
        let answer = self.request(&format!("$JS.API.STREAM.CREATE.{name}"), &stream.to_string())?;
        if answer["error"].is_null() { Ok(()) } else { unexpected(answer) }
    }

    fn has_mark(&mut self, name: &str) -> Result<bool, HandshakeError> {
        const STREAM_NOT_FOUND: u64 = 10059;
        let answer = self.request(&format!("$JS.API.STREAM.INFO.{name}"), "")?;
        match answer["error"]["err_code"].as_u64() {
            None if answer["config"].is_object() => Ok(true),
            Some(STREAM_NOT_FOUND) => Ok(false),
            _ => unexpected(answer),
        }
    }
}

fn parsed(json: &[u8]) -> Result<Value, HandshakeError> {
    serde_json::from_slice(json).map_err(|fault| HandshakeError::Answer(format!("not JSON: {fault}")))
}
