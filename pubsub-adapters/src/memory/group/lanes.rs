//! Lanes keep messages of one key in order: while one of a lane is in flight, the lane belongs to its member.

use std::sync::atomic::{AtomicU64, Ordering};

use pubsub_core::Message;

const LANES: u64 = 1024;
/// The lane of messages whose order does not matter.
pub(super) const NO_LANE: u16 = u16::MAX;

/// How many lanes there are: one for everything, or many by key.
pub(super) fn count(total: bool) -> usize {
    if total { 1 } else { LANES as usize }
}

/// One word per lane: `member << 32 | messages in flight`.
#[derive(Debug)]
pub(super) struct Lanes {
    words: Box<[AtomicU64]>,
    total: bool,
}

impl Lanes {
    /// Lanes by key, or one lane for everything.
    pub(super) fn new(total: bool) -> Self {
        Self { words: (0..count(total)).map(|_| AtomicU64::new(0)).collect(), total }
    }

    /// The lane of a message; none if its order does not matter.
    pub(super) fn of(&self, message: &Message) -> Option<u16> {
        if self.total {
            return Some(0);
        }
        message.key().map(|key| (key.stable_hash() % LANES) as u16)
    }

    /// Whether nothing of the lane is in flight.
    pub(super) fn is_empty(&self, lane: u16) -> bool {
        self.words.get(usize::from(lane)).is_some_and(|word| word.load(Ordering::SeqCst) & 0xffff_ffff == 0)
    }

    /// Takes the lane for one more message of `member`; false while it belongs to another. Under the group's lock.
    pub(super) fn enter(&self, lane: u16, member: u32) -> bool {
        let word = &self.words[usize::from(lane)];
        let current = word.load(Ordering::Acquire);
        let (owner, in_flight) = ((current >> 32) as u32, current & 0xffff_ffff);
        if in_flight == 0 {
            // Nobody else enters under the lock, and nobody leaves an empty lane.
            word.store((u64::from(member) << 32) | 1, Ordering::Release);
            return true;
        }
        if owner != member {
            return false;
        }
        // The owner's last message may be settled this moment, without the lock: then the lane is empty and still its own.
        word.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Gives back one message; true if the lane is empty now.
    pub(super) fn exit(&self, lane: u16) -> bool {
        let before = self.words[usize::from(lane)].fetch_sub(1, Ordering::SeqCst);
        before & 0xffff_ffff == 1
    }
}
