//! Settling: acknowledgements in batches, and copies of what failed.

use std::{collections::HashMap, time::Duration};

use lapin::types::AMQPValue;
use pubsub_core::{
    ErrorKind, Result, Settled,
    driver::{Outcome, stale},
};
use tokio::time::sleep;

use super::{
    super::{
        error::closed,
        settler::Out,
        wire::{ATTEMPT, FIRST_SEEN},
    },
    COPY_AGAIN, Member,
};

impl Member {
    /// Tells the broker of settlements.
    pub(super) async fn settle(&mut self, batch: Vec<(Out, Outcome)>) {
        let mut numbers = Vec::with_capacity(batch.len());
        let mut back: HashMap<u64, Vec<u64>> = HashMap::new();
        for (out, outcome) in batch {
            self.taken += 1;
            let number = self.taken;
            // The window has no bound; numbers ascend.
            let _ = self.told.push(number, self.clock.mark());
            let Some(lane) = self.lanes.get_mut(&out.lane) else {
                self.failed = Some(stale("settle"));
                numbers.push(number);
                continue;
            };
            match outcome {
                Outcome::Nack(delay) => {
                    self.copy(number, out, delay, Duration::ZERO);
                    continue;
                }
                Outcome::Release => back.entry(out.lane).or_default().push(out.tag),
                _ => lane.settled(out.tag),
            }
            numbers.push(number);
        }
        // First what is done: the broker puts off what comes behind many returns, and forgets it with the channel.
        self.tell().await;
        // Where the channel is closed next, all goes back by that, in its order.
        let gone = self.feed.gone().is_cancelled();
        let closes = self.closing.is_cancelled() || (gone && self.desk.len() == 0);
        if !closes && !(self.plan.ordered && (gone || self.drain.is_draining())) {
            for (number, tags) in back {
                if let Some(lane) = self.lanes.get_mut(&number)
                    && let Err(error) = lane.give_back(tags).await
                {
                    self.failed = Some(error);
                }
            }
        }
        self.tell_desk(numbers);
        self.end_backlogs().await;
    }

    pub(super) async fn tell(&mut self) {
        for lane in self.lanes.values_mut() {
            if let Err(error) = lane.tell().await {
                self.failed = Some(error);
            }
        }
    }

    pub(super) fn tell_desk(&mut self, numbers: Vec<u64>) {
        let before = self.told.prefix().unwrap_or(0);
        for number in numbers {
            let _: Settled = self.told.done(number);
        }
        let now = self.told.prefix().unwrap_or(0);
        if now > before {
            let outcome = self.failed.take().map_or(Ok(()), Err);
            self.desk.told(usize::try_from(now - before).unwrap_or(usize::MAX), outcome);
        }
    }

    /// Publishes a copy of a failed event, which only this group's queue gets; the original is settled when the broker
    /// has the copy.
    pub(super) fn copy(&mut self, number: u64, out: Out, delay: Duration, first: Duration) {
        let plan = self.plan.clone();
        self.copies.push(Box::pin(async move {
            sleep(first).await;
            let Some(queue) = plan.queues.get(out.queue) else { return (number, out, delay, Err(closed("nack"))) };
            let attempt = i64::from(out.attempt.saturating_add(1));
            let copy = out
                .raw
                .copy()
                .with(ATTEMPT, AMQPValue::LongLongInt(attempt))
                .with(FIRST_SEEN, AMQPValue::LongLongInt(out.first_seen.as_millis()));
            let scope = plan.scopes.get(queue.scope).and_then(|scope| scope.channel.clone());
            let channel = scope.or_else(|| out.raw.channel());
            let outcome = match channel {
                Some(channel) => {
                    let token = plan.token(queue);
                    plan.sender.copy(copy, (&queue.name, &token), delay, &channel).await
                }
                None => Err(closed("nack")),
            };
            (number, out, delay, outcome)
        }));
    }

    pub(super) async fn copied(&mut self, number: u64, out: Out, delay: Duration, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                match self.lanes.get_mut(&out.lane) {
                    Some(lane) => lane.settled(out.tag),
                    None => self.failed = Some(stale("settle")),
                }
                self.tell().await;
            }
            // Its lane is gone, and the original with it: it comes again by itself.
            Err(_) if !self.lanes.contains_key(&out.lane) => self.failed = Some(stale("settle")),
            Err(error) if error.kind() == ErrorKind::Closed => self.failed = Some(error),
            Err(_) => return self.copy(number, out, delay, COPY_AGAIN),
        }
        self.tell_desk(vec![number]);
        self.end_backlogs().await;
    }
}
