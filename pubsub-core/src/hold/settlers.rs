//! The settlers of the source inside, to be flushed.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use crate::driver::Settler;

/// Every settler that deliveries came with and that somebody still holds. A source has few; one that makes a settler per
/// delivery must not fill the memory, so those that are gone are forgotten.
#[derive(Default)]
pub(super) struct Settlers {
    /// By address, which is not used again while it is in here.
    known: HashMap<usize, Weak<dyn Settler>>,
    last: usize,
    /// Beyond this many the dead are taken out.
    limit: usize,
}

/// Fewer are not worth looking through.
const FEW: usize = 16;

impl Settlers {
    pub(super) fn met(&mut self, settler: &Arc<dyn Settler>) {
        let address = Arc::as_ptr(settler).cast::<()>().addr();
        if address == self.last {
            return;
        }
        self.known.entry(address).or_insert_with(|| Arc::downgrade(settler));
        self.last = address;
        if self.known.len() > self.limit.max(FEW) {
            self.known.retain(|_, settler| settler.strong_count() > 0);
            self.limit = 2 * self.known.len();
        }
    }

    pub(super) fn alive(&self) -> Vec<Arc<dyn Settler>> {
        self.known.values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Result,
        driver::{AckToken, BoxFuture, Outcome},
    };

    struct Deaf(#[expect(dead_code, reason = "without a size all would have one address")] u8);

    impl Settler for Deaf {
        fn settle(&self, _: AckToken, _: Outcome) -> bool {
            true
        }

        fn is_live(&self, _: AckToken) -> bool {
            true
        }

        fn extend(&self, _: AckToken, _: Duration) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn flush(&self) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[test]
    fn each_is_known_once_and_the_dead_are_forgotten() {
        let mut settlers = Settlers::default();
        let kept: Vec<Arc<dyn Settler>> = (0..40).map(|n| Arc::new(Deaf(n)) as _).collect();
        for settler in kept.iter().chain(&kept) {
            settlers.met(settler);
        }
        assert_eq!(settlers.alive().len(), 40);
        for n in 0..100 {
            let fleeting: Arc<dyn Settler> = Arc::new(Deaf(n));
            settlers.met(&fleeting);
        }
        assert_eq!(settlers.alive().len(), 40);
        assert!(settlers.known.len() <= 80, "{}", settlers.known.len());
    }
}
