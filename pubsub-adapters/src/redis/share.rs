//! Which shards of ordered channels this member reads: each has one reader at a time, who holds a lock on it.
//!
//! A shard is handed over only when nothing of it is out: its reader stops reading, waits until all is settled, and lets
//! go of the lock. The next one first takes everything that is pending, in order, and then what is new.

use std::sync::atomic::Ordering;

use ::redis::RedisResult;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::{
    connection::Link,
    group::Member,
    pull::Puller,
    scripts,
    tend::member_ttl,
    wire::{self, EntryId},
};

/// What this member has to do with a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Anybody reads it: the channel promises no order.
    Free,
    /// Somebody else reads it.
    None,
    /// This member reads it, once it has taken what is pending, up to this entry by now.
    Recovering(EntryId),
    /// This member reads it.
    Reader,
    /// This member reads no more of it, and hands it over.
    Leaving,
}

/// The shards of a membership.
#[derive(Debug)]
pub(super) struct Shards(Vec<Role>);

impl Shards {
    pub(super) fn new(member: &Member) -> Self {
        let role = |ordered| if ordered { Role::None } else { Role::Free };
        Self(member.parts.iter().map(|part| role(part.channel.is_ordered())).collect())
    }

    /// Whether new events of a part are read here.
    pub(super) fn is_read(&self, index: usize) -> bool {
        matches!(self.0.get(index), Some(Role::Free | Role::Reader))
    }

    /// The parts whose new events are read here.
    pub(super) fn readable(&self) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(|index| self.is_read(*index))
    }

    /// Whether what was read of a part may be handed out here.
    pub(super) fn is_held(&self, index: usize) -> bool {
        matches!(self.0.get(index), Some(Role::Free | Role::Reader | Role::Leaving))
    }

    /// The parts whose pending events are to be taken first.
    pub(super) fn to_recover(&self) -> Vec<usize> {
        let recovering = |(index, role): (usize, &Role)| matches!(role, Role::Recovering(_)).then_some(index);
        self.0.iter().enumerate().filter_map(recovering).collect()
    }

    /// Up to where the pending events of a part were taken.
    pub(super) fn recovered(&self, index: usize) -> Option<EntryId> {
        match self.0.get(index) {
            Some(Role::Recovering(last)) => Some(*last),
            _ => None,
        }
    }

    pub(super) fn set_recovered(&mut self, index: usize, last: EntryId) {
        if let Some(role @ Role::Recovering(_)) = self.0.get_mut(index) {
            *role = Role::Recovering(last);
        }
    }

    /// All that was pending is taken.
    pub(super) fn set_ready(&mut self, index: usize) {
        if let Some(role @ Role::Recovering(_)) = self.0.get_mut(index) {
            *role = Role::Reader;
        }
    }

    /// Takes what is pending once more, if the part is this member's.
    pub(super) fn begin_again(&mut self, index: usize) {
        if let Some(role @ (Role::Reader | Role::Recovering(_))) = self.0.get_mut(index) {
            *role = Role::Recovering(EntryId::default());
        }
    }
}

impl Puller {
    /// Whether something of a part was lost or given back, and it was not read anew since.
    pub(super) fn is_behind(&self) -> bool {
        self.member.parts.iter().zip(&self.losses).any(|(part, known)| part.losses() != *known)
    }

    /// Begins anew on parts of which something was lost or given back: later events must not overtake it.
    pub(super) fn restart_parts(&mut self) {
        for (index, part) in self.member.parts.iter().enumerate() {
            let losses = part.losses();
            if self.losses[index] != losses {
                self.losses[index] = losses;
                self.member.desk.take_if(|out| out.part == index);
                self.shards.begin_again(index);
            }
        }
    }

    /// Another connection: what was asked on the last one and arrives late is to be refused.
    pub(super) fn forget_fences(&mut self) {
        for (index, part) in self.member.parts.iter().enumerate().filter(|(_, part)| part.ordered) {
            part.fence.store(0, Ordering::SeqCst);
            part.lose(self.losses[index]);
        }
    }

