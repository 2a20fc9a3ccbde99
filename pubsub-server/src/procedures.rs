//! Which procedures there are: those of `pubsub`, and those of the events that clients may use.

use std::{collections::HashMap, sync::Arc};

use pubsub_codegen::{Contracts, ProcedureKind as Kind};
use pubsub_core::{Catalog, EventDefinition, Result};
use serde_json::value::RawValue;

use crate::{
    ApiError,
    edge::{Answer, Caller, Edge},
    ops::{self, HistoryInput, InfoInput, ListInput, Plan, PublishInput, SendInput, Sending},
    policy::WebPolicies,
    procedure::{ConnectionParams, ProcedureKind, Procedures},
    streaming::Streaming,
};

/// A procedure.
#[derive(Clone, Debug)]
enum Procedure {
    Publish,
    SendEvent,
    FetchHistory,
    ListChannels,
    ChannelInfo,
    Definitions,
    Status,
    Stats,
    Health,
    Subscribe,
    /// Sends an event, and answers what its action returns.
    Send(Arc<EventDefinition>),
    /// Asks an action that only reads.
    Ask(Arc<EventDefinition>),
    /// Streams one event.
    On(Arc<EventDefinition>),
}

impl Procedure {
    fn kind(&self) -> ProcedureKind {
        match self {
            Self::Publish | Self::SendEvent | Self::Send(_) => ProcedureKind::Mutation,
            Self::Subscribe | Self::On(_) => ProcedureKind::Subscription,
            _ => ProcedureKind::Query,
        }
    }
}

/// The procedures by path.
#[derive(Debug)]
pub(crate) struct Table(HashMap<String, Procedure>);

impl Table {
    /// The procedures of `pubsub`, and those of every event that clients may use on a channel that is exposed.
    ///
    /// # Errors
    /// `Conflict` if two events would have the same path.
    pub(crate) fn new(catalog: &Catalog, policies: &WebPolicies) -> Result<Self> {
        let own = [
            ("publish", Procedure::Publish),
            ("sendEvent", Procedure::SendEvent),
            ("fetchHistory", Procedure::FetchHistory),
            ("listChannels", Procedure::ListChannels),
            ("getChannelInfo", Procedure::ChannelInfo),
            ("getEventDefinitions", Procedure::Definitions),
            ("getServiceStatus", Procedure::Status),
            ("getSubscriptionStats", Procedure::Stats),
            ("health", Procedure::Health),
            ("subscribe", Procedure::Subscribe),
        ];
        let mut table: HashMap<String, Procedure> =
            own.into_iter().map(|(name, procedure)| (format!("pubsub.{name}"), procedure)).collect();
        for found in pubsub_codegen::procedures(&Contracts::of(catalog))? {
            let contract = found.contract;
            let Some(definition) = catalog.get(&contract.name, contract.version) else { continue };
            if policies.of(definition.channel()).is_none() {
                continue;
            }
            let definition = definition.clone();
            let procedure = match found.kind {
                Kind::Query => Procedure::Ask(definition),
                Kind::Mutation => Procedure::Send(definition),
                Kind::Subscription => Procedure::On(definition),
            };
            table.insert(found.path(), procedure);
        }
        Ok(Self(table))
    }

    fn get(&self, path: &str) -> std::result::Result<&Procedure, ApiError> {
        self.0.get(path).ok_or_else(|| ApiError::not_found(format!("No procedure found on path \"{path}\"")))
    }
}

impl Procedures for Edge {
    type Caller = Caller;
    type Stream = Streaming;

    fn kind(&self, path: &str) -> Option<ProcedureKind> {
        self.table.0.get(path).map(Procedure::kind)
    }

