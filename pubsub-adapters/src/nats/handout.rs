//! Handing out what a consumer delivers.

use std::collections::VecDeque;

use pubsub_core::{
    AckHandle, Delivery,
    driver::{Gap, GapReason, Outcome},
};
use tokio::time::Instant;

use super::{
    attempts,
    history::position,
    member::{Part, Place},
    puller::Arrived,
    settler::Item,
};
use crate::common::unreadable;

impl Part {
    /// Hands out one event. Its lease counts from `now`, which may be some time ago.
    pub(super) fn hand_out(
        &self,
        place: &Place,
        mut arrived: Arrived,
        failures: u32,
        now: Instant,
    ) -> Option<Delivery> {
        let (shared, sub) = (&self.sub.shared, &self.sub);
        if arrived.delivered > 1 {
            // Whoever has it still has lost it.
            let sequence = arrived.sequence;
            let lost = sub.desk.take_if(|item| item.sequence == sequence && item.consumer == place.key);
            if !lost.is_empty() {
                sub.fall_behind();
            }
        }
        shared.orphans.came(&place.key, arrived.sequence);
        let read = arrived.read(shared, self.channel());
        let released = if arrived.delivered > 1 { shared.times_released(&place.key, arrived.sequence) } else { 0 };
        let attempt = attempts::attempt(&sub.options.retry, arrived.delivered, failures, released);
        let until = sub.is_manual().then(|| now + sub.options.lease.duration);
        let at = position(arrived.sequence, place.born);
        let slot = self.gauge.take(self.shard.map(|_| place.round));
        let item = |id| {
            Item::new(
                id,
                attempt,
                arrived.sequence,
                arrived.reply,
                place.key.clone(),
                place.lease(),
                now,
                until,
                place.moves,
                slot,
            )
        };
        let Some((message, fault)) = read else {
            // Its time is over: nobody gets it.
            sub.desk.push(item(pubsub_core::EventId::random()), Outcome::Ack);
            return None;
        };
        let token = sub.desk.hand_out(item(message.id().clone()));
        let delivery = Delivery::new(message, AckHandle::new(self.settler.clone(), token)).attempt(attempt).at(at);
        Some(unreadable::mark(delivery, fault))
    }

    /// How often those of these events have failed that come again.
    pub(super) async fn failures<'a>(
        &self,
        place: &Place,
        events: impl Iterator<Item = &'a Arrived>,
    ) -> std::vec::IntoIter<u32> {
        let again = events.filter(|arrived| arrived.delivered > 1);
        let again: Vec<_> = again.map(|arrived| (place.key.clone(), arrived.sequence)).collect();
        if again.is_empty() { Vec::new() } else { self.sub.shared.failures(&again).await }.into_iter()
    }
}

/// Hands out what has come, with a gap before each place where events are missing.
pub(super) async fn deliver(part: &Part, place: &mut Place, batch: &mut VecDeque<Arrived>) {
    if batch.is_empty() {
        return;
    }
    if part.is_moved(place) {
        batch.clear(); // of the place before the seek
        return;
    }
    if part.sub.is_over() {
        part.give_back(place, batch.drain(..));
        return;
    }
    if part.shard.is_some() && is_out_of_order(part, place, batch) {
        batch.drain(..).for_each(|event| part.release(place, &event));
        return;
    }
    if part.sub.shared.orphans.any(&place.key)
        && let Ok(Some(stream)) = part.sub.shared.stream("receive", part.channel()).await
    {
        part.tell_orphans(&stream, &place.key);
    }
    let mut failures = part.failures(place, batch.iter()).await;
    let (mut ready, now) = (Vec::with_capacity(batch.len()), Instant::now());
    for arrived in batch.drain(..) {
        let (number, sequence, first) = (arrived.consumer_sequence, arrived.sequence, arrived.delivered == 1);
        if first && part.shard.is_none() {
            if let Some((last_number, last_sequence)) = place.last
                && number == last_number + 1
                && sequence > last_sequence + 1
                && let Some(lost) = missing(part, last_sequence, sequence).await
            {
                part.sub.feed.deliver_all(ready.drain(..));
                part.sub.feed.gap(Gap::new(part.channel().clone(), Some(lost), GapReason::Retention));
            }
            place.last = Some((number, sequence));
        } else {
            place.last = None;
        }
        let failures = if first { 0 } else { failures.next().unwrap_or_default() };
        ready.extend(part.hand_out(place, arrived, failures, now));
    }
    part.sub.feed.deliver_all(ready);
}

/// Whether these events of a shard may lie behind others that are still to come. What comes again here was lost unseen:
/// [`take_over`](super::takeover::take_over) waits for all that was out before.
fn is_out_of_order(part: &Part, place: &Place, batch: &VecDeque<Arrived>) -> bool {
    if batch.iter().any(|event| event.delivered > 1) {
        part.gauge.lose(place.round);
    }
    part.has_lost(place) || part.is_down(place)
}

/// How many of the events between two are gone because of retention; others never were this channel's.
async fn missing(part: &Part, before: u64, after: u64) -> Option<u64> {
    let info = part.sub.shared.stream("receive", part.channel()).await.ok()??;
    let lost = info.state.first_sequence.min(after).saturating_sub(before + 1);
    (lost > 0).then_some(lost)
}
