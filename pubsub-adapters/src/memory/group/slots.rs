//! One atomic word per unsettled message: whose lease it is, and whether it is done.

use std::sync::atomic::{AtomicU64, Ordering};

const STATE_BITS: u32 = 2;
const GENERATION_BITS: u32 = 30;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

/// What a slot says of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Mark {
    /// A consumer has it.
    Leased = 1,
    /// It is settled.
    Done = 2,
    /// It waits to be delivered.
    Waiting = 3,
}

/// A ring of words `sequence << 32 | generation << 2 | mark`, as long as the group's window.
///
/// The generation grows with each lease. The attempt would not do: a message that is taken back keeps its attempt, and
/// a token of the old lease would settle the new one.
#[derive(Debug)]
pub(super) struct Slots {
    words: Box<[AtomicU64]>,
    owners: Box<[AtomicU64]>,
    mask: u64,
}

impl Slots {
    pub(super) fn new(window: usize) -> Self {
        let len = window.next_power_of_two();
        let zeroed = || (0..len).map(|_| AtomicU64::new(0)).collect();
        Self { words: zeroed(), owners: zeroed(), mask: len as u64 - 1 }
    }

    /// How many messages may be unsettled.
    pub(super) fn len(&self) -> u64 {
        self.mask + 1
    }

    fn word(&self, seq: u64) -> &AtomicU64 {
        &self.words[(seq & self.mask) as usize]
    }

    fn pack(seq: u64, generation: u64, mark: Mark) -> u64 {
        (seq << 32) | ((generation & GENERATION_MASK) << STATE_BITS) | mark as u64
    }

    /// Writes a slot; only under the group's lock, and only for messages that are not leased.
    pub(super) fn set(&self, seq: u64, generation: u64, mark: Mark) {
        self.word(seq).store(Self::pack(seq, generation, mark), Ordering::Release);
    }

    /// Changes a lease of this generation into `mark`; false if it is gone.
    pub(super) fn end_lease(&self, seq: u64, generation: u64, mark: Mark) -> bool {
        let (from, to) = (Self::pack(seq, generation, Mark::Leased), Self::pack(seq, generation, mark));
        self.word(seq).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether this very lease holds.
    pub(super) fn is_leased(&self, seq: u64, generation: u64) -> bool {
        self.word(seq).load(Ordering::Acquire) == Self::pack(seq, generation, Mark::Leased)
    }

    /// The generation of the lease, if the message is leased.
    pub(super) fn lease_of(&self, seq: u64) -> Option<u64> {
        let word = self.word(seq).load(Ordering::Acquire);
        let generation = (word >> STATE_BITS) & GENERATION_MASK;
        (word == Self::pack(seq, generation, Mark::Leased)).then_some(generation)
    }

    /// Whether the message is settled.
    pub(super) fn is_done(&self, seq: u64) -> bool {
        let word = self.word(seq).load(Ordering::Acquire);
        word >> 32 == seq & 0xffff_ffff && word & 3 == Mark::Done as u64
    }

    /// Remembers the member and lane of a lease.
    pub(super) fn set_owner(&self, seq: u64, member: u32, lane: u16) {
        let word = (u64::from(member) << 16) | u64::from(lane);
        self.owners[(seq & self.mask) as usize].store(word, Ordering::Relaxed);
    }

    /// Member and lane of a lease.
    pub(super) fn owner(&self, seq: u64) -> (u32, u16) {
        let word = self.owners[(seq & self.mask) as usize].load(Ordering::Relaxed);
        ((word >> 16) as u32, (word & 0xffff) as u16)
    }
}
