//! Leaving: what nobody has seen goes back, what somebody has is kept until it is settled.

use std::time::Duration;

use ::redis::RedisResult;
use pubsub_core::driver::Outcome;
use tokio::time::{sleep_until, timeout};

use super::{connection::Link, pull::Puller, reader::Reader};

impl Puller {
    /// The last read of a subscription: what it brings goes back.
    pub(super) async fn take_last(&mut self, reader: &mut Reader) {
        let taking = async { self.settle_read(reader).await };
        // What is not there by then is found by its age.
        let _ = timeout(Duration::from_secs(1), taking).await;
    }

    /// Gives back what nobody has seen, and renews what somebody has until it is settled.
    pub(super) async fn linger(&mut self) {
        let member = self.member.clone();
        loop {
            if member.hub.closing.is_cancelled() {
                member.feed.end();
                for delivery in member.feed.take_deliveries() {
                    delivery.settle_as(Outcome::Release);
                }
                // Whoever still works on an event is told that it is no longer theirs.
                for out in member.desk.take_if(|_| true) {
                    member.desk.push(out, Outcome::Nack(Duration::ZERO));
                }
            }
            if member.desk.len() == 0 {
                return;
            }
            tokio::select! {
                () = member.hub.closing.cancelled() => continue,
                _ = member.desk.room(1) => {}
                () = sleep_until(self.tend_at) => {
                    self.schedule();
                    self.expire();
                    if let Some(link) = member.hub.link() {
                        // What cannot be renewed runs out.
                        let _ = self.keep(&link).await;
                    }
                }
            }
        }
    }

    /// Keeps leases and shards of what is out.
    async fn keep(&mut self, conn: &Link) -> RedisResult<()> {
        self.renew(conn).await?;
        self.share(conn).await
    }
}
