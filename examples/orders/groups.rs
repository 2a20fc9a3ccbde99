//! The three groups that consume orders. Each gets every order.

use std::{sync::Arc, time::Duration};

use pubsub::{Attempt, Event, HandlerError, Meta, PubSub, Retry, Router, Running, State};

use super::{intake::DISCONTINUED, ledger::Ledger, order::OrderCreated, publish::LINE};

/// The names of the groups.
pub(crate) const NAMES: [&str; 3] = ["billing", "stock", "notifications"];
/// How many orders of a group are worked on at a time.
const AT_WORK: usize = 4;
/// How many each group may have in hand, those that wait for their turn included.
const IN_FLIGHT: usize = 128;
/// How often an order is delivered to a group before it becomes a dead letter.
const ATTEMPTS: u32 = 4;

/// What a group does with an order.
type Work = fn(&OrderCreated, attempt: u32) -> Result<(), HandlerError>;

/// The payment provider times out now and then.
fn bill(order: &OrderCreated, attempt: u32) -> Result<(), HandlerError> {
    let percent = match attempt {
        1 => 5,
        2 => 20,
        _ => 0,
    };
    if dice(&order.order_id, attempt) < percent {
        return Err(HandlerError::retry("the payment provider did not answer"));
    }
    Ok(())
}

/// What is discontinued is not found. The group does not know that it never will be: the attempts run out.
fn reserve(order: &OrderCreated, _: u32) -> Result<(), HandlerError> {
    match order.lines.iter().find(|line| DISCONTINUED.contains(&line.sku.as_str())) {
        Some(line) => Err(HandlerError::retry(format!("no stock of {}", line.sku))),
        None => Ok(()),
    }
}

/// Without an address there is nobody to notify, and no use in trying again.
fn notify(order: &OrderCreated, _: u32) -> Result<(), HandlerError> {
    match &order.email {
        Some(_) => Ok(()),
        None => Err(HandlerError::reject("customer left no address")),
    }
}

/// 0 to 99, by chance but the same in every run (FNV-1a).
fn dice(id: &str, attempt: u32) -> u64 {
    let bytes = id.bytes().chain(attempt.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)) % 100
}

/// What the handlers of a group need.
#[derive(Clone)]
struct Desk {
    work: Work,
    ledger: Arc<Ledger>,
    run: Arc<str>,
}

async fn handle(
    order: Arc<OrderCreated>,
    State(desk): State<Desk>,
    Attempt(attempt): Attempt,
    meta: Meta,
) -> Result<(), HandlerError> {
    if meta.correlation_id.as_deref() != Some(&*desk.run) {
        return Ok(()); // left over from another run
    }
    let line = meta.extra.get(LINE).and_then(|line| line.as_u64()).unwrap_or(0);
    desk.ledger.once(&order, line, |created| (desk.work)(created, attempt))
}

/// The groups at work.
#[derive(Debug)]
pub(crate) struct Groups {
    ledgers: [Arc<Ledger>; 3],
    running: Running,
}

impl Groups {
    /// Sets every group to work.
    pub(crate) async fn start(bus: &PubSub, run: &str) -> pubsub::Result<Self> {
        let work: [Work; 3] = [bill, reserve, notify];
        let ledgers: [Arc<Ledger>; 3] = Default::default();
        let mut router = Router::new();
        for ((name, work), ledger) in NAMES.into_iter().zip(work).zip(ledgers.clone()) {
            let desk = Desk { work, ledger, run: run.into() };
            router = router.merge(Router::new().group(name).on(handle).with_state(desk));
        }
        let retry = Retry::exponential(ATTEMPTS).delays(Duration::from_millis(5), Duration::from_millis(40));
        let running = router.concurrency(AT_WORK).max_in_flight(IN_FLIGHT).layer(retry).start(bus).await?;
        Ok(Self { ledgers, running })
    }

    /// Each group's name and ledger.
    pub(crate) fn ledgers(&self) -> impl Iterator<Item = (&'static str, &Ledger)> {
        NAMES.into_iter().zip(self.ledgers.iter().map(Arc::as_ref))
    }

    /// How many orders are in hand, or on their way to the dead letters.
    pub(crate) fn in_hand(&self) -> usize {
        let stats = NAMES.into_iter().filter_map(|name| self.running.stats(name, OrderCreated::CHANNEL).ok());
        stats.map(|stats| stats.outstanding).sum()
    }

    /// Waits until every group has seen that the bus is closed, and gives the ledgers.
    pub(crate) async fn finish(self) -> [Arc<Ledger>; 3] {
        self.running.ended().await;
        self.ledgers
    }
}
