//! Which delivery of an event this is: one more than its handlers failed.
//!
//! The server counts deliveries, those after a crash or a broken connection like those after a nack. So a member writes
//! down each failure, in a small stream with one record per event, before it gives the event back; whoever gets an event
//! again reads the record. Deliveries that no record explains say nothing about the event, unless they are as many as its
//! policy takes of them.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client,
    jetstream::stream::{Config, DiscardPolicy, Info, StorageType},
};
use bytes::Bytes;
use futures_util::future::join_all;
use pubsub_core::{Result, driver::RetryPolicy};
use tokio::time::timeout;

use super::{connection::Shared, options::NatsStorage};
use crate::common;

/// How long the server may take for a record.
const WITHIN: Duration = Duration::from_secs(2);
/// How long records are kept of events that nobody settles, and how many.
const KEPT: Duration = Duration::from_secs(7 * 86_400);
const MOST: i64 = 1_000_000;

/// The event of one failure: its consumer in its present life, and its number.
pub(super) type Failed = (Arc<str>, u64);

/// The attempt of the delivery with this number, after so many recorded failures and known releases.
pub(super) fn attempt(retry: &RetryPolicy, delivered: u32, failures: u32, released: u32) -> u32 {
    let before = delivered.saturating_sub(1);
    let failures = failures.min(before);
    let unexplained = before.saturating_sub(failures).saturating_sub(released);
    common::attempts::attempt(retry, failures, unexplained)
}

impl Shared {
    /// How many failures are recorded of events, each at the place of its event. What the server does not tell in time
    /// counts as none: an event rather comes too often than is given up too early.
    pub(super) async fn failures(&self, events: &[Failed]) -> Vec<u32> {
        let Some(client) = self.link.borrow().client().cloned() else { return vec![0; events.len()] };
        let stream = self.names.failures();
        let read = |(consumer, sequence): &Failed| {
            let subject = format!("$JS.API.DIRECT.GET.{stream}.{}", self.names.failure(consumer, *sequence));
            let request = client.request(subject, Bytes::new());
            async move {
                let answer = timeout(WITHIN, request).await.ok()?.ok()?;
                std::str::from_utf8(&answer.payload).ok()?.parse().ok()
            }
        };
        let found: Vec<Option<u32>> = join_all(events.iter().map(read)).await;
        found.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Records failures: how often each event has failed by now.
    pub(super) async fn record_failures(&self, client: &Client, events: &[(Failed, u32)]) {
        let all: Vec<_> = events.iter().collect();
        let failed = self.write_failures(client, all).await;
        if !failed.is_empty() && self.prepare_failures().await.is_ok() {
            self.write_failures(client, failed).await;
        }
    }

    /// Writes records, and gives back those that are not stored.
    async fn write_failures<'a>(&self, client: &Client, events: Vec<&'a (Failed, u32)>) -> Vec<&'a (Failed, u32)> {
        let write = |event: &'a (Failed, u32)| {
            let ((consumer, sequence), times) = event;
            let request = client.request(self.names.failure(consumer, *sequence), times.to_string().into());
            async move {
                let answer = timeout(WITHIN, request).await;
                let stored = matches!(answer, Ok(Ok(answer)) if !answer.payload.is_empty()
                    && !String::from_utf8_lossy(&answer.payload).contains("\"error\""));
                (!stored).then_some(event)
            }
        };
        join_all(events.into_iter().map(write)).await.into_iter().flatten().collect()
    }

    async fn prepare_failures(&self) -> Result<()> {
        let name = self.names.failures();
        let config = Config {
            name: name.clone(),
            subjects: vec![format!("{}.n.>", self.names.root())],
            max_age: KEPT,
            max_messages: MOST,
            max_bytes: -1,
            max_consumers: -1,
            max_messages_per_subject: 1,
            discard: DiscardPolicy::Old,
            storage: match self.options.storage {
                NatsStorage::File => StorageType::File,
                NatsStorage::Memory => StorageType::Memory,
            },
            num_replicas: self.options.replicas,
            allow_direct: true,
            ..Config::default()
        };
        let made: Result<Info> = self.api("settle", format!("STREAM.CREATE.{name}"), &config).await;
        made.map(drop)
    }

    /// Removes the record of an event that is settled for good. Nobody waits for it: what is left is removed in time.
    pub(super) async fn forget_failures(&self, client: &Client, consumer: &str, sequence: u64) {
        let subject = format!("$JS.API.STREAM.PURGE.{}", self.names.failures());
        let body = format!(r#"{{"filter":"{}"}}"#, self.names.failure(consumer, sequence));
        client.publish(subject, body.into()).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_that_nobody_explains_count_only_when_they_are_very_many() {
        let attempt = |delivered, failures, released| attempt(&RetryPolicy::default(), delivered, failures, released);
        assert_eq!(attempt(1, 0, 0), 1);
        assert_eq!(attempt(3, 2, 0), 3, "two failures");
        assert_eq!(attempt(64, 0, 0), 1, "crashes alone");
        assert_eq!(attempt(9, 3, 2), 4, "failures among crashes");
        assert_eq!(attempt(1, 7, 0), 1, "the record of another life");
        assert_eq!(attempt(65, 0, 0), 65, "64 deliveries, and nobody said anything");
        assert_eq!(attempt(200, 0, 180), 1, "it was released");
    }
}
