//! Rows that keep their order: one of a lane is on its way, and a few wait behind it.

use std::collections::{HashMap, VecDeque};

use pubsub_core::store::{OutboxRow, RowId};

/// The lanes that have a row on its way.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: HashMap<String, Lane>,
    most: usize,
}

#[derive(Debug, Default)]
struct Lane {
    behind: VecDeque<OutboxRow>,
    /// Whether rows of it were left in the table because there was no room.
    more: bool,
}

/// What becomes of a row that was fetched.
#[derive(Debug)]
pub(super) enum Place {
    /// It is sent.
    First(OutboxRow),
    /// It waits behind the one that is on its way.
    Behind,
    /// It stays in the table.
    Full,
}

impl Lanes {
    /// With so many rows behind the one of a lane, at most: a slow lane must not fill the window.
    pub(super) fn new(most: usize) -> Self {
        Self { lanes: HashMap::new(), most }
    }

    /// Those that take no more rows now.
    pub(super) fn full(&mut self) -> Vec<&str> {
        let most = self.most;
        let full = self.lanes.iter_mut().filter(|(_, lane)| lane.behind.len() >= most);
        full.map(|(name, lane)| {
            lane.more = true;
            name.as_str()
        })
        .collect()
    }

    /// Gives a row its place.
    pub(super) fn admit(&mut self, row: OutboxRow) -> Place {
        let Some(name) = &row.lane else { return Place::First(row) };
        match self.lanes.get_mut(name) {
            None => {
                self.lanes.insert(name.clone(), Lane::default());
                Place::First(row)
            }
            Some(lane) if lane.behind.len() < self.most => {
                lane.behind.push_back(row);
                Place::Behind
            }
            Some(lane) => {
                lane.more = true;
                Place::Full
            }
        }
    }

    /// The row on its way has gone through: the next one, and whether more of the lane can be fetched.
    pub(super) fn advance(&mut self, name: &str) -> (Option<OutboxRow>, bool) {
        let Some(lane) = self.lanes.get_mut(name) else { return (None, false) };
        let next = lane.behind.pop_front();
        // Some in store, so that the lane does not run dry while they are fetched.
        let fetch = lane.more && lane.behind.len() <= self.most / 2;
        lane.more &= !fetch;
        if next.is_none() {
            self.lanes.remove(name);
        }
        (next, fetch)
    }

    /// The lane has nothing on its way any more. Gives the rows that waited.
    pub(super) fn clear(&mut self, name: &str) -> Vec<RowId> {
        let lane = self.lanes.remove(name).unwrap_or_default();
        lane.behind.iter().map(|row| row.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, lane: Option<&str>) -> OutboxRow {
        let mut row = OutboxRow::new(RowId(id), bytes::Bytes::new());
        row.lane = lane.map(str::to_owned);
        row
    }

    fn id(row: Option<OutboxRow>) -> Option<i64> {
        row.map(|row| row.id.0)
    }

    #[test]
    fn a_lane_is_refilled_before_it_runs_dry() {
        let mut lanes = Lanes::new(4);
        assert!(matches!(lanes.admit(row(0, None)), Place::First(_)));
        assert!(matches!(lanes.admit(row(1, Some("a"))), Place::First(_)));
        for n in 2..6 {
            assert!(matches!(lanes.admit(row(n, Some("a"))), Place::Behind));
        }
        assert!(matches!(lanes.admit(row(6, Some("a"))), Place::Full));
        assert!(matches!(lanes.admit(row(7, Some("b"))), Place::First(_)));
        assert_eq!(lanes.full(), ["a"]);
        let (next, fetch) = lanes.advance("a");
        assert_eq!((id(next), fetch), (Some(2), false));
        let (next, fetch) = lanes.advance("a");
        assert_eq!((id(next), fetch), (Some(3), true), "said once");
        let (next, fetch) = lanes.advance("a");
        assert_eq!((id(next), fetch), (Some(4), false));
        assert!(lanes.full().is_empty());
        assert_eq!(lanes.clear("a"), [RowId(5)]);
        assert_eq!(id(lanes.advance("b").0), None);
        assert!(lanes.lanes.is_empty());
    }
}