    fn caller<'a>(
        &'a self,
        parts: &'a http::request::Parts,
        params: Option<ConnectionParams>,
    ) -> futures_util::future::BoxFuture<'a, Caller> {
        Box::pin(async move { self.identify(parts, params.as_ref(), None).await })
    }

    fn call<'a>(&'a self, caller: &'a Caller, path: &'a str, input: Option<&'a RawValue>) -> Answer<'a, Box<RawValue>> {
        Box::pin(async move {
            let procedure = self.table.get(path)?;
            if matches!(procedure, Procedure::Health) {
                return ops::write(&self.health().await.1);
            }
            self.admit(caller)?;
            let user = caller.user()?.map(|user| &**user);
            match procedure {
                Procedure::Publish => ops::write(&self.publish(caller, ops::read::<PublishInput>(input)?).await?),
                Procedure::SendEvent => ops::write(&self.send_event(caller, ops::read::<SendInput>(input)?).await?),
                Procedure::FetchHistory => {
                    ops::write(&self.fetch_history(caller, ops::read::<HistoryInput>(input)?).await?)
                }
                Procedure::ListChannels => {
                    ops::write(&self.list_channels(caller, ops::read::<ListInput>(input)?).await?)
                }
                Procedure::ChannelInfo => ops::write(&self.channel_info(caller, ops::read::<InfoInput>(input)?).await?),
                Procedure::Definitions => ops::write(&self.definitions(user).await?),
                Procedure::Status => ops::write(&self.service_status(user).await?),
                Procedure::Stats => ops::write(&self.subscription_stats(user).await?),
                Procedure::Send(definition) | Procedure::Ask(definition) => {
                    let sending =
                        Sending { definition, payload: input, at: "", client_event_id: None, correlation_id: None };
                    Ok(self.send(caller, sending).await?.into_result())
                }
                Procedure::Health | Procedure::Subscribe | Procedure::On(_) => {
                    Err(ApiError::bad_request("a subscription is not called"))
                }
            }
        })
    }

    fn subscribe<'a>(
        &'a self,
        caller: &'a Caller,
        path: &'a str,
        input: Option<&'a RawValue>,
        position: Option<&'a str>,
    ) -> Answer<'a, Streaming> {
        Box::pin(async move {
            self.admit(caller)?;
            caller.user()?;
            let plan = match self.table.get(path)? {
                Procedure::On(definition) => Plan::to_event(definition.channel(), definition.name(), input, position)?,
                _ => Plan::of(input, position)?,
            };
            let stream = self.subscribe_to(caller, plan).await?;
            Ok(Streaming::new(stream, crate::hub::Heading::Plain, &self.settings))
        })
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::{Direction, ErrorKind};
    use serde_json::json;

    use super::*;
    use crate::WebPolicy;

    fn table(events: &[(&str, &str, Direction)]) -> Result<Table> {
        let mut catalog = Catalog::new();
        for (name, channel, direction) in events {
            catalog.insert(EventDefinition::dynamic(name, channel, 1, json!({}))?.with_direction(*direction))?;
        }
        let channels: std::collections::BTreeSet<_> = events.iter().map(|(_, channel, _)| *channel).collect();
        let policies = channels.into_iter().filter(|channel| *channel != "hidden").map(WebPolicy::public);
        Table::new(&catalog, &WebPolicies::new(policies.collect())?)
    }

    #[test]
    fn events_become_procedures() {
        let table = table(&[
            ("speed-tests:run-requested", "speed-tests", Direction::Cse),
            ("orders:created", "orders", Direction::Both),
            ("pong:response", "pingpong", Direction::Sse),
            ("orders:audited", "orders", Direction::Internal),
            ("secret:x", "hidden", Direction::Both),
        ])
        .unwrap();
        let kind = |path: &str| table.0.get(path).map(Procedure::kind);
        assert_eq!(kind("speedTests.runRequested"), Some(ProcedureKind::Mutation));
        assert_eq!(kind("orders.created"), Some(ProcedureKind::Mutation));
        assert_eq!(kind("orders.onCreated"), Some(ProcedureKind::Subscription));
        assert_eq!(kind("pingpong.onResponse"), Some(ProcedureKind::Subscription));
        for absent in ["pingpong.response", "orders.audited", "orders.onAudited", "hidden.x", "hidden.onX"] {
            assert_eq!(kind(absent), None, "{absent}");
        }
    }

    #[test]
    fn names_that_become_the_same_are_refused() {
        let events = [("a:run-it", "a", Direction::Cse), ("a:runIt", "a", Direction::Cse)];
        assert_eq!(table(&events).unwrap_err().kind(), ErrorKind::Conflict);
    }
}
