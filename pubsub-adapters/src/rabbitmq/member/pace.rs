//! Taking no more and taking again, and sharing ordered queues with other members.

use std::{collections::HashMap, time::Duration};

use futures_util::{FutureExt, StreamExt};
use pubsub_core::driver::Outcome;
use tokio::time::{Instant, sleep};

use super::{
    super::{group::consumers, lease::Arrival, names::short},
    COPY_AGAIN, Member,
};

/// How long a queue that is to be handed on may be in use: meanwhile nothing more of it is handed out.
const PASS_WITHIN: Duration = Duration::from_secs(5);
/// For how long no queue is handed on after one that stayed in use.
const SPARED: Duration = Duration::from_secs(30);

/// An ordered queue that is being handed on to another member. Under load it would never be without events in hand, so
/// nothing more of it is handed out.
pub(super) struct Passing {
    pub(super) index: usize,
    since: Instant,
    /// What has come since, bounded by what the broker sends ahead.
    pub(super) held: Vec<Arrival>,
}

impl Member {
    /// Takes no more, and gives back what nobody has seen.
    pub(super) async fn hush(&mut self) {
        self.silent = true;
        for delivery in self.feed.take_deliveries() {
            if delivery.is_live() { delivery.settle_as(Outcome::Release) } else { delivery.forget() }
        }
        if self.plan.ordered {
            return self.let_go().await;
        }
        for lane in self.lanes.values_mut() {
            let _ = lane.cancel().await;
        }
        let mut back: HashMap<u64, Vec<u64>> = HashMap::new();
        // Every consumer has ended, so that this does: all that it had comes first.
        while let Some(Some(arrival)) = self.arrivals.next().now_or_never() {
            if let (Some(lane), Some(delivery)) = (self.lanes.get_mut(&arrival.lane), arrival.delivery) {
                lane.took(delivery.delivery_tag);
                back.entry(arrival.lane).or_default().push(delivery.delivery_tag);
            }
        }
        let batch = self.desk.take_batch();
        if !batch.is_empty() {
            self.settle(batch).await;
        }
        for (number, tags) in back {
            if let Some(lane) = self.lanes.get_mut(&number) {
                let _ = lane.give_back(tags).await;
            }
        }
    }

    /// Gives ordered queues to other members: what is in hand comes again, in its order.
    pub(super) async fn let_go(&mut self) {
        let batch = self.desk.take_batch();
        if !batch.is_empty() {
            self.settle(batch).await;
        }
        drop(self.desk.take_if(|_| true));
        self.passing = None;
        self.active.clear();
        self.unread.clear();
        for (_, lane) in self.lanes.drain() {
            lane.close(self.plan.ordered).await;
        }
    }

    /// Takes again.
    pub(super) async fn speak(&mut self) {
        if self.lanes.is_empty() {
            let plan = self.plan.clone();
            match plan.open(&plan.all()).await {
                Ok(opened) => self.add(opened),
                Err(_) => return sleep(COPY_AGAIN).await, // the loop comes back here
            }
            self.silent = false;
            return;
        }
        let plan = self.plan.clone();
        let numbers: Vec<_> = self.lanes.keys().copied().collect();
        for number in numbers {
            let Some(lane) = self.lanes.get_mut(&number) else { continue };
            for index in lane.queues.clone() {
                match plan.consume(lane, index).await {
                    Ok(arrivals) => self.arrivals.push(arrivals),
                    Err(_) => {
                        let _ = lane.channel.close(200, short("lost")).await;
                        break;
                    }
                }
            }
        }
        if plan.learn().await.is_err() {
            for lane in self.lanes.values() {
                let _ = lane.channel.close(200, short("lost")).await;
            }
        }
        self.silent = false;
    }

    /// Hands on an ordered queue when other members have fewer. The broker makes the next member in line the active one
    /// when the channel is closed, after it has taken back what was unsettled.
    pub(super) async fn balance(&mut self) {
        if let Some(passing) = &self.passing {
            if passing.since.elapsed() < PASS_WITHIN {
                return self.pass_on().await;
            }
            // Somebody keeps an event for long: others of the queue do not wait for that.
            self.spared = Some(Instant::now() + SPARED);
            let held = self.passing.take().map(|passing| passing.held).unwrap_or_default();
            let deliveries = held
                .into_iter()
                .filter_map(|arrival| self.hand_out(arrival.lane, arrival.queue, arrival.backlog, arrival.delivery?));
            let deliveries: Vec<_> = deliveries.collect();
            self.feed.deliver_all(deliveries);
            self.tell(Vec::new());
            return self.end_backlogs().await;
        }
        if self.spared.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let all = self.plan.queues.len();
        let Some(members) = self.plan.members() else { return };
        let Ok(Some(members)) = consumers(&self.plan.topology, &members).await else { return };
        let share = all.div_ceil(usize::try_from(members).unwrap_or(1).max(1));
        if members > 1
            && self.active.len() > share
            && let Some(index) = self.active.iter().copied().max()
        {
            self.passing = Some(Passing { index, since: Instant::now(), held: Vec::new() });
            self.pass_on().await;
        }
    }

    /// Closes the lane of the queue that is being handed on, once nothing of it is in hand, and stands at the end of the
    /// line again.
    pub(super) async fn pass_on(&mut self) {
        let Some(index) = self.passing.as_ref().map(|passing| passing.index) else { return };
        let lane = self.lanes.values().find(|lane| lane.queues == [index]);
        let Some(number) = lane.filter(|lane| lane.is_idle()).map(|lane| lane.number) else { return };
        // What is held goes back with the channel.
        self.passing = None;
        self.active.remove(&index);
        let Some(lane) = self.lanes.remove(&number) else { return };
        drop(self.desk.take_if(|out| out.lane == number));
        lane.close(self.plan.ordered).await;
        match self.plan.open(&[index]).await {
            Ok(opened) => self.add(opened),
            Err(_) => self.unread.push(index), // the loop sees to it
        }
    }
}
