//! A member's place in its group: partitions that come and go, commits, and seeking.

use std::{collections::VecDeque, sync::Arc};

use pubsub_core::{
    ChannelName, Error, ErrorKind, Result, StartPosition,
    driver::{Gap, GapReason},
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
};
use tokio::time::{Instant, timeout};

use super::{COMMIT, Consumption, End, Member, Part, REVOKE, commits::Ended};
use crate::kafka::{
    connection::{ANSWER, Link, blocking},
    error::error,
    member::{Change, Client, committed, list, move_client},
    position::{bounds_of, resolve},
    progress::{Committed, Progress},
    topology::Topic,
};

/// Partitions that are given up.
pub(super) struct Revocation {
    partitions: Vec<i32>,
    pub(super) until: Instant,
    lost: bool,
}

impl Link {
    /// A client that takes part in a group on a channel. The group has its place when this returns.
    pub(in crate::kafka) async fn join(
        &self,
        channel: &ChannelName,
        later: bool,
        group: &str,
        start: &StartPosition,
    ) -> Result<(Topic, Client)> {
        let topic = if later { self.later_topic(channel).await? } else { self.demand(channel, "subscribe").await? };
        let client = self.join_topic(&topic, group, start).await.map_err(|error| error.on(channel))?;
        Ok((topic, client))
    }

    async fn join_topic(&self, topic: &Topic, group: &str, start: &StartPosition) -> Result<Client> {
        let client = Client::new(self, group)?;
        self.establish_with(&client, topic, start, true).await?;
        client.get()?.subscribe(&[&topic.name]).map_err(|cause| error("subscribe", cause))?;
        Ok(client)
    }
}

impl Member {
    /// Begins with partitions where the group has left off.
    pub(super) async fn assign(&mut self, consumer: &Arc<Consumption>, partitions: &[i32]) -> Result<()> {
        let (asking, topic, wanted) = (consumer.clone(), self.topic.name.clone(), partitions.to_vec());
        let found = blocking("subscribe", move || {
            let known = committed(&asking, &topic, &wanted)?;
            let with_bounds =
                known.into_iter().map(|(partition, place)| Ok((bounds_of(&*asking, &topic, partition)?, place)));
            with_bounds.collect::<Result<Vec<_>>>()
        });
        // The channel may have been given more partitions.
        if partitions.iter().any(|partition| *partition >= self.topic.partitions)
            && let Ok(Some(topic)) = self.link.find_topic(&self.topic.name).await
            && topic.born == self.topic.born
        {
            self.topic = topic;
        }
        let mut assigned = TopicPartitionList::new();
        self.epoch += 1;
        for (bounds, place) in found.await?? {
            let (low, high) = (bounds.low, bounds.high);
            let mut progress = match &place {
                Some(place) if place.offset <= high => Progress::new(place.offset, &place.text),
                _ => Progress::new(low, ""),
            };
            let mut start = place.as_ref().map_or(low, |place| place.offset);
            if start > high {
                // The group was further than the channel is: it is another one.
                self.shared.feed.gap(Gap::new(self.channel.clone(), None, GapReason::DataLoss));
                start = low;
            } else if start < low {
                let lost = (low - start).unsigned_abs();
                self.shared.feed.gap(Gap::new(self.channel.clone(), Some(lost), GapReason::Retention));
                progress.skip_to(low);
                start = low;
            }
            let added = assigned.add_partition_offset(&self.topic.name, bounds.partition, Offset::Offset(start));
            added.map_err(|cause| error("subscribe", cause))?;
            let part = Part {
                epoch: self.epoch,
                progress,
                expected: start,
                dirty: false,
                revoking: false,
                stash: VecDeque::new(),
            };
            self.parts.insert(bounds.partition, part);
        }
        consumer.incremental_assign(&assigned).map_err(|cause| error("subscribe", cause))?;
        if self.quiet {
            self.set_paused(consumer, partitions, true);
        }
        self.recovered();
        Ok(())
    }

