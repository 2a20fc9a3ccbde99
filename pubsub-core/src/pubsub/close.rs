//! Closing in two phases: no more in, then everything underway out, within one deadline.

use std::{sync::atomic::Ordering, time::Duration};

use super::PubSub;
use crate::{Clock, Error, ErrorKind, Result, clock::LONGEST_WAIT};

impl PubSub {
    /// Closes the bus for all handles to it: refuses publishes, ends every subscription's stream, waits until the
    /// events in users' hands are settled, then closes the adapter. What is not settled in time stays unsettled, and
    /// is delivered again to whoever subscribes next; whoever settles it later settles nothing. Closing twice does nothing more.
    ///
    /// # Errors
    /// `Timeout` if events were still in users' hands after `deadline`, or the adapter left something behind; the bus
    /// is closed nevertheless. `Invalid` outside of a tokio runtime, with nothing closed.
    pub async fn close(&self, deadline: Duration) -> Result<()> {
        // The deadline is one of real time, whatever clock the events follow.
        Clock::system().check_timers("close")?;
        let deadline = deadline.min(LONGEST_WAIT);
        let inner = &self.inner;
        let first = !inner.closed.swap(true, Ordering::AcqRel);
        let started = tokio::time::Instant::now();
        inner.drain.start();
        for consumer in inner.consumers.alive() {
            consumer.wake();
        }
        let settled = tokio::time::timeout(deadline, self.settled()).await;
        if first {
            inner.dead_letters.stop();
        }
        // Some time is always left for the adapter, or a stuck handler would also cost the flush of what is done.
        let remaining = deadline.saturating_sub(started.elapsed()).max(Duration::from_millis(200));
        inner.adapter.close(remaining).await?;
        settled.map_err(|_| {
            let left = inner.consumers.outstanding();
            let message = format!("{left} events were not settled within {deadline:?}; they stay unsettled");
            Error::new(ErrorKind::Timeout, "close", message)
        })
    }

    /// Waits until nothing is in users' hands.
    async fn settled(&self) {
        let consumers = &self.inner.consumers;
        loop {
            let notified = consumers.idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if consumers.outstanding() == 0 {
                return;
            }
            notified.await;
        }
    }
}
