//! How long the handlers of a subscription take.

use pubsub_core::observe::{Begun, Durations, Observer, names};

use crate::router::Plan;

/// The calls of one handler, by how they ended.
pub(super) struct Took {
    success: Durations,
    failure: Durations,
}

impl Took {
    /// For every handler of a subscription, in their order.
    pub(super) fn of(plan: &Plan, observer: &Observer) -> Vec<Self> {
        let (channel, group) = (("channel", plan.channel.as_str()), ("group", plan.group.as_str()));
        let durations = |event, outcome| {
            let series = observer.series(&[channel, group, ("event", event), ("outcome", outcome)]);
            series.durations(&names::HANDLER_DURATION)
        };
        let names = plan.served.iter().map(|served| served.name.as_str());
        names.map(|event| Self { success: durations(event, "success"), failure: durations(event, "failure") }).collect()
    }

    pub(super) fn note(&self, begun: Begun, success: bool) {
        let durations = if success { &self.success } else { &self.failure };
        durations.since(begun);
    }
}