    /// Lets go of what was not renewed in time: somebody else may read it by now.
    pub(super) fn lapse_parts(&mut self, now: Instant) {
        for index in 0..self.member.parts.len() {
            let part = &self.member.parts[index];
            if part.ordered && self.shards.0[index] != Role::None && !self.member.holds_part(part, now) {
                self.lapse(index);
            }
        }
    }

    /// Whatever is still out of a part is somebody else's to deliver now.
    pub(super) fn lapse(&mut self, index: usize) {
        let part = &self.member.parts[index];
        self.shards.0[index] = Role::None;
        part.fence.store(0, Ordering::SeqCst);
        self.member.hold_part(part, None);
        part.lose(part.losses());
        self.losses[index] = part.losses();
        self.member.desk.take_if(|out| out.part == index);
    }

    /// Takes this member's share of the shards, and keeps what it has.
    pub(super) async fn share(&mut self, conn: &Link) -> RedisResult<()> {
        let member = self.member.clone();
        let mut begin = 0;
        while begin < member.parts.len() {
            let channel = &member.parts[begin].channel;
            let shards = channel.streams.len();
            if channel.is_ordered() {
                self.share_channel(conn, begin, shards).await?;
            }
            begin += shards;
        }
        Ok(())
    }

    async fn share_channel(&mut self, conn: &Link, begin: usize, shards: usize) -> RedisResult<()> {
        let member = self.member.clone();
        let channel = &member.parts[begin].channel;
        let mut out = vec![0_usize; shards];
        member.desk.for_each(|_, held| {
            if let Some(count) = held.part.checked_sub(begin).and_then(|shard| out.get_mut(shard)) {
                *count += 1;
            }
        });
        let leaving = member.is_leaving();
        // The next one takes what is pending, which is what the server was not told of.
        let told = member.desk.flush().now_or_never().is_some();
        let mut keys = vec![channel.keys.members(&member.group)];
        keys.extend((0..shards).map(|shard| channel.keys.lock(&member.group, shard)));
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let mut share = scripts::SHARE.call(&keys);
        let lease = member.lease.duration.as_millis() as u64;
        share.arg(&member.name).arg(lease).arg(member_ttl(&member).as_millis() as u64);
        let number = member.hub.next_member();
        share.arg(number % shards as u64).arg(number);
        for (shard, count) in out.iter().enumerate() {
            let done = told && *count == 0 && (leaving || self.shards.0[begin + shard] == Role::Leaving);
            let fence = member.parts[begin + shard].fence.load(Ordering::SeqCst);
            share.arg(format!("{}{fence}", if done { 'd' } else { 'k' }));
        }
        if leaving {
            share.arg("leave");
        }
        let asked = Instant::now();
        let answer = conn.command(&share).await?;
        let numbers: Vec<_> = wire::list(answer).unwrap_or_default().iter().filter_map(wire::int).collect();
        let Some((share, owned)) = numbers.split_first() else { return Ok(()) };
        let until = member.until(asked);
        let mut mine = 0;
        for (shard, owned) in owned.iter().enumerate().take(shards) {
            let index = begin + shard;
            match (*owned, self.shards.0[index]) {
                (0, Role::None) => {}
                (0, _) => self.lapse(index),
                (2, _) | (_, Role::None) => {
                    self.lapse(index);
                    member.parts[index].fence.store(number, Ordering::SeqCst);
                    self.shards.0[index] = Role::Recovering(EntryId::default());
                }
                _ => {}
            }
            if *owned != 0 {
                member.hold_part(&member.parts[index], Some(until));
            }
            mine += i64::from(*owned != 0);
            if member.renews() && *owned != 0 {
                member.desk.for_each(|_, held| {
                    if held.part == index {
                        held.until = held.until.max(until);
                    }
                });
            }
        }
        // Those beyond the share are handed over, the last ones first.
        let mut excess = mine - share;
        for role in self.shards.0[begin..begin + shards].iter_mut().rev() {
            match role {
                Role::Leaving => excess -= 1,
                Role::Reader | Role::Recovering(_) if excess > 0 => {
                    *role = Role::Leaving;
                    excess -= 1;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
