//! Taking no more and taking again, and sharing ordered queues with other members.

use std::collections::HashMap;

use futures_util::{FutureExt, StreamExt};
use pubsub_core::driver::Outcome;
use tokio::time::sleep;

use super::{
    super::{group::consumers, names::short},
    COPY_AGAIN, Member,
};

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
        if let Some(index) = self.passing {
            return self.pass_on(index).await;
        }
        let all = self.plan.queues.len();
        let Some(first) = self.plan.queues.first() else { return };
        let Ok(Some(members)) = consumers(&self.plan.topology, &first.name).await else { return };
        let share = all.div_ceil(usize::try_from(members).unwrap_or(1).max(1));
        if members > 1 && self.active.len() > share {
            let surplus = self.active.iter().copied().max();
            if let Some(index) = surplus {
                self.passing = Some(index);
                self.pass_on(index).await;
            }
        }
    }

    /// Closes the lane of a queue once nothing of it is in hand, and stands at the end of the line again.
    pub(super) async fn pass_on(&mut self, index: usize) {
        let lane = self.lanes.values().find(|lane| lane.queues == [index]);
        let Some(number) = lane.filter(|lane| lane.is_idle()).map(|lane| lane.number) else { return };
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
