//! Whether the server takes sessions: an open port does not say so, as it is open while the server still recovers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Protocol 3.0.
const PROTOCOL: i32 = 3 << 16;
const PARAMETERS: &[u8] = b"user\0postgres\0database\0postgres\0\0";

pub(super) fn takes_sessions(address: SocketAddr, within: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    let length = i32::try_from(8 + PARAMETERS.len()).map_err(io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend(PROTOCOL.to_be_bytes());
    message.extend(PARAMETERS);
    stream.write_all(&message)?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    match answer[0] {
        // It goes on to who we are.
        b'R' => Ok(()),
        other => Err(io::Error::other(format!("it answered `{}`", char::from(other)))),
    }
}
