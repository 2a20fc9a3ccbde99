//! Publishing connections: kept alive, one request in flight on each.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{Side, process::Process};

/// A connection for requests.
pub(crate) struct Poster {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Poster {
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(4_096) }
    }

    /// Sends a request, and gives the body of its answer.
    pub(crate) async fn post(&mut self, request: &[u8]) -> Result<&[u8], String> {
        self.stream.write_all(request).await.map_err(|error| error.to_string())?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("a publishing connection was closed".to_owned());
            }
            let Some(head) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head]).unwrap();
            if !text.starts_with("HTTP/1.1 200") {
                return Err(String::from_utf8_lossy(&self.buffer).into_owned());
            }
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if self.buffer.len() >= head + 4 + length.parse::<usize>().unwrap() {
                return Ok(&self.buffer[head + 4..]);
            }
        }
    }

    /// Publishes, and gives the place of the event.
    pub(crate) async fn place(&mut self, side: Side) -> Result<String, String> {
        let body = self.post(&side.publish()).await?;
        let answer: serde_json::Value = serde_json::from_slice(body).unwrap();
        Ok(answer["cursor"].as_str().ok_or("an event has no place")?.to_owned())
    }
}

/// Requests per second over so many connections, where nobody listens.
///
/// # Errors
/// A server that does not start, a connection that breaks, an answer that is no success.
pub async fn requests(side: Side, send: bool, connections: usize, time: Duration) -> Result<[f64; 1], String> {
    let server = Process::start(side)?;
    let mut posters = JoinSet::new();
    for _ in 0..connections {
        let (address, request) = (server.address.clone(), if send { side.send() } else { side.publish() });
        posters.spawn(async move {
            let mut poster = Poster::open(&address).await;
            let warm = Instant::now() + time / 4;
            while Instant::now() < warm {
                poster.post(&request).await?;
            }
            let (started, mut count) = (Instant::now(), 0_u64);
            while started.elapsed() < time {
                poster.post(&request).await?;
                count += 1;
            }
            Ok(count as f64 / started.elapsed().as_secs_f64())
        });
    }
    posters.join_all().await.into_iter().sum::<Result<f64, String>>().map(|rate| [rate])
}
