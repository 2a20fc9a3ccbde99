use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Direction;

/// What a proxy has seen since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes forwarded to the server.
    pub to_server: u64,
    /// Bytes forwarded to the client.
    pub to_client: u64,
    /// Bytes discarded by `blackhole` and `half_close`.
    pub discarded: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    connections: AtomicU64,
    open: AtomicU64,
    forwarded: [AtomicU64; 2],
    discarded: AtomicU64,
}

impl Tally {
    pub(super) fn forwarded(&self, direction: Direction, bytes: usize) {
        self.forwarded[direction as usize].fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn discarded(&self, bytes: usize) {
        self.discarded.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            to_server: self.forwarded[Direction::ToServer as usize].load(Relaxed),
            to_client: self.forwarded[Direction::ToClient as usize].load(Relaxed),
            discarded: self.discarded.load(Relaxed),
        }
    }
}

/// Counts one connection as open for as long as it lives.
#[derive(Debug)]
pub(super) struct OpenConnection(pub(super) Arc<Tally>);

impl OpenConnection {
    pub(super) fn new(tally: &Arc<Tally>) -> Self {
        tally.connections.fetch_add(1, Relaxed);
        tally.open.fetch_add(1, Relaxed);
        Self(Arc::clone(tally))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
