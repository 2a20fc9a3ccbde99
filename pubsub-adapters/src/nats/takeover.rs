//! What an ordered consumer has out when a member opens it.
//!
//! The server keeps events that come again in the order in which they came back to it: a lease that was renewed ends
//! after those that were not, and what somebody gives back goes to whoever asks at that moment, the rest later. So a member
//! that opens the consumer of a shard waits until all that is out has come to it, and hands it out in its order, as far as
//! it has room, before it asks for what lies behind.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use pubsub_core::{Delivery, driver::Outcome};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    connection::Link,
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

impl Drop for Back {
    fn drop(&mut self) {
        for delivery in std::mem::take(&mut self.0).into_values() {
            if delivery.is_live() { delivery.settle_as(Outcome::Release) } else { delivery.forget() }
        }
    }
}

impl Part {
    /// What stops the member from handing out more.
    pub(super) fn stop(
        &self,
        place: &Place,
        link: &mut watch::Receiver<Link>,
        mode: &mut watch::Receiver<Mode>,
    ) -> Option<Stop> {
        if *mode.borrow_and_update() != Mode::Run || self.sub.is_over() {
            return Some(Stop::End);
        }
        link.mark_unchanged();
        if self.is_down(place) {
            return Some(Stop::Down);
        }
        if self.is_moved(place) {
            return Some(Stop::Moved);
        }
        if self.has_lost(place) {
            return Some(Stop::Lapsed);
        }
        self.sub.feed.is_paused().then_some(Stop::Paused)
    }

    /// Lets a member's lease end then, or not yet, where it is not renewed automatically.
    fn lease(&self, delivery: &Delivery, until: Option<Instant>) {
        if self.sub.is_manual() {
            self.sub.desk.with(delivery.ack.token(), |item| item.until = until);
        }
    }

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
        if let Some(stop) = part.stop(place, &mut link, &mut mode) {
            return Some(stop);
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
            // Its member's lease begins when it has it.
            delivery.iter().for_each(|delivery| part.lease(delivery, None));
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
    // Another member may have had more in hand than there is room for here.
    while !back.0.is_empty() {
        if let Some(stop) = part.stop(place, &mut link, &mut mode) {
            return Some(stop);
        }
        let waiting = back.0.len();
        part.gauge.wake_at(waiting + part.share() - 1);
        let room = part.share().saturating_sub(part.gauge.count().saturating_sub(waiting));
        let ready: Vec<_> =
            std::iter::from_fn(|| back.0.pop_first()).take(room).map(|(_, delivery)| delivery).collect();
        if ready.is_empty() {
            tokio::select! {
                () = part.gauge.freed.notified() => {}
                _ = link.changed() => {}
                _ = mode.changed() => {}
                () = sub.feed.paused() => {}
                () = sub.moved.notified() => {}
                () = sub.over() => {}
            }
        }
        let until = Instant::now() + sub.options.lease.duration;
        ready.iter().for_each(|delivery| part.lease(delivery, Some(until)));
        sub.feed.deliver_all(ready);
    }
    None
}
