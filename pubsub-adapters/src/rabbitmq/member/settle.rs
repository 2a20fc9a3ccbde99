//! Settling: acknowledgements in batches, and copies of what failed.

use std::{collections::HashMap, time::Duration};

use futures_util::{FutureExt, StreamExt, future::join_all};
use lapin::types::AMQPValue;
use pubsub_core::{
    ErrorKind, Result, Settled,
    driver::{Outcome, stale},
};
use tokio::time::sleep;

use super::{
    super::{
        error::closed,
        lease::Lane,
        settler::Out,
        wire::{ATTEMPT, FIRST_SEEN},
    },
    COPY_AGAIN, Copied, Member,
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
            if outcome != Outcome::Release {
                self.returns.forget(out.queue, &out.id);
            }
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
        self.tell(numbers);
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
        self.end_backlogs().await;
    }

    /// Tells the broker of what is settled, and whoever waits for these settlements once it has read that.
    pub(super) fn tell(&mut self, numbers: Vec<u64>) {
        let words: Vec<_> = self.lanes.values_mut().filter_map(Lane::tell).collect();
        if words.is_empty() {
            return self.tell_desk(numbers);
        }
        self.words.push(Box::pin(async move {
            let told: Result<Vec<()>> = join_all(words).await.into_iter().collect();
            (numbers, told.map(drop))
        }));
    }

    /// The broker has read what it was told.
    pub(super) fn was_told(&mut self, (numbers, outcome): (Vec<u64>, Result<()>)) {
        if let Err(error) = outcome {
            self.failed = Some(error);
        }
        self.tell_desk(numbers);
    }

    /// Waits until the broker has read all that it was told.
    pub(super) async fn all_told(&mut self) {
        while let Some(word) = self.words.next().await {
            self.was_told(word);
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
    /// has the copy. One that cannot be copied is held as long, and then given back.
    pub(super) fn copy(&mut self, number: u64, out: Out, delay: Duration, first: Duration) {
        let plan = self.plan.clone();
        let (closing, gone) = (self.closing.clone(), self.feed.gone().clone());
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
            if is_too_large(&outcome) {
                tokio::select! {
                    () = sleep(delay) => {}
                    () = closing.cancelled() => {}
                    () = gone.cancelled() => {}
                }
            }
            (number, out, delay, outcome)
        }));
    }

    /// Settles the originals of events whose copies the broker has, and of all others whose copies it has by now.
    pub(super) async fn copied(&mut self, first: Copied) {
        let mut numbers = Vec::new();
        let mut next = Some(first);
        while let Some((number, out, delay, outcome)) = next {
            match outcome {
                Ok(()) => {
                    match self.lanes.get_mut(&out.lane) {
                        Some(lane) => lane.settled(out.tag),
                        None => self.failed = Some(stale("settle")),
                    }
                    numbers.push(number);
                }
                // Its lane is gone, and the original with it: it comes again by itself.
                Err(_) if !self.lanes.contains_key(&out.lane) => {
                    self.failed = Some(stale("settle"));
                    numbers.push(number);
                }
                // It comes again as it is, and the broker counts how often.
                Err(error) if error.kind() == ErrorKind::TooLarge => {
                    if let Some(lane) = self.lanes.get_mut(&out.lane)
                        && let Err(error) = lane.give_back(vec![out.tag]).await
                    {
                        self.failed = Some(error);
                    }
                    numbers.push(number);
                }
                Err(error) if error.kind() == ErrorKind::Closed => {
                    self.failed = Some(error);
                    numbers.push(number);
                }
                Err(_) => self.copy(number, out, delay, COPY_AGAIN),
            }
            next = self.copies.next().now_or_never().flatten();
        }
        self.tell(numbers);
        self.end_backlogs().await;
    }
}

fn is_too_large(outcome: &Result<()>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::TooLarge)
}
