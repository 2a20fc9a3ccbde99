//! Which messages of a lane come after one of them.

/// Links the messages of each lane in their order, so that taking one back costs what its own lane has in flight.
#[derive(Debug)]
pub(super) struct Chain {
    /// For each slot, how far on the next message of its lane is; 0 for none yet.
    links: Box<[u32]>,
    lanes: Box<[Lane]>,
    mask: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// The message that was linked last, plus one.
    end: u64,
    /// No message from here on is leased.
    leased_end: u64,
}

impl Chain {
    /// For a window of `len` messages, a power of two, and this many lanes.
    pub(super) fn new(len: u64, lanes: usize) -> Self {
        let len = if lanes == 0 { 1 } else { len };
        let links = vec![0; usize::try_from(len).unwrap_or(usize::MAX)].into();
        Self { links, lanes: vec![Lane::default(); lanes].into(), mask: len - 1 }
    }

    fn slot(&self, seq: u64) -> usize {
        (seq & self.mask) as usize
    }

    /// Adds a message, which must be the last of all, behind those of its lane from `base` on.
    pub(super) fn link(&mut self, seq: u64, lane: u16, base: u64) {
        let slot = self.slot(seq);
        self.links[slot] = 0;
        let Some(lane) = self.lanes.get_mut(usize::from(lane)) else { return };
        let end = std::mem::replace(&mut lane.end, seq + 1);
        if let Some(last) = end.checked_sub(1).filter(|last| *last >= base) {
            let slot = self.slot(last);
            // Both lie in the window, whose length fits.
            self.links[slot] = (seq - last) as u32;
        }
    }

    /// Remembers that a message is leased.
    pub(super) fn leased(&mut self, seq: u64, lane: u16) {
        if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
            lane.leased_end = lane.leased_end.max(seq + 1);
        }
    }

    /// A lane's messages from `seq` on are being taken back. Returns before which message leases may lie.
    pub(super) fn take_back(&mut self, seq: u64, lane: u16) -> u64 {
        let Some(lane) = self.lanes.get_mut(usize::from(lane)) else { return 0 };
        std::mem::replace(&mut lane.leased_end, seq)
    }

    /// The next message of the same lane, if it lies before `end`.
    pub(super) fn after(&self, seq: u64, end: u64) -> Option<u64> {
        let link = u64::from(self.links[self.slot(seq)]);
        Some(seq + link).filter(|next| link > 0 && *next < end)
    }

    pub(super) fn clear(&mut self) {
        self.lanes.fill(Lane::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_followed_as_far_as_they_are_leased() {
        let mut chain = Chain::new(8, 2);
        for seq in 0..8 {
            chain.link(seq, (seq % 2) as u16, 0);
        }
        [0, 2, 4].into_iter().for_each(|seq| chain.leased(seq, 0));
        assert_eq!([chain.after(0, 8), chain.after(4, 8), chain.after(6, 8)], [Some(2), Some(6), None]);
        assert_eq!((chain.take_back(2, 0), chain.take_back(0, 0)), (5, 2));
        assert_eq!((chain.after(2, 5), chain.after(4, 5)), (Some(4), None));
        // Slots that were used before belong to their new message alone.
        chain.link(8, 1, 8);
        assert_eq!((chain.after(7, 99), chain.after(8, 99)), (None, None));
        chain.link(9, 1, 8);
        assert_eq!(chain.after(8, 99), Some(9));
    }
}
