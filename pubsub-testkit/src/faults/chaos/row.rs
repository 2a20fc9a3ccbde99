//! The row that a run of chaos is summed up in.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::plan::{Event, Plan};
use crate::{broker::BrokerKind, conformance::Failure, faults::Counts};

/// What befell whom, and what came of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) broker: BrokerKind,
    pub(super) plan: Plan,
    pub(super) befell: BTreeMap<Event, usize>,
    pub(super) counts: Counts,
    pub(super) failure: Option<Failure>,
}

impl Row {
    pub(super) fn new(broker: BrokerKind, plan: Plan) -> Self {
        Self { broker, plan, befell: BTreeMap::new(), counts: Counts::default(), failure: None }
    }

    /// Adds a group's counts, and how it failed if it did.
    pub(super) fn add(&mut self, counts: Counts, failure: Option<Failure>) {
        let sum = &mut self.counts;
        sum.published += counts.published;
        sum.confirmed += counts.confirmed;
        sum.delivered += counts.delivered;
        sum.duplicates += counts.duplicates;
        sum.lost += counts.lost;
        sum.out_of_order += counts.out_of_order;
        sum.failed += counts.failed;
        sum.gaps += counts.gaps;
        sum.silence = sum.silence.max(counts.silence).max(Duration::ZERO);
        self.failure = self.failure.take().or(failure);
    }
}

impl fmt::Display for Row {
    /// Fields after the word `chaos`, with tabs between them, and lines about a failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let befell: Vec<_> = self.befell.iter().map(|(event, times)| format!("{} {times}", event.name())).collect();
        let Counts { published, confirmed, delivered, duplicates, lost, out_of_order, silence, .. } = self.counts;
        let Plan { seed, seconds, .. } = self.plan;
        write!(f, "chaos\t{}\t{seed}\t{seconds}\t{published}\t{confirmed}\t{delivered}\t{duplicates}", self.broker)?;
        write!(f, "\t{lost}\t{out_of_order}\t{:.1}\t{}", silence.as_secs_f64(), befell.join(", "))?;
        match &self.failure {
            Some(failure) => write!(f, "\nfailed with seed {seed}: {failure}"),
            None => Ok(()),
        }
    }
}
