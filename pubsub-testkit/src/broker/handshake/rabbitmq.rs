//! AMQP 0-9-1: protocol header, `Start`, `Tune`, `Open`, until `OpenOk` lets the user into the virtual host.

use std::time::Duration;

use super::{Endpoint, HandshakeError, Opened, ServerInfo, Session, unexpected};
use crate::broker::wire::{Fields, Wire};

type Method = (u16, u16);
const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const QUEUE_DECLARE: Method = (50, 10);
const QUEUE_DECLARE_OK: Method = (50, 11);
const NOT_FOUND: u16 = 404;
const PASSIVE: u8 = 1;
const DURABLE: u8 = 2;

struct RabbitMq(Wire);

pub(super) fn open(endpoint: &Endpoint, within: Duration) -> Opened {
    let mut session = RabbitMq(Wire::connect(endpoint.address, within)?);
    session.0.send(b"AMQP\x00\x00\x09\x01")?;
    let version = version(&session.expect(START)?)?;

    let user = endpoint.user.as_deref().unwrap_or("guest");
    let password = endpoint.password.as_deref().unwrap_or("guest");
    let credentials = format!("\0{user}\0{password}");
    let mut start_ok = vec![0; 4]; // no client properties
    put_short(&mut start_ok, "PLAIN");
    start_ok.extend((credentials.len() as u32).to_be_bytes());
    start_ok.extend(credentials.as_bytes());
    put_short(&mut start_ok, "en_US");
    session.send(0, START_OK, &start_ok)?;

    let mut tuned = session.expect(TUNE)?;
    let heartbeat = tuned.len().saturating_sub(2);
    tuned.truncate(heartbeat);
    tuned.extend([0, 0]); // no heartbeats
    session.send(0, TUNE_OK, &tuned)?;

    let host = if endpoint.path.is_empty() { "/" } else { &endpoint.path };
    let mut open = Vec::new();
    put_short(&mut open, host);
    open.extend([0, 0]); // two reserved fields
    session.send(0, OPEN, &open)?;
    session.expect(OPEN_OK)?;
    Ok((Box::new(session), ServerInfo { version, proof: format!("virtual host {host} opened for {user}") }))
}

impl RabbitMq {
    fn send(&mut self, channel: u16, (class, method): Method, arguments: &[u8]) -> Result<(), HandshakeError> {
        let mut frame = vec![1];
        frame.extend(channel.to_be_bytes());
        frame.extend((arguments.len() as u32 + 4).to_be_bytes());
        frame.extend(class.to_be_bytes());
        frame.extend(method.to_be_bytes());
        frame.extend(arguments);
        frame.push(0xCE);
        self.0.send(&frame)
    }

    fn receive(&mut self) -> Result<(Method, Vec<u8>), HandshakeError> {
        let header = self.0.receive(7)?;
        if header.starts_with(b"AMQP") {
            return unexpected("another protocol version");
        }
        let length = Fields(&header[3..]).u32()? as usize;
        let payload = self.0.receive(length)?;
        if header[0] != 1 || self.0.receive(1)? != [0xCE] {
            return unexpected("a frame that is not a method");
        }
        let mut fields = Fields(&payload);
        let method = (fields.u16()?, fields.u16()?);
        Ok((method, fields.0.to_vec()))
    }

    fn expect(&mut self, wanted: Method) -> Result<Vec<u8>, HandshakeError> {
        match self.receive()? {
            (method, arguments) if method == wanted => Ok(arguments),
            (method, arguments) => {
                unexpected(format!("{method:?} instead of {wanted:?}: {}", String::from_utf8_lossy(&arguments)))
            }
        }
    }

    fn declare(&mut self, name: &str, flags: u8) -> Result<bool, HandshakeError> {
        self.send(1, CHANNEL_OPEN, &[0])?;
        self.expect(CHANNEL_OPEN_OK)?;
        let mut declare = vec![0, 0];
        put_short(&mut declare, name);
        declare.push(flags);
        declare.extend([0; 4]); // no arguments
        self.send(1, QUEUE_DECLARE, &declare)?;
        match self.receive()? {
            (QUEUE_DECLARE_OK, _) => Ok(true),
            (CHANNEL_CLOSE, reason) if Fields(&reason).u16()? == NOT_FOUND => Ok(false),
            (method, reason) => unexpected(format!("{method:?}: {}", String::from_utf8_lossy(&reason))),
        }
    }
}

impl Session for RabbitMq {
    fn leave_mark(&mut self, name: &str) -> Result<(), HandshakeError> {
        if self.declare(name, DURABLE)? { Ok(()) } else { unexpected("not found") }
    }

    fn has_mark(&mut self, name: &str) -> Result<bool, HandshakeError> {
        self.declare(name, PASSIVE)
    }
}

/// Finds `version` in the server properties of `Start`.
fn version(start: &[u8]) -> Result<Option<String>, HandshakeError> {
    let mut fields = Fields(start);
    fields.u16()?; // protocol version
    let length = fields.u32()? as usize;
    let mut table = Fields(fields.bytes(length)?);
    while !table.0.is_empty() {
        let length = table.u8()?;
        let key = table.text(length.into())?;
        match table.u8()? {
            b'S' | b'F' => {
                let length = table.u32()? as usize;
                let value = table.text(length)?;
                if key == "version" {
                    return Ok(Some(value));
                }
            }
            b't' => {
                table.u8()?;
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn put_short(arguments: &mut Vec<u8>, text: &str) {
    arguments.push(text.len() as u8);
    arguments.extend(text.as_bytes());
}