    /// Partitions have to be given up: no more of them goes out, and what is out may be settled for a little while.
    pub(super) fn revoke(&mut self, partitions: Vec<i32>, lost: bool) {
        for partition in &partitions {
            if let Some(part) = self.parts.get_mut(partition) {
                part.revoking = true;
                part.stash.clear();
            }
        }
        self.ready.retain(|(partition, _), _| !partitions.contains(partition));
        self.held.retain(|(_, partition, _), _| !partitions.contains(partition));
        let until = if lost { Instant::now() } else { Instant::now() + REVOKE };
        self.revocations.push(Revocation { partitions, until, lost });
    }

    /// Gives up partitions whose events are settled, or that have waited long enough.
    pub(super) async fn give_up(&mut self, consumer: &Arc<Consumption>) {
        for revocation in std::mem::take(&mut self.revocations) {
            let mine = |partition: i32| revocation.partitions.contains(&partition);
            let mut open = 0;
            self.settler.desk.for_each(|_, out| open += usize::from(mine(out.record.partition)));
            if open > 0 && Instant::now() < revocation.until {
                self.revocations.push(revocation);
                continue;
            }
            let batch = self.settler.desk.take_batch();
            self.settle(batch);
            drop(self.settler.desk.take_if(|out| mine(out.record.partition)));
            let mut commits = Vec::new();
            for partition in &revocation.partitions {
                if let Some(part) = self.parts.remove(partition)
                    && (part.dirty || self.commits.is_underway())
                {
                    commits.push((*partition, part.progress.committed()));
                }
            }
            if revocation.lost {
                // A commit that is underway may have been refused already, or be taken for one of our next life.
                let text = "the group gave the partition to somebody else";
                self.commits.refuse_all(Error::new(ErrorKind::Conflict, "settle", text).on(&self.channel));
            } else if let Err(error) = self.commit_now(consumer, commits).await {
                self.commits.refuse(error);
            }
            // Settlements of other partitions wait for their own commit.
            if self.parts.values().all(|part| !part.dirty) && !self.commits.is_underway() {
                self.tell_settled(Ok(()));
            }
            let mut given = TopicPartitionList::new();
            for partition in &revocation.partitions {
                given.add_partition(&self.topic.name, *partition);
            }
            if consumer.incremental_unassign(&given).is_err() {
                // It is no longer ours to give up.
                let _ = consumer.unassign();
            }
        }
    }

