//! How the service is, and which events it knows.

use std::collections::BTreeMap;

use pubsub_core::{Direction, EventDefinition, driver::AdapterState};
use serde_json::{Map, Value, json};
use std::sync::Arc;

use super::channels::sample;
use crate::{ApiError, Operation, User, edge::Inner};

impl Inner {
    /// The newest version of every event that clients may know of.
    pub(crate) fn public_definitions(&self) -> impl Iterator<Item = &Arc<EventDefinition>> {
        let mut newest: BTreeMap<&str, &Arc<EventDefinition>> = BTreeMap::new();
        for definition in self.bus.catalog().iter() {
            newest.insert(definition.name().as_str(), definition);
        }
        newest.into_values().filter(|definition| definition.direction() != Direction::Internal)
    }

    /// The events that a user may know of: those of channels that it may read, write or publish on.
    pub(crate) async fn definitions(&self, user: Option<&User>) -> Result<Value, ApiError> {
        let mut definitions = Map::new();
        for definition in self.public_definitions() {
            if !self.concerns(user, definition).await? {
                continue;
            }
            let entry = json!({
                "name": definition.name(),
                "channel": definition.channel(),
                "direction": definition.direction(),
                "description": definition.description(),
                "version": definition.version(),
                "payloadSchema": definition.payload_schema(),
            });
            definitions.insert(definition.name().to_string(), entry);
        }
        let events: Vec<_> = definitions.keys().cloned().collect();
        Ok(json!({ "totalEvents": events.len(), "events": events, "definitions": definitions }))
    }

    async fn concerns(&self, user: Option<&User>, definition: &EventDefinition) -> Result<bool, ApiError> {
        let channel = definition.channel();
        let Ok(allowed) = self.exposed(channel) else { return Ok(false) };
        for operation in [Operation::Read, Operation::Write, Operation::Publish] {
            if self.may(user, channel, operation, &allowed).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How the service is.
    pub(crate) async fn service_status(&self, user: Option<&User>) -> Result<Value, ApiError> {
        let status = match self.bus.states().current() {
            _ if self.hub.is_draining() => "draining",
            AdapterState::Ready => "running",
            _ => "degraded",
        };
        let mut channels = Vec::new();
        for (pattern, _) in self.policies.iter() {
            let channel = sample(pattern);
            let allowed = self.exposed(&channel)?;
            if self.may(user, &channel, Operation::Read, &allowed).await? {
                channels.push(pattern.to_string());
            }
        }
        Ok(json!({
            "status": status,
            "version": env!("CARGO_PKG_VERSION"),
            "adapter": self.bus.capabilities().adapter,
            "eventsRegistered": self.public_definitions().count(),
            "channels": channels,
            "activeSubscribers": self.hub.streams(),
            "uptime": self.started.elapsed().as_secs_f64(),
            "timestamp": self.bus.clock().now(),
        }))
    }

    /// Who is subscribed at this node, as far as the user may read the channels.
    pub(crate) async fn subscription_stats(&self, user: Option<&User>) -> Result<Value, ApiError> {
        let mut per_channel = BTreeMap::new();
        for (channel, occupied) in self.hub.occupied() {
            let Ok(allowed) = self.exposed(&channel) else { continue };
            if self.may(user, &channel, Operation::Read, &allowed).await? {
                per_channel.insert(channel.to_string(), occupied.streams);
            }
        }
        Ok(json!({
            "totalSubscriptions": self.hub.streams(),
            "activeChannels": per_channel.keys().collect::<Vec<_>>(),
            "perChannel": per_channel,
            "slowConsumersDropped": self.hub.slow_dropped(),
            "connectionStatus": "connected",
            "lastActivity": self.hub.last_activity(),
        }))
    }

    /// Whether the service works: true while the broker answers.
    pub(crate) async fn health(&self) -> (bool, Value) {
        let health = self.bus.health().await;
        let state = match &health.state {
            AdapterState::Ready => "ready",
            AdapterState::Connecting => "connecting",
            AdapterState::Closed => "closed",
            _ => "degraded",
        };
        let round_trip = health.round_trip.map(|time| time.as_secs_f64() * 1_000.0);
        let healthy = health.is_up();
        let details = json!({
            "adapter": self.bus.capabilities().adapter,
            "state": state,
            "roundTripMs": round_trip,
            "draining": self.hub.is_draining(),
        });
        (healthy, json!({ "healthy": healthy, "details": details }))
    }
}
