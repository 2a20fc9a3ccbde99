//! A blocking TCP connection whose every step is held to one deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::HandshakeError;

/// No answer of a handshake is longer; a length field beyond it is garbage.
const LONGEST_ANSWER: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    deadline: Instant,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr, within: Duration) -> Result<Self, HandshakeError> {
        let deadline = Instant::now() + within;
        let stream = TcpStream::connect_timeout(&address, within.max(Duration::from_millis(1)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, deadline })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        Ok(self.stream.write_all(bytes)?)
    }

    pub(crate) fn receive(&mut self, length: usize) -> Result<Vec<u8>, HandshakeError> {
        if length > LONGEST_ANSWER {
            return Err(HandshakeError::Answer(format!("a length of {length} bytes")));
        }
        let mut answer = vec![0; length];
        let mut filled = 0;
        while filled < length {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(&mut answer[filled..]) {
                Ok(0) => {
                    return Err(HandshakeError::Connection(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(count) => filled += count,
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(answer)
    }

    /// A line without its CR LF. Reads byte by byte: nothing beyond the line may be taken.
    pub(crate) fn receive_line(&mut self) -> Result<String, HandshakeError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() > LONGEST_ANSWER {
                return Err(HandshakeError::Answer("a line without end".into()));
            }
            line.extend(self.receive(1)?);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|_| HandshakeError::Answer("a line that is not UTF-8".into()))
    }

    /// All that comes until the other side ends.
    pub(crate) fn receive_to_end(&mut self) -> Result<Vec<u8>, HandshakeError> {
        let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
        while answer.len() <= LONGEST_ANSWER {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(answer),
                Ok(count) => answer.extend(&chunk[..count]),
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(HandshakeError::Answer("an answer without end".into()))
    }

    fn left(&self) -> Result<Duration, HandshakeError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(HandshakeError::Timeout) } else { Ok(left) }
    }
}

/// Reads big-endian fields from an answer; every field that is not there is an unexpected answer, not a panic.
#[derive(Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], HandshakeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| HandshakeError::Answer(format!("{} bytes where {length} were announced", self.0.len())))?;
        self.0 = rest;
        Ok(taken)
    }

    fn unsigned(&mut self, length: usize) -> Result<u64, HandshakeError> {
        Ok(self.bytes(length)?.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, HandshakeError> {
        Ok(self.unsigned(1)? as u8)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, HandshakeError> {
        Ok(self.unsigned(2)? as u16)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, HandshakeError> {
        Ok(self.unsigned(4)? as u32)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, HandshakeError> {
        Ok(self.u16()? as i16)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, HandshakeError> {
        Ok(self.u32()? as i32)
    }

    pub(crate) fn text(&mut self, length: usize) -> Result<String, HandshakeError> {
        Ok(String::from_utf8_lossy(self.bytes(length)?).into_owned())
    }
}
