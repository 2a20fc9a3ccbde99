//! RESP: `PING` is answered by `PONG` only once the data set is loaded; `INFO server` names the version.

use std::time::Duration;

use super::{Endpoint, HandshakeError, Opened, ServerInfo, Session, unexpected};
use crate::broker::wire::Wire;

struct Redis(Wire);

pub(super) fn open(endpoint: &Endpoint, within: Duration) -> Opened {
    let mut session = Redis(Wire::connect(endpoint.address, within)?);
    if let Some(password) = endpoint.password.as_deref().filter(|password| !password.is_empty()) {
        match endpoint.user.as_deref().filter(|user| !user.is_empty()) {
            Some(user) => session.expect(&["AUTH", user, password], "+OK")?,
            None => session.expect(&["AUTH", password], "+OK")?,
        }
    }
    session.expect(&["PING"], "+PONG")?;
    let info = session.bulk(&["INFO", "server"])?.unwrap_or_default();
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).map(str::to_owned);
    if version.is_none() {
        return unexpected("INFO without redis_version");
    }
    Ok((Box::new(session), ServerInfo { version, proof: "PONG".into() }))
}

impl Redis {
    fn send(&mut self, command: &[&str]) -> Result<(), HandshakeError> {
        let mut request = format!("*{}\r\n", command.len());
        for part in command {
            request += &format!("${}\r\n{part}\r\n", part.len());
        }
        self.0.send(request.as_bytes())
    }

    fn expect(&mut self, command: &[&str], answer: &str) -> Result<(), HandshakeError> {
        self.send(command)?;
        let line = self.0.receive_line()?;
        if line == answer { Ok(()) } else { unexpected(line) }
    }

    fn bulk(&mut self, command: &[&str]) -> Result<Option<String>, HandshakeError> {
        self.send(command)?;
        let line = self.0.receive_line()?;
        let Some(length) = line.strip_prefix('$').and_then(|length| length.parse::<i64>().ok()) else {
            return unexpected(line);
        };
        let Ok(length) = usize::try_from(length) else {
            return Ok(None);
        };
        let text = self.0.receive(length)?;
        self.0.receive(2)?;
        Ok(Some(String::from_utf8_lossy(&text).into_owned()))
    }
}

impl Session for Redis {
    fn leave_mark(&mut self, name: &str) -> Result<(), HandshakeError> {
        self.expect(&["SET", name, "here"], "+OK")
    }

    fn has_mark(&mut self, name: &str) -> Result<bool, HandshakeError> {
        Ok(self.bulk(&["GET", name])?.is_some())
    }
}
