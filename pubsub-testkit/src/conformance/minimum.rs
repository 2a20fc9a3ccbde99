//! The least that adapters must declare, as a table that is checked in.

use pubsub_core::driver::{Capabilities, Feature, Support};

use super::{Failure, Verdict};

/// The least support per feature; what is not named may be absent.
#[derive(Clone, Debug, Default)]
pub struct Minimum(Vec<(Feature, Support)>);

impl Minimum {
    /// A table without demands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands at least this support of these features.
    #[must_use]
    pub fn at_least(mut self, support: Support, features: &[Feature]) -> Self {
        for &feature in features {
            self.0.retain(|(known, _)| *known != feature);
            self.0.push((feature, support));
        }
        self
    }

    /// Takes features out of the table.
    #[must_use]
    pub fn except(mut self, features: &[Feature]) -> Self {
        self.0.retain(|(known, _)| !features.contains(known));
        self
    }

    /// Holds a declaration against the table. Whatever the table says, an adapter must offer some way to subscribe.
    ///
    /// # Errors
    /// A failure that names every feature declared too low.
    pub fn check(&self, capabilities: &Capabilities) -> Verdict {
        let low: Vec<_> = self
            .0
            .iter()
            .filter(|(feature, least)| capabilities.support(*feature) < *least)
            .map(|(feature, least)| {
                format!("{} is {:?} instead of {least:?}", feature.as_str(), capabilities.support(*feature))
            })
            .collect();
        if !low.is_empty() {
            return Err(Failure::new("at least the support of the minimum table", low.join(", ")));
        }
        let ways = [Feature::DurableGroup, Feature::EphemeralBroadcast, Feature::LosslessBroadcast];
        if !ways.iter().any(|feature| capabilities.has(*feature)) {
            return Err(Failure::new("at least one way to subscribe", "none declared"));
        }
        Ok(())
    }
}
