//! Commands to Redis.

use std::net::SocketAddr;

use super::{WITHIN, failed};
use crate::broker::{BrokerError, HandshakeError, wire::Wire};

/// An answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A status, a number as text, or a text.
    Text(String),
    /// Nothing.
    Nil,
    /// Several.
    List(Vec<Self>),
}

impl Answer {
    /// All texts within, in order.
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::Nil => Vec::new(),
            Self::List(list) => list.iter().flat_map(Self::texts).collect(),
        }
    }
}

/// Runs one command; an error that the server answers with is an error.
pub(crate) fn command(server: SocketAddr, words: &[&str]) -> Result<Answer, BrokerError> {
    let failed = failed(&format!("run the command {}", words.join(" ")));
    let mut wire = Wire::connect(server, WITHIN).map_err(&failed)?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    wire.send(request.as_bytes()).map_err(&failed)?;
    read(&mut wire, 0).map_err(&failed)
}

fn read(wire: &mut Wire, depth: usize) -> Result<Answer, HandshakeError> {
    let line = wire.receive_line()?;
    let unexpected = || HandshakeError::Answer(line.clone());
    let (kind, rest) = line.split_at_checked(1).ok_or_else(unexpected)?;
    let number = || rest.parse::<i64>().map_err(|_| unexpected());
    match kind {
        "+" | ":" => Ok(Answer::Text(rest.to_owned())),
        "$" => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Answer::Nil) };
            let text = wire.receive(length)?;
            wire.receive(2)?;
            Ok(Answer::Text(String::from_utf8_lossy(&text).into_owned()))
        }
        "*" if depth < 8 => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Answer::Nil) };
            (0..length).map(|_| read(wire, depth + 1)).collect::<Result<_, _>>().map(Answer::List)
        }
        _ => Err(unexpected()),
    }
}
