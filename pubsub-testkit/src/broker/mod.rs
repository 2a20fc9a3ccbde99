//! Real brokers as child processes: started on free loopback ports in a scratch folder, ready by handshake, and
//! stopped, killed, paused, restarted and wiped at will. Everything here blocks; nothing needs an async runtime.
//!
//! ```no_run
//! use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut redis = Broker::start(BrokerKind::Redis, &BrokerOptions::new().fsync_always())?;
//! println!("{} answers: {}", redis.url(), redis.info());
//! redis.kill()?; // kill -9
//! redis.restart()?; // same port, same data
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "faults")]
pub(crate) mod admin;
mod certificates;
mod detached;
mod error;
pub mod find;
mod handshake;
mod kafka;
mod kind;
mod launch;
mod leash;
mod nats;
mod options;
pub(crate) mod process;
mod rabbitmq;
mod redis;
mod running;
mod security;
mod wire;

pub use certificates::Certificates;
pub use detached::DetachedBroker;
pub use error::{BrokerError, HandshakeError};
pub use handshake::{Endpoint, ServerInfo, handshake, has_mark, leave_mark};
pub use kafka::kafka_program;
pub use kind::BrokerKind;
pub use options::BrokerOptions;
pub use running::Broker;
pub use security::{Listener, Security};
