//! Free loopback ports that stay free.
//!
//! A port from the kernel's ephemeral range (bind to port 0) is unfit for a server that is killed and started again
//! on the same port: while it is down, any outgoing connection of the machine may be given that port, and a client
//! that reconnects in a loop can even connect to itself. So a candidate is drawn from below that range and the
//! kernel is asked whether it is free.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Ports this process has handed out; a server may not have bound its port yet when the next one is drawn.
static HANDED_OUT: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

const LOWEST: u16 = 10_000;
const ATTEMPTS: usize = 500;

/// A loopback address whose port is free now and is not handed out again by this process.
///
/// # Errors
/// When no free port was found.
pub fn free_address() -> io::Result<SocketAddr> {
    let highest = ephemeral_start().max(LOWEST + 1_000);
    let span = u64::from(highest - LOWEST);
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let handed_out = handed_out.get_or_insert_with(HashSet::new);
    for _ in 0..ATTEMPTS {
        let offset = u16::try_from(random() % span).unwrap_or_default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, LOWEST + offset));
        if !handed_out.contains(&address.port()) && TcpListener::bind(address).is_ok() {
            handed_out.insert(address.port());
            return Ok(address);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free loopback port was found"))
}

fn ephemeral_start() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

/// The standard library's hasher keys are its only source of randomness.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_lie_below_the_ephemeral_range() -> io::Result<()> {
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let port = free_address()?.port();
            assert!((LOWEST..ephemeral_start()).contains(&port), "{port} is in the ephemeral range");
            assert!(seen.insert(port), "{port} was handed out twice");
        }
        Ok(())
    }
}
