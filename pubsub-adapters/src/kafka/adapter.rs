//! The adapter as a whole.

use std::sync::Arc;

use pubsub_core::{Error, ErrorKind, Result, driver::Adapter};

use crate::url::BrokerUrl;

/// The Kafka adapter.
#[derive(Debug)]
pub struct Kafka;

impl Kafka {
    /// Opens the adapter that an address names.
    ///
    /// # Errors
    /// `Unsupported`.
    pub async fn open(_: &BrokerUrl) -> Result<Arc<dyn Adapter>> {
        Err(Error::new(ErrorKind::Unsupported, "connect", "not yet"))
    }
}
