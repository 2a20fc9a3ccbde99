//! Records on their way: in from the client, out to the subscription, and back as settlements.

use std::sync::Arc;

use pubsub_core::{
    AckHandle, Delivery, Mark, Timestamp,
    driver::{Outcome, stale},
};
use rdkafka::{Message as _, consumer::Consumer, message::BorrowedMessage};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Consumption, End, Member};
use crate::{
    common::unreadable,
    kafka::{
        jumps::Jump,
        progress::Taken,
        settler::{GroupSettler, Out, Record},
        wire::due_of,
    },
};

/// A record that goes out, and the room that it takes.
pub(super) type Going = (Record, OwnedSemaphorePermit);

impl Member {
    /// A record has come from the client. It is delivered with others where `goes_out` and nothing is before it.
    pub(super) fn arrive(
        &mut self,
        record: &BorrowedMessage<'_>,
        (mark, now): (Mark, Timestamp),
        goes_out: bool,
        deliveries: &mut Vec<Going>,
    ) -> Option<End> {
        let (partition, offset) = (record.partition(), record.offset());
        let part = self.parts.get_mut(&partition).filter(|part| !part.revoking)?;
        if offset < part.expected {
            // Offsets only grow, as long as it is the same log.
            return Some(End::Rebuild("the channel was made anew".to_owned(), true));
        }
        let jumped = offset > part.expected;
        if jumped {
            self.jumps.note(Jump {
                channel: self.channel.clone(),
                topic: self.topic.name.to_string(),
                partition,
                expected: part.expected,
                came: offset,
            });
        }
        part.expected = offset + 1;
        // Nothing overtakes what waits for room in the window.
        let waits = !part.stash.is_empty();
        let taken = if waits { Taken::Full } else { part.progress.take(offset, mark) };
        let failed = match taken {
            Taken::New(failed) => failed,
            Taken::Full => 0,
            Taken::Done => {
                part.dirty = true;
                return None;
            }
            Taken::Known => return None,
        };
        let (message, fault) = self.link.wire.read(record, &self.channel, self.topic.born);
        let due = if self.later { due_of(record).ok() } else { None };
        let record = Record {
            partition,
            offset,
            message,
            fault,
            attempt: failed.saturating_add(1),
            first_seen: now,
            position: self.topic.position(partition, offset),
        };
        if taken == Taken::Full {
            part.stash.push_back((record, due));
        } else if let Some(wait) = due.map(|due| due.since(now)).filter(|wait| !wait.is_zero()) {
            self.held.insert((Instant::now() + wait.min(super::LONGEST), partition, offset), record);
        } else if !jumped
            && goes_out
            && self.ready.is_empty()
            && self.held.len() < self.most_held()
            && let Some(room) = self.room()
        {
            deliveries.push((record, room));
        } else {
            self.ready.insert((partition, offset), record);
        }
        None
    }

    fn room(&mut self) -> Option<OwnedSemaphorePermit> {
        self.spare.take().or_else(|| self.shared.room.clone().try_acquire_owned().ok())
    }

    /// Hands these out, in their order.
    pub(super) fn deliver(&self, records: Vec<Going>) {
        if records.is_empty() {
            return;
        }
        let out = self.settler.desk.hand_out_all(records, |(record, room)| {
            let (attempt, first_seen) = (record.attempt, (record.attempt > 1).then_some(record.first_seen));
            let shown = (record.message.clone(), record.fault.clone(), attempt, first_seen, record.position.clone());
            let epoch = self.parts.get(&record.partition).map_or(0, |part| part.epoch);
            (Out { record, epoch, _room: room }, shown)
        });
        let settler: &Arc<GroupSettler> = &self.settler;
        self.shared.feed.deliver_all(out.into_iter().map(
            |(token, (message, fault, attempt, first_seen, position))| {
                let mut delivery = Delivery::new(message, AckHandle::new(settler.clone(), token)).attempt(attempt);
                (delivery.first_seen, delivery.position) = (first_seen, position);
                unreadable::mark(delivery, fault)
            },
        ));
    }

