use std::net::SocketAddr;
use std::time::Duration;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer = 0,
    /// From the server to the client.
    ToClient = 1,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flow {
    #[default]
    Pass,
    Stall,
    Blackhole,
}

/// What the connections do at present. The counts of half-closes tell a connection which came after it was opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) upstream: Option<SocketAddr>,
    pub(super) flow: Flow,
    pub(super) delay: Duration,
    pub(super) half_closes: [u64; 2],
}

impl Faults {
    pub(super) fn heal(&mut self) {
        self.flow = Flow::Pass;
        self.delay = Duration::ZERO;
    }
}
