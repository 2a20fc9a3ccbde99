//! A TCP proxy that injects faults between a client and a server, for tests of what a client does when the network
//! fails.
//!
//! ```
//! use std::time::Duration;
//! use pubsub_testkit::proxy::FaultProxy;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! # let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
//! let proxy = FaultProxy::start(server).await?;
//! // … connect the client to proxy.address() …
//! proxy.stall(); // connections stay open, nothing passes
//! proxy.heal().await?;
//! proxy.cut().await?; // every connection is reset
//! # Ok(())
//! # }
//! ```

mod acceptor;
mod connection;
mod counters;
mod faults;
mod pump;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use counters::Counters;
pub use faults::Direction;

use acceptor::{Acceptor, Order};
use counters::Tally;
use faults::{Faults, Flow};

use crate::ports::free_address;

/// A proxy on a loopback port of its own. It owns one task, which owns the connections; all of them end when the proxy
/// is closed or dropped. At most 1,024 connections are open at a time, each with one buffer of 16 KiB per direction.
///
/// Faults that concern the flow of bytes (`stall`, `blackhole`, `delay`) hold for open and for new connections until
/// [`heal`](Self::heal). Every method takes effect before it returns, except that a chunk whose forwarding has begun
/// may still arrive.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    tally: Arc<Tally>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy in front of `upstream`.
    ///
    /// # Errors
    /// When no port could be bound.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let proxy = Self::bind().await?;
        proxy.set_upstream(upstream);
        Ok(proxy)
    }

    /// Starts a proxy that has no server yet and resets every connection until [`set_upstream`](Self::set_upstream):
    /// for a server that must be told the proxy's address when it starts, as Kafka must.
    ///
    /// # Errors
    /// When no port could be bound.
    pub async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind(free_address()?).await?;
        let address = listener.local_addr()?;
        let (faults, watched) = watch::channel(Faults::default());
        let (orders, received) = mpsc::channel(1);
        let tally = Arc::new(Tally::default());
        let acceptor = Acceptor::new(address, listener, received, watched, Arc::clone(&tally));
        let task = tokio::spawn(acceptor.run());
        Ok(Self { address, faults, tally, orders, task })
    }

    /// Sends new connections to this server.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.faults.send_modify(|faults| faults.upstream = Some(upstream));
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all open connections (RST on both sides). New ones are accepted.
    ///
    /// # Errors
    /// When the proxy's task is gone.
    pub async fn cut(&self) -> io::Result<()> {
        self.order(Order::Cut).await
    }

    /// Closes the port: new connections are refused, open ones go on.
    ///
    /// # Errors
    /// When the proxy's task is gone.
    pub async fn refuse(&self) -> io::Result<()> {
        self.order(Order::Refuse).await
    }

    /// Opens the same port again after [`refuse`](Self::refuse).
    ///
    /// # Errors
    /// When the port could not be bound again.
    pub async fn accept(&self) -> io::Result<()> {
        self.order(Order::Accept).await
    }

    /// Stops reading and forwarding. Connections stay open; senders feel back-pressure. Nothing is lost.
    pub fn stall(&self) {
        self.faults.send_modify(|faults| faults.flow = Flow::Stall);
    }

    /// Reads and discards everything, the end of a stream too: each side believes that its bytes arrive. A connection
    /// that lost bytes is reset when the proxy heals, for no network delivers a stream with a hole.
    pub fn blackhole(&self) {
        self.faults.send_modify(|faults| faults.flow = Flow::Blackhole);
    }

    /// Ends one direction of the connections that are open now: the receiver sees the end of the stream, what the
    /// sender still sends is discarded, the other direction goes on.
    pub fn half_close(&self, direction: Direction) {
        self.faults.send_modify(|faults| faults.half_closes[direction as usize] += 1);
    }

    /// Holds every chunk (at most 16 KiB) back for this long, in each direction. It bounds throughput too: one chunk
    /// per direction is under way at a time.
    pub fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Ends every fault: bytes flow at once, the port is open.
    ///
    /// # Errors
    /// When the port could not be bound again.
    pub async fn heal(&self) -> io::Result<()> {
        self.faults.send_modify(Faults::heal);
        self.accept().await
    }

    /// What has passed so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.tally.counters()
    }

    /// Ends the proxy and all its connections, and waits until they have ended.
    pub async fn close(mut self) {
        self.task.abort();
        // An aborted task ends with an error by design.
        (&mut self.task).await.ok();
    }

    async fn order(&self, order: fn(oneshot::Sender<io::Result<()>>) -> Order) -> io::Result<()> {
        let (done, outcome) = oneshot::channel();
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the proxy's task has ended");
        self.orders.send(order(done)).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
