//! Settlements of one subscription on one channel.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{AckToken, BoxFuture, Lease, Outcome, Renewal, RetryPolicy, Settler},
};

use super::{
    bus::Bus,
    channel::Channel,
    group::{Group, Member, Return},
};

/// While publishers wait for room, every so many acknowledgements look how much there is.
const LOOK_EVERY: u64 = 32;

/// The settler of a member of a group.
pub(super) struct MemorySettler {
    pub(super) bus: Arc<Bus>,
    pub(super) channel: Arc<Channel>,
    pub(super) group: Arc<Group>,
    pub(super) member: Arc<Member>,
    pub(super) retry: RetryPolicy,
    pub(super) lease: Lease,
    pub(super) drain: pubsub_core::driver::Drain,
}

impl MemorySettler {
    /// Settles; false if the lease was gone.
    fn apply(&self, token: AckToken, outcome: Outcome) -> bool {
        let (seq, generation) = (token.index, token.generation);
        match outcome {
            Outcome::Ack | Outcome::Reject => {
                let done = self.group.done(seq, generation);
                if done {
                    self.member.window.release();
                    if seq % LOOK_EVERY == 0 && self.channel.waiting_for_room.load(Ordering::SeqCst) > 0 {
                        self.channel.announce_much_room(self.group.reap());
                    }
                    self.channel.confirms.check();
                }
                done
            }
            Outcome::Nack(delay) => self.fail(seq, generation, delay),
            Outcome::Dropped if !self.drain.is_draining() => {
                let how = Return::Dropped { now: self.bus.now(), retry: self.retry };
                self.group.give_back(seq, generation, how)
            }
            _ => self.group.give_back(seq, generation, Return::Unused),
        }
    }

    fn fail(&self, seq: u64, generation: u64, delay: Duration) -> bool {
        let now = self.bus.now();
        let delay = i64::try_from(delay.min(self.bus.options.max_delay).as_millis()).unwrap_or(i64::MAX);
        let due = if delay == 0 { 0 } else { now.saturating_add(delay) };
        self.group.give_back(seq, generation, Return::Failed { now, due })
    }
}

impl Settler for MemorySettler {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        self.apply(token, outcome)
    }

    fn is_live(&self, token: AckToken) -> bool {
        self.expire();
        self.group.is_leased(token.index, token.generation)
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        self.expire();
        let applied = self.apply(token, outcome);
        Box::pin(async move {
            if applied {
                return Ok(());
            }
            let text = "the lease of this delivery is gone; the event may be with another consumer";
            Err(Error::new(ErrorKind::Conflict, "settle", text).on(&self.channel.name))
        })
    }

    fn extend(&self, token: AckToken, duration: Duration) -> BoxFuture<'_, Result<()>> {
        let result = self.try_extend(token, duration).map_err(|error| error.on(&self.channel.name));
        Box::pin(async move { result })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        // Settlements take effect when they are made.
        Box::pin(async { Ok(()) })
    }
}

impl MemorySettler {
    /// Leases that run out by themselves have run out at their time, also when nobody has pulled since.
    fn expire(&self) {
        if self.lease.renewal != Renewal::Automatic {
            self.group.expire(self.bus.now());
        }
    }

    fn try_extend(&self, token: AckToken, duration: Duration) -> Result<()> {
        self.expire();
        if duration > self.bus.options.max_delay {
            let text = format!("field `duration` is longer than the limit of {:?}", self.bus.options.max_delay);
            return Err(Error::new(ErrorKind::Invalid, "extend lease", text));
        }
        let live = match self.lease.renewal {
            // The lease holds for as long as the delivery does.
            Renewal::Automatic => self.is_live(token),
            _ => {
                let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                let extended = self.group.extend(token.index, token.generation, self.bus.now().saturating_add(millis));
                if extended {
                    // Whoever sleeps until the old deadline must learn of the new one.
                    self.group.wake_all();
                }
                extended
            }
        };
        if live {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "extend lease", "the lease of this delivery is gone"))
    }
}
