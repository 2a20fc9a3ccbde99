//! What happens, and when: all of it follows from the seed.

use std::time::Duration;

/// How long, how much and by which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) seconds: u64,
    /// Events per second, in both groups together.
    pub(super) rate: usize,
}

impl Plan {
    /// Reads `seed=… seconds=… rate=…`; each may be left out.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut plan = Self { seed: 1, seconds: 60, rate: 400 };
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=')?;
            match name {
                "seed" => plan.seed = value.parse().ok()?,
                "seconds" => plan.seconds = value.parse().ok()?,
                "rate" => plan.rate = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(plan)
    }

    /// The events of this seed, without end.
    pub(super) fn events(self) -> impl Iterator<Item = Turn> {
        let mut dice = Dice(self.seed);
        std::iter::repeat_with(move || Turn::roll(&mut dice))
    }
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Event {
    /// The broker is asked to end, and started again.
    Restart,
    /// `kill -9`, and started again.
    Kill,
    /// `SIGSTOP`, and `SIGCONT`.
    Pause,
    /// All connections are reset.
    Cut,
    /// Nothing passes for a while.
    Stall,
    /// Whatever is sent vanishes for a while.
    Blackhole,
    /// A consumer joins.
    Join,
    /// A consumer leaves.
    Leave,
    /// A consumer is killed.
    Die,
    /// A consumer stands still for a while.
    Freeze,
}

impl Event {
    pub(super) const ALL: [Self; 10] = [
        Self::Restart,
        Self::Kill,
        Self::Pause,
        Self::Cut,
        Self::Stall,
        Self::Blackhole,
        Self::Join,
        Self::Leave,
        Self::Die,
        Self::Freeze,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Kill => "kill -9",
            Self::Pause => "stop",
            Self::Cut => "cut",
            Self::Stall => "stall",
            Self::Blackhole => "blackhole",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Die => "member kill -9",
            Self::Freeze => "member stop",
        }
    }

    /// Whether the broker, or the way to it, is what fails.
    pub(super) fn concerns_all(self) -> bool {
        !matches!(self, Self::Join | Self::Leave | Self::Die | Self::Freeze)
    }
}

/// An event, how long before it nothing happens, and how long it lasts where it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) before: Duration,
    pub(super) event: Event,
    pub(super) lasts: Duration,
    /// Which group, and which of its members, where one is concerned.
    pub(super) choice: usize,
}

impl Turn {
    fn roll(dice: &mut Dice) -> Self {
        let before = Duration::from_millis(300 + dice.below(2_700));
        let event = Event::ALL[dice.below(Event::ALL.len() as u64) as usize];
        let lasts = Duration::from_millis(100 + dice.below(4_000));
        Self { before, event, lasts, choice: dice.below(1 << 20) as usize }
    }
}

/// SplitMix64: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_all() {
        let plan = Plan::parse("seed=7 seconds=3").unwrap();
        assert_eq!(plan, Plan { seed: 7, seconds: 3, rate: 400 });
        let first: Vec<_> = plan.events().take(200).collect();
        assert_eq!(first, plan.events().take(200).collect::<Vec<_>>());
        assert_ne!(first, Plan { seed: 8, ..plan }.events().take(200).collect::<Vec<_>>());
        for event in Event::ALL {
            assert!(first.iter().any(|turn| turn.event == event), "{event:?} never happens");
        }
        assert_eq!(Plan::parse("sed=1"), None);
    }
}
