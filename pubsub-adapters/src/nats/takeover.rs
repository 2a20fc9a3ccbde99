//! What an ordered consumer has out when a member opens it.
//!
//! The server keeps events that come again in the order in which they came back to it: a lease that was renewed ends
//! after those that were not, and what somebody gives back goes to whoever asks at that moment, the rest later. So a member
//! that opens the consumer of a shard waits until all that is out has come to it, and hands it out in its order, before
//! it asks for what lies behind.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use pubsub_core::{Delivery, driver::Outcome};
use tokio::time::{Instant, sleep_until};

use super::{
    member::{Mode, Part, Place, Stop},
    puller::{Arrived, Heard},
};

/// What comes back when its lease is over may take so much longer.
const SLACK: Duration = Duration::from_secs(1);
/// How long the server may take to give what it has.
const ANSWER: Duration = Duration::from_secs(1);
/// The first and the longest pause between looks at what is not back yet.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Events that came back and wait for the others, by sequence.
#[derive(Default)]
struct Back(BTreeMap<u64, Delivery>);

impl Back {
    fn take(&mut self) -> impl Iterator<Item = Delivery> {
        std::mem::take(&mut self.0).into_values()
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        for delivery in self.take() {
            if delivery.is_live() { delivery.settle_as(Outcome::Release) } else { delivery.forget() }
        }
    }
}

impl Part {
    /// How many events of the consumer are out, and not here with a lease that holds.
    async fn out_elsewhere(&self, place: &Place) -> Result<usize, Stop> {
        match self.sub.shared.consumer("receive", self.channel(), &self.name()).await {
            Ok(Some(info)) if info.created.unix_timestamp_nanos() == place.made => {
                let (now, known) = (Instant::now(), info.delivered.stream_sequence);
                let mut here = HashSet::new();
                self.sub.desk.for_each(|_, item| {
                    let ours = item.slot.as_ref().is_some_and(|slot| slot.is_of(&self.gauge));
                    if ours && item.sequence <= known && self.sub.is_live_at(item, now) {
                        here.insert(item.sequence);
                    }
                });
                Ok(info.num_ack_pending.saturating_sub(here.len()))
            }
            Ok(_) => Err(Stop::Lost("the group's consumer is gone".to_owned())),
            Err(error) => Err(Stop::Lost(error.to_string())),
        }
    }
}

/// Hands out what the consumer has out, in its order, as far as it comes back within a lease. Says what stopped it.
pub(super) async fn take_over(part: &Part, place: &mut Place) -> Option<Stop> {
    part.shard?;
    let sub = &part.sub;
    let mut link = sub.shared.link.subscribe();
    let mut mode = part.mode.subscribe();
    let mut turn = Instant::now();
    let mut end = turn + place.lease() + SLACK;
    let (mut back, mut pause) = (Back::default(), PAUSE);
    loop {
        if *mode.borrow_and_update() != Mode::Run || sub.is_over() {
            return Some(Stop::End);
        }
        link.mark_unchanged();
        if part.is_down(place) {
            return Some(Stop::Down);
        }
        if part.is_moved(place) {
            return Some(Stop::Moved);
        }
        if part.has_lost(place) {
            return Some(Stop::Lapsed);
        }
        if sub.feed.is_paused() {
            return Some(Stop::Paused);
        }
        let missing = match part.out_elsewhere(place).await {
            Ok(missing) => missing,
            Err(stop) => return Some(stop),
        };
        let now = Instant::now();
        // While nobody answers, or this process stands still, nothing comes back: that time does not count.
        end += now.duration_since(turn).saturating_sub(LONGEST_PAUSE);
        turn = now;
        if missing == 0 || now >= end {
            break;
        }
        if let Err(error) = place.puller.fetch(missing).await {
            return Some(Stop::Lost(error.to_string()));
        }
        let mut came: Vec<Arrived> = Vec::new();
        let limit = now + ANSWER;
        while place.puller.outstanding() > 0 {
            tokio::select! {
                heard = place.puller.hear() => match heard {
                    Heard::Event(arrived) => came.push(arrived),
                    Heard::Nothing | Heard::Less => {}
                    Heard::Gone(why) => return Some(Stop::Lost(why)),
                },
                () = sleep_until(limit) => break,
                _ = link.changed() => break,
                () = sub.over() => break,
            }
        }
        let again = came.iter().any(|arrived| arrived.delivered > 1);
        let mut failures = part.failures(place, came.iter()).await;
        for arrived in came {
            let sequence = arrived.sequence;
            let failed = if arrived.delivered > 1 { failures.next().unwrap_or_default() } else { 0 };
            let delivery = part.hand_out(place, arrived, failed, Instant::now());
            if let Some(before) = delivery.and_then(|delivery| back.0.insert(sequence, delivery)) {
                before.forget(); // its lease is over
            }
        }
        if again {
            pause = PAUSE;
            continue;
        }
        tokio::select! {
            () = sleep_until(Instant::now() + pause) => {}
            _ = link.changed() => {}
            _ = mode.changed() => {}
            () = sub.feed.paused() => {}
            () = sub.moved.notified() => {}
            () = sub.over() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    sub.feed.deliver_all(back.take());
    None
}
