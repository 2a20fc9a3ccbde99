//! A subscription that is not open: how it comes back, or comes at all.

use std::{future::pending, sync::atomic::Ordering, time::Duration};

use pubsub_core::{
    EventId, Events, Raw,
    driver::{AdapterState, RetryPolicy},
};

use super::{Consumer, ConsumerState, text_of};

/// How long after a subscription was lost it is opened again.
const REOPEN: RetryPolicy =
    RetryPolicy::immediate().delays(Duration::from_millis(100), Duration::from_secs(10)).jitter(0.2);

impl Consumer {
    /// Opens the subscription again, as often as it takes. The error is why it is not opened any more.
    pub(super) async fn reopen(&self, mut why: String) -> Result<Events<Raw>, Option<String>> {
        let mut failures = 0;
        loop {
            self.is(ConsumerState::Recovering(why));
            failures += 1;
            self.pause_between(failures).await;
            if self.drain.is_draining() {
                return Err(None);
            }
            match self.plan.subscribe(&self.bus).await {
                Ok(events) => {
                    *self.lock() = events.control();
                    // Whoever stopped or paused it meanwhile told the control of before.
                    if self.drain.is_draining() {
                        return Err(None);
                    }
                    if self.paused.load(Ordering::Acquire) {
                        self.control().pause();
                    }
                    self.is_at_work();
                    return Ok(events);
                }
                Err(error) if error.is_retryable() => why = text_of(&error),
                Err(error) => return Err(Some(text_of(&error))),
            }
        }
    }

    pub(super) async fn pause_between(&self, failures: u32) {
        let delay = REOPEN.delay(&EventId::random(), failures);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.drain.clone().started() => {}
            () = self.broker_comes_back() => {}
        }
    }

    /// Waits until a broker that is away now is back.
    async fn broker_comes_back(&self) {
        let mut states = self.bus.states();
        if states.current() != AdapterState::Ready {
            while let Some(state) = states.changed().await {
                if state == AdapterState::Ready {
                    return;
                }
            }
        }
        pending::<()>().await;
    }
}
