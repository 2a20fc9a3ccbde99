//! Publishing what is accepted.

use std::time::Duration;

use pubsub::{EventId, PubSub};

use super::{failure::Failure, input::Input, intake::Intake, order::OrderCreated, progress::Progress};

/// How often an order is published before the run is given up.
const ATTEMPTS: u32 = 5;

/// Under this key the metadata says which line of the input an event came from.
pub(crate) const LINE: &str = "line";

/// Reads, checks and publishes everything. One order after the other, each confirmed by the broker: a customer's
/// orders keep their order, and a bus that is full holds the reading back.
pub(crate) async fn all(
    bus: &PubSub,
    run: &str,
    mut input: Input,
    intake: &mut Intake,
    progress: &Progress,
) -> Result<(), Failure> {
    while let Some(line) = input.next().await.map_err(Failure::Start)? {
        let (number, end) = (line.number, line.end);
        if let Some(order) = intake.admit(line, progress) {
            publish(bus, run, number, &order).await?;
        }
        progress.published(end, number, intake.accepted());
    }
    Ok(())
}

async fn publish(bus: &PubSub, run: &str, line: u64, order: &OrderCreated) -> pubsub::Result<()> {
    // The same id each time: a broker that had the event after all can tell.
    let id = EventId::random();
    let mut attempt = 1;
    loop {
        let publish = bus.publish(order).id(id.clone()).meta(|meta| {
            meta.correlation_id = Some(run.to_owned());
            meta.extra.insert(LINE.to_owned(), line.into());
        });
        match publish.await {
            Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
                attempt += 1;
            }
            outcome => return outcome.map(drop),
        }
    }
}
