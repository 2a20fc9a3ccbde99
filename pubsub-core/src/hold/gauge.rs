//! `HoldGauge`: what metrics read of a hold.

use std::{fmt, sync::Arc, time::Duration};

use super::shared::Shared;

/// A view on the events that a [`KeyHold`](super::KeyHold) has unsettled. Cheap to clone, and read at any time.
#[derive(Clone)]
pub struct HoldGauge(Arc<Shared>);

impl HoldGauge {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// For how long the oldest unsettled event has been here: the metric `ack_window_age`; `None` if all is settled.
    pub fn age(&self) -> Option<Duration> {
        let oldest = self.0.table().oldest()?;
        Some(self.0.clock().elapsed(oldest))
    }

    /// How many events are unsettled, in users' hands and held together; never above the window.
    pub fn unsettled(&self) -> usize {
        self.0.table().len()
    }

    /// How many of them are held: failed, or behind one of their key that failed.
    pub fn held(&self) -> usize {
        self.0.table().waiting()
    }

    /// Whether the window is full, so that the source is not asked for more.
    pub fn is_full(&self) -> bool {
        self.0.table().is_full()
    }

    /// How many settlements came after their delivery had been taken back, and were ignored.
    pub fn stale_settles(&self) -> u64 {
        self.0.table().stale
    }
}

impl fmt::Debug for HoldGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("HoldGauge");
        out.field("unsettled", &self.unsettled()).field("held", &self.held()).field("age", &self.age()).finish()
    }
}