    /// Hands out what is ready, as long as there is room.
    pub(super) fn hand_out(&mut self) {
        let mut deliveries = Vec::new();
        while !self.ready.is_empty() {
            let Some(room) = self.room() else { break };
            let Some((_, record)) = self.ready.pop_first() else { break };
            deliveries.push((record, room));
        }
        if self.ready.is_empty() {
            self.spare = None;
        }
        self.deliver(deliveries);
    }

    /// What has waited long enough is ready.
    pub(super) fn ripen(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.held.first_entry().filter(|entry| entry.key().0 <= now) {
            let record = entry.remove();
            self.ready.insert((record.partition, record.offset), record);
        }
    }

    /// Applies settlements.
    pub(super) fn settle(&mut self, batch: Vec<(Out, Outcome)>) {
        self.commits.add(batch.len());
        for (out, outcome) in batch {
            let Out { mut record, epoch, _room: room } = out;
            drop(room);
            let (partition, offset) = (record.partition, record.offset);
            let Some(part) = self.parts.get_mut(&partition).filter(|part| part.epoch == epoch) else {
                // It was settled between the last look at the desk and the loss of its partition.
                self.commits.refuse(stale("settle").on(&self.channel));
                continue;
            };
            match outcome {
                Outcome::Ack | Outcome::Reject => part.dirty |= part.progress.done(offset),
                Outcome::Nack(delay) => {
                    part.progress.failed(offset, record.attempt);
                    part.dirty = true;
                    if self.leaving.is_none() && !part.revoking {
                        record.attempt = record.attempt.saturating_add(1);
                        // A moment later than a long delay is not to be told from it, and cannot overflow.
                        let due = Instant::now() + delay.min(super::LONGEST);
                        self.held.insert((due, partition, offset), record);
                    }
                }
                _ if self.leaving.is_none() && !part.revoking => drop(self.ready.insert((partition, offset), record)),
                _ => {}
            }
        }
    }

    /// Fetches no more while there is no room for long, and goes on when there is.
    pub(super) fn pace(&mut self, consumer: &Consumption) {
        let room = self.is_idle() && self.ready.is_empty();
        let over = self.stalled.is_some_and(|since| Instant::now() >= since + super::STALL);
        if !self.quiet && !room && over {
            self.quiet = true;
            let all: Vec<_> = self.parts.keys().copied().collect();
            self.set_paused(consumer, &all, true);
        } else if self.quiet && room {
            (self.quiet, self.stalled) = (false, None);
            let all: Vec<_> =
                self.parts.iter().filter(|(_, part)| part.stash.is_empty()).map(|(partition, _)| *partition).collect();
            self.set_paused(consumer, &all, false);
        }
        let mut fits = Vec::new();
        let (mark, now) = (self.clock.mark(), Timestamp::now());
        for (partition, part) in self.parts.iter_mut().filter(|(_, part)| !part.stash.is_empty()) {
            while let Some((mut record, due)) = part.stash.pop_front() {
                match part.progress.take(record.offset, mark) {
                    Taken::Full => {
                        part.stash.push_front((record, due));
                        break;
                    }
                    Taken::Done => part.dirty = true,
                    Taken::Known => {}
                    Taken::New(failed) => {
                        record.attempt = failed.saturating_add(1);
                        let place = (record.partition, record.offset);
                        match due.map(|due| due.since(now)).filter(|wait| !wait.is_zero()) {
                            Some(wait) => {
                                let due = Instant::now() + wait.min(super::LONGEST);
                                self.held.insert((due, place.0, place.1), record);
                            }
                            None => drop(self.ready.insert(place, record)),
                        }
                    }
                }
            }
            fits.push((*partition, part.stash.is_empty()));
        }
        for (partition, fits) in fits {
            if !self.quiet {
                self.set_paused(consumer, &[partition], !fits);
            }
        }
    }

    pub(super) fn set_paused(&self, consumer: &Consumption, partitions: &[i32], paused: bool) {
        let mut list = rdkafka::TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic.name, *partition);
        }
        // What is refused was taken away meanwhile.
        let _ = if paused { consumer.pause(&list) } else { consumer.resume(&list) };
    }
}
