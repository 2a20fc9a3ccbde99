//! What the input demands: which orders are accepted, which lines are rejected, and which orders must end as dead
//! letters. All of it follows from the input alone, so that what the groups did can be held against it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::Serialize;

use super::{
    input::Line,
    order::{OrderCreated, Reason, Rejection},
    progress::Progress,
};

/// Things that are not made any more. Nobody told the shop, which still takes orders for them.
pub(crate) const DISCONTINUED: [&str; 3] = ["LAMP-LAVA", "CHAIR-BAG", "RADIO-TUBE"];

/// The lines rejected for one reason.
#[derive(Debug, Serialize)]
pub(crate) struct Rejected {
    pub(crate) count: u64,
    /// Where the first one is, as an example.
    pub(crate) line: u64,
    #[serde(flatten)]
    pub(crate) first: Rejection,
}

/// The account of the input. Of the orders only ids and fingerprints stay in memory.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    pub(crate) read: u64,
    pub(crate) rejected: BTreeMap<Reason, Rejected>,
    /// Accepted ids, each with a fingerprint of its order.
    accepted: HashMap<String, u64>,
    unavailable: HashSet<String>,
    unreachable: HashSet<String>,
    show_rejected: bool,
}

impl Intake {
    pub(crate) fn new(show_rejected: bool) -> Self {
        Self { show_rejected, ..Self::default() }
    }

    /// Enters a line, and gives its order if that is to be published.
    pub(crate) fn admit(&mut self, line: Line, progress: &Progress) -> Option<OrderCreated> {
        self.read += 1;
        match line.order.and_then(|order| self.accept(order)) {
            Ok(order) => Some(order),
            Err(first) => {
                if self.show_rejected {
                    progress.say(&format!("line {}: {first}", line.number));
                }
                let new = |first| Rejected { count: 0, line: line.number, first };
                self.rejected.entry(first.reason).or_insert_with(|| new(first)).count += 1;
                None
            }
        }
    }

    /// The first order of an id counts; what comes later is a repetition or a contradiction.
    fn accept(&mut self, order: OrderCreated) -> Result<OrderCreated, Rejection> {
        let mut hasher = DefaultHasher::new();
        format!("{order:?}").hash(&mut hasher);
        let fingerprint = hasher.finish();
        match self.accepted.get(&order.order_id) {
            Some(known) if *known == fingerprint => {
                return Err(Rejection::new(Reason::Duplicate, "/orderId", "repeats an earlier order"));
            }
            Some(_) => {
                return Err(Rejection::new(Reason::Conflict, "/orderId", "belongs to an earlier, different order"));
            }
            None => {}
        }
        if order.lines.iter().any(|line| DISCONTINUED.contains(&line.sku.as_str())) {
            self.unavailable.insert(order.order_id.clone());
        }
        if order.email.is_none() {
            self.unreachable.insert(order.order_id.clone());
        }
        self.accepted.insert(order.order_id.clone(), fingerprint);
        Ok(order)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.len()
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.values().map(|rejected| rejected.count).sum()
    }

    pub(crate) fn accepted_ids(&self) -> HashSet<&str> {
        self.accepted.keys().map(String::as_str).collect()
    }

    /// The accepted orders that a group cannot handle.
    pub(crate) fn doomed_ids(&self, group: &str) -> HashSet<&str> {
        let doomed = match group {
            "stock" => &self.unavailable,
            "notifications" => &self.unreachable,
            _ => return HashSet::new(),
        };
        doomed.iter().map(String::as_str).collect()
    }
}
