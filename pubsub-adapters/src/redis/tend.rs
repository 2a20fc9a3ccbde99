//! Looking after what is pending: leases are renewed, what others have left is taken over, what is gone is made again.

use std::time::Duration;

use ::redis::{RedisError, RedisResult, Value, cmd};
use pubsub_core::{
    Timestamp,
    driver::{Gap, GapReason, SubscriptionState},
};
use tokio::time::{Instant, timeout};

use super::{
    connection::Link,
    error::is_missing,
    group::{Member, Part},
    pull::{BLOCK, GRACE, Puller},
    scripts, topology,
    wire::{self, Entry},
};

/// How many pending entries one call takes over.
const TAKEN: usize = 256;
/// How long to wait for settlements that are on their way to the server.
const FLUSH: Duration = Duration::from_secs(1);

impl Puller {
    /// After a lost connection: takes what was read for this member and never arrived.
    pub(super) async fn take_unseen(&mut self) -> RedisResult<()> {
        let member = self.member.clone();
        let none = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::NotConnected));
        let link = member.hub.wait("receive", Instant::now() + GRACE).await.map_err(none)?;
        // What is settled and not told yet would come again.
        let _ = timeout(FLUSH, member.desk.flush()).await;
        // Of ordered parts, all that is pending is taken before anything new.
        for index in (0..member.parts.len()).filter(|index| !member.parts[*index].ordered) {
            self.recover(&link, index, &member.name).await?;
        }
        // A read may still wait at the server, for a client that is gone.
        self.orphans_at = Some(Instant::now() + BLOCK + GRACE);
        Ok(())
    }

    /// Takes what is this member's at the server and not known here. Nothing may be on its way to this member meanwhile.
    pub(super) async fn find_orphans(&mut self, conn: &Link) -> RedisResult<()> {
        let member = self.member.clone();
        self.orphans_at = None;
        let flushed = timeout(FLUSH, member.desk.flush()).await;
        let mut again = flushed.is_err();
        let free = |(_, part): &(_, &Part)| flushed.is_ok() && !part.ordered;
        for (index, part) in member.parts.iter().enumerate().filter(free) {
            let mut out = 0;
            member.desk.for_each(|_, held| out += usize::from(held.part == index));
            let mut pending = cmd("XPENDING");
            pending.arg(part.stream()).arg(member.group.as_str()).arg("-").arg("+").arg(out + 1).arg(&member.name);
            let found = match conn.command(&pending).await {
                Err(error) if is_missing(&error) => continue,
                answer => wire::list(answer?).unwrap_or_default().len(),
            };
            if found <= out {
                continue;
            }
            again |= !self.recover(conn, index, &member.name).await?;
        }
        if again {
            self.orphans_at = Some(Instant::now() + FLUSH);
        }
        Ok(())
    }

    /// Takes everything pending of a part in order: all of it, or what is one owner's. Says whether there was room for all.
    pub(super) async fn recover(&mut self, conn: &Link, index: usize, owner: &str) -> RedisResult<bool> {
        let member = self.member.clone();
        let part = &member.parts[index];
        let mut after = self.shards.recovered(index).unwrap_or_default();
        loop {
            let room = member.window.saturating_sub(member.desk.len()).min(TAKEN);
            if room == 0 {
                return Ok(false);
            }
            let mut out = Vec::new();
            member.desk.for_each(|_, held| out.extend((held.part == index).then_some(held.entry)));
            let lock = part.channel.keys.lock(&member.group, part.shard);
            let mut call = scripts::RECOVER.call(&[part.stream(), &part.due, &lock, &part.failed]);
            call.arg(member.group.as_str()).arg(&member.name).arg(after.to_string()).arg(room).arg(owner);
            call.arg(part.lock_text(&member.name));
            for entry in out {
                call.arg(entry.to_string());
            }
            let asked = Instant::now();
            let answer = match conn.command(&call).await {
                Err(error) if is_missing(&error) => return Ok(true),
                answer => answer?,
            };
            let Some([found, lost, last]) = wire::list(answer).and_then(|parts| <[_; 3]>::try_from(parts).ok()) else {
                if part.ordered {
                    self.lapse(index);
                    self.tend_at = Instant::now();
                }
                return Ok(false);
            };
            self.hand_out_claimed(index, found, asked);
            self.tell_lost(index, wire::int(&lost).unwrap_or(0));
            match wire::entry_id(&last) {
                Some(last) => {
                    after = last;
                    self.shards.set_recovered(index, last);
                }
                None => return Ok(true),
            }
        }
    }

    /// Hands out what a script has claimed: entries with their counts, in the order of their ids.
    fn hand_out_claimed(&self, index: usize, found: Value, asked: Instant) {
        let claimed = |item: Value| {
            let [id, fields, count, failed] = <[_; 4]>::try_from(wire::list(item)?).ok()?;
            let entry = Entry { id: wire::entry_id(&id)?, fields: wire::fields_of(fields)? };
            let failed = wire::int(&failed).and_then(|ms| Timestamp::from_millis(ms).ok());
            Some((entry, u32::try_from(wire::int(&count)?).unwrap_or(u32::MAX), failed))
        };
        let mut found: Vec<_> = wire::list(found).unwrap_or_default().into_iter().filter_map(claimed).collect();
        found.sort_unstable_by_key(|(entry, ..)| entry.id);
        let until = self.member.until(asked);
        let hand_out = |(entry, count, failed): (_, u32, _)| {
            let mut delivery = self.hand_out(index, entry, count.max(1), until);
            delivery.first_seen = failed;
            delivery
        };
        let deliveries: Vec<_> = found.into_iter().map(hand_out).collect();
        if !deliveries.is_empty() {
            self.member.feed.deliver_all(deliveries);
        }
    }

    fn tell_lost(&self, index: usize, lost: i64) {
        if lost != 0 {
            let channel = self.member.parts[index].channel.name.clone();
            self.member.feed.gap(Gap::new(channel, u64::try_from(lost).ok(), GapReason::Retention));
        }
    }

    /// Looks after every part that is this member's to look after. Says whether more is due than there was room for.
    pub(super) async fn tend_all(&mut self, conn: &Link, room: usize) -> RedisResult<bool> {
        let member = self.member.clone();
        let (mut room, mut left) = (room, false);
        for index in 0..member.parts.len() {
            if member.parts[index].ordered && !self.shards.is_read(index) {
                continue;
            }
            let before = member.desk.len();
            left |= self.tend(conn, index, room).await?;
            room = room.saturating_sub(member.desk.len().saturating_sub(before));
        }
        Ok(left)
    }

    async fn tend(&mut self, conn: &Link, index: usize, room: usize) -> RedisResult<bool> {
        let member = self.member.clone();
        let part = &member.parts[index];
        let members = part.channel.keys.members(&member.group);
        let room = if member.feed.is_paused() { 0 } else { room.min(TAKEN) };
        let mut tend = scripts::TEND.call(&[part.stream(), &part.due, &members, &part.failed]);
        tend.arg(member.group.as_str()).arg(&member.name).arg(member.lease.duration.as_millis() as u64).arg(room);
        tend.arg(member_ttl(&member).as_millis() as u64);
        tend.arg(u8::from(!part.ordered)).arg(u8::from(part.channel.is_bounded()));
        // Who does not take what waits for it already leaves to others what it has let run out.
        tend.arg(u8::from(member.feed.len() == 0));
        let asked = Instant::now();
        let answer = match conn.command(&tend).await {
            Err(error) if is_missing(&error) => {
                self.repair(conn, &error).await?;
                return Ok(false);
            }
            answer => answer?,
        };
        let Some([found, lost, overtaken, more]) = wire::list(answer).and_then(|parts| <[_; 4]>::try_from(parts).ok())
        else {
            return Ok(false);
        };
        self.tell_lost(index, wire::int(&overtaken).unwrap_or(0));
        self.tell_lost(index, wire::int(&lost).unwrap_or(0));
        self.hand_out_claimed(index, found, asked);
        let more = wire::int(&more).and_then(|more| u64::try_from(more).ok());
        if part.ordered && more == Some(0) {
            // What is due may lie before what is out.
            part.lose(self.losses[index]);
            member.wake.notify_one();
            return Ok(false);
        }
        if let Some(more) = more.filter(|more| *more > 0) {
            member.note_due(Instant::now() + Duration::from_millis(more + 1));
        }
        Ok(more == Some(0))
    }

    /// Renews the leases of what is out.
    pub(super) async fn renew(&mut self, conn: &Link) -> RedisResult<()> {
        let member = self.member.clone();
        let lease = member.lease.duration;
        if self.renewed.elapsed() < lease / 4 {
            return Ok(());
        }
        self.renewed = Instant::now();
        let now = self.renewed;
        for (index, part) in member.parts.iter().enumerate().filter(|(_, part)| !part.ordered) {
            let mut held = Vec::new();
            member.desk.for_each(|_, out| {
                let left = out.extended.map_or(Duration::ZERO, |extended| extended.saturating_duration_since(now));
                if out.part == index && (member.renews() || !left.is_zero()) {
                    let idle = if member.renews() { Duration::ZERO } else { lease.saturating_sub(left) };
                    held.push((out.entry, idle));
                }
            });
            for chunk in held.chunks(TAKEN) {
                let mut renew = scripts::RENEW.call(&[part.stream()]);
                renew.arg(member.group.as_str()).arg(&member.name);
                for (entry, idle) in chunk {
                    renew.arg(entry.to_string()).arg(idle.as_millis() as u64);
                }
                let answer = match conn.command(&renew).await {
                    Err(error) if is_missing(&error) => continue,
                    answer => answer?,
                };
                let lost: Vec<_> = wire::list(answer).unwrap_or_default().iter().filter_map(wire::entry_id).collect();
                member.desk.take_if(|out| out.part == index && lost.contains(&out.entry));
                if member.renews() {
                    let until = member.until(now);
                    member.desk.for_each(|_, out| {
                        if out.part == index && chunk.iter().any(|(entry, _)| *entry == out.entry) {
                            out.until = out.until.max(until);
                        }
                    });
                }
            }
        }
        Ok(())
    }

    /// Makes groups again that are gone, at the place that they had come to.
    pub(super) async fn repair(&mut self, conn: &Link, error: &RedisError) -> RedisResult<()> {
        let member = self.member.clone();
        member.feed.state(SubscriptionState::Recovering(error.to_string()));
        let mut told: Option<&str> = None;
        for (index, part) in member.parts.iter().enumerate() {
            let mut place = self.last[index];
            member.desk.for_each(|_, out| {
                if out.part == index {
                    place = place.min(out.entry.before());
                }
            });
            let mut create = scripts::CREATE.call(&[part.stream()]);
            create.arg(member.group.as_str()).arg(place.to_string());
            let made = wire::list(conn.command(&create).await?).unwrap_or_default();
            if made.first().and_then(wire::int) != Some(1) {
                continue;
            }
            // Nobody's lease on it means anything any more.
            member.desk.take_if(|out| out.part == index);
            if part.ordered {
                part.lose(self.losses[index]);
            }
            if told != Some(part.channel.name.as_str()) {
                member.feed.gap(Gap::new(part.channel.name.clone(), None, GapReason::DataLoss));
                told = Some(part.channel.name.as_str());
            }
        }
        topology::declare_again(&member.hub, conn).await?;
        member.feed.state(SubscriptionState::Active);
        Ok(())
    }
}

/// For how long a member counts as one without a sign of life.
pub(super) fn member_ttl(member: &Member) -> Duration {
    (member.lease.duration / 2).clamp(Duration::from_secs(3), Duration::from_secs(10))
}
