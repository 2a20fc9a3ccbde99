//! Losing queues and connections, and having them again.

use pubsub_core::{
    ErrorKind, StartPosition, Timestamp,
    driver::{GapReason, SubscriptionState},
};
use tokio::time::sleep;

use super::{
    super::{group::exists, lease::Lane, names::short},
    LOOK_BACK, Member,
};
use crate::common::backoff::Backoff;

impl Member {
    /// Goes on from backlogs that are read to the end.
    pub(super) async fn end_backlogs(&mut self) {
        let ready: Vec<_> = self
            .lanes
            .values()
            .filter(|lane| lane.only_end_is_open())
            .filter_map(|lane| lane.end.map(|(queue, _)| (lane.number, queue)))
            .collect();
        for (number, index) in ready {
            let plan = self.plan.clone();
            let Some(lane) = self.lanes.get_mut(&number) else { continue };
            // Whoever reads it is told by the end of its consumer, and goes on with the queue.
            if plan.delete(lane, index).await.is_err() {
                // Its end comes again, and with it the next attempt.
                self.drop_lane(number).await;
            }
        }
    }

    /// A consumer has ended: its backlog is read, or its queue was deleted, or its channel is gone.
    pub(super) async fn ended(&mut self, number: u64, index: usize, backlog: bool) {
        let up = self.lanes.get(&number).is_some_and(Lane::is_up);
        let Some(queue) = self.plan.queues.get(index).cloned() else { return };
        if !up {
            return; // the loop sees to it
        }
        if backlog && matches!(exists(&self.plan.topology, &queue.backlog).await, Ok(false)) {
            if let Some(lane) = self.lanes.get_mut(&number) {
                match lane.consume(&queue.name, index, false).await {
                    Ok(arrivals) => self.arrivals.push(arrivals),
                    Err(_) => self.drop_lane(number).await,
                }
            }
            return;
        }
        self.drop_lane(number).await;
    }

    pub(super) async fn drop_lane(&mut self, number: u64) {
        if let Some(lane) = self.lanes.get(&number) {
            let _ = lane.channel.close(200, short("lost")).await;
        }
    }

    /// Opens again what was lost. False once the adapter is closed or the subscription gone.
    pub(super) async fn heal(&mut self) -> bool {
        let lost: Vec<_> = self.lanes.values().filter(|lane| !lane.is_up()).map(|lane| lane.number).collect();
        let mut indices = std::mem::take(&mut self.unread);
        for number in &lost {
            if let Some(lane) = self.lanes.remove(number) {
                indices.extend(lane.queues);
            }
        }
        drop(self.desk.take_if(|out| lost.contains(&out.lane)));
        self.active.retain(|index| !indices.contains(index));
        self.passing.take_if(|passing| indices.contains(&passing.index));
        let noticed = Timestamp::now().saturating_sub(LOOK_BACK);
        self.feed.state(SubscriptionState::Recovering("the connection to the broker was lost".to_owned()));
        let mut backoff = Backoff::default();
        loop {
            let (plan, desk, gone) = (self.plan.clone(), self.desk.clone(), self.feed.gone().clone());
            let opened = tokio::select! {
                () = self.closing.cancelled() => return false,
                () = gone.cancelled() => return false,
                batch = desk.next_batch() => {
                    self.settle(batch).await;
                    continue;
                }
                opened = plan.open(&indices) => opened,
            };
            match opened {
                Ok(opened) => {
                    self.add(opened);
                    if std::mem::take(&mut self.silent) {
                        // As the others are, until the loop lets all of them speak.
                        self.hush().await;
                    }
                    self.feed.state(SubscriptionState::Active);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let plan_again = self.plan.clone();
                    let text = "a queue of the group was deleted, and is made again".to_owned();
                    self.feed.state(SubscriptionState::Recovering(text));
                    if plan_again.mend(&StartPosition::Time(noticed)).await.is_ok() {
                        let channels: Vec<_> =
                            self.plan.scopes.iter().filter_map(|scope| scope.channel.clone()).collect();
                        self.feed.gaps(&channels, GapReason::DataLoss);
                        continue;
                    }
                }
                Err(error) => self.feed.state(SubscriptionState::Recovering(error.to_string())),
            }
            tokio::select! {
                () = self.closing.cancelled() => return false,
                () = gone.cancelled() => return false,
                () = sleep(backoff.next()) => {}
            }
        }
    }
}