    /// Commits, and waits for it.
    pub(super) async fn commit_now(&self, consumer: &Arc<Consumption>, commits: Vec<(i32, Committed)>) -> Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        let (consumer, topic) = (consumer.clone(), self.topic.name.clone());
        let work = blocking("settle", move || {
            let list = list(&topic, &commits)?;
            consumer.commit(&list, CommitMode::Sync).map_err(|cause| error("settle", cause))
        });
        let late = |_| Error::new(ErrorKind::Timeout, "settle", "the broker did not take the commit in time");
        timeout(ANSWER, work).await.map_err(late)??.map_err(|error| error.on(&self.channel))
    }

    /// Commits what is done, if it is time; at once if somebody waits.
    pub(super) fn commit(&mut self, consumer: &Arc<Consumption>) {
        let now = Instant::now();
        if let Some((count, partitions)) = self.commits.give_up(now) {
            self.dirty(&partitions);
            let text = "the broker did not take the commit in time";
            self.settler.desk.told(count, Err(Error::new(ErrorKind::Timeout, "settle", text).on(&self.channel)));
        }
        if self.commits.is_underway() {
            return;
        }
        if !self.commits.urgent && now < self.commits.due {
            return;
        }
        self.commits.due = now + COMMIT;
        // Of what has to be given up, too: it is ours until then. What was taken away may be another one's by now.
        let lost: Vec<i32> =
            self.revocations.iter().filter(|gone| gone.lost).flat_map(|gone| &gone.partitions).copied().collect();
        let dirty: Vec<_> =
            self.parts.iter_mut().filter(|(partition, part)| part.dirty && !lost.contains(partition)).collect();
        if dirty.is_empty() {
            self.commits.urgent = false;
            if self.revocations.is_empty() {
                self.tell_settled(Ok(()));
            }
            return;
        }
        let mut commits = Vec::with_capacity(dirty.len());
        for (partition, part) in dirty {
            part.dirty = false;
            commits.push((*partition, part.progress.committed()));
        }
        self.commits.begin(commits.iter().map(|(partition, _)| *partition).collect(), now);
        let (consumer, topic) = (consumer.clone(), self.topic.name.clone());
        self.link.tasks.spawn_blocking(move || {
            let result = list(&topic, &commits)
                .and_then(|list| consumer.commit(&list, CommitMode::Sync).map_err(|cause| error("settle", cause)));
            consumer.context().push(Change::Committed(result));
            // The last one to hold a client may wait for the broker, and this thread may.
            drop(consumer);
        });
    }

    /// A commit has ended.
    pub(super) fn committed(&mut self, result: &Result<()>) {
        match self.commits.end(result) {
            Ended::Told(count, outcome) => self.settler.desk.told(count, outcome),
            Ended::Again(partitions) => self.dirty(&partitions),
            Ended::Forgotten => {}
        }
    }

    /// Tells those who wait that what they settled is committed, as far as it was not refused.
    pub(super) fn tell_settled(&mut self, outcome: Result<()>) {
        let (count, outcome) = self.commits.settled(outcome);
        self.settler.desk.told(count, outcome);
    }

    fn dirty(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(part) = self.parts.get_mut(partition) {
                part.dirty = true;
            }
        }
    }

    /// Moves the group, once all of the channel is ours. Where that stops half-way, the client has to be made anew.
    pub(super) async fn try_seek(&mut self, consumer: &Arc<Consumption>) -> Option<End> {
        let (seek, until) = self.seeking.take()?;
        let all_mine = self.parts.len() == usize::try_from(self.topic.partitions).unwrap_or(0)
            && self.revocations.is_empty()
            && !self.commits.is_underway();
        let mut end = None;
        let moved = if all_mine {
            match self.find_places(&seek.to).await {
                Ok(places) => self.move_to(consumer, places, &mut end).await,
                Err(error) => Err(error),
            }
        } else if Instant::now() < until {
            self.seeking = Some((seek, until));
            return None;
        } else {
            let text = "other members of the group hold parts of the channel: seek while there is one member";
            Err(Error::new(ErrorKind::Conflict, "seek", text))
        };
        let _ = seek.done.send(moved.map_err(|error| error.on(&self.channel)));
        end
    }

    async fn find_places(&self, to: &StartPosition) -> Result<Vec<(i32, i64)>> {
        let (topic, start) = (self.topic.clone(), to.clone());
        self.link.ask("seek", move |explorer| resolve(explorer, &topic, &start, false)).await
    }

    /// Moves the group, and then the client. One that does not follow is made anew: it begins where the group is.
    async fn move_to(
        &mut self,
        consumer: &Arc<Consumption>,
        offsets: Vec<(i32, i64)>,
        end: &mut Option<End>,
    ) -> Result<()> {
        let batch = self.settler.desk.take_batch();
        self.settle(batch);
        drop(self.settler.desk.take_if(|_| true));
        self.ready.clear();
        self.held.clear();
        self.epoch += 1;
        let all: Vec<_> = self.parts.keys().copied().collect();
        self.set_paused(consumer, &all, false);
        (self.quiet, self.stalled) = (false, None);
        let mut list = TopicPartitionList::new();
        let mut commits = Vec::new();
        for (partition, offset) in &offsets {
            let added = list.add_partition_offset(&self.topic.name, *partition, Offset::Offset(*offset));
            added.map_err(|cause| error("seek", cause))?;
            let (epoch, progress) = (self.epoch, Progress::new(*offset, ""));
            commits.push((*partition, progress.committed()));
            let part =
                Part { epoch, progress, expected: *offset, dirty: false, revoking: false, stash: VecDeque::new() };
            self.parts.insert(*partition, part);
        }
        let anew = |error: &Error| Some(End::Rebuild(format!("a seek stopped half-way: {error}"), false));
        if let Err(error) = self.commit_now(consumer, commits).await {
            *end = anew(&error);
            return Err(error.perhaps_applied());
        }
        if let Err(error) = move_client(consumer, list).await {
            *end = anew(&error);
        }
        Ok(())
    }
}
