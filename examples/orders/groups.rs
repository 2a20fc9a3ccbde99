//! The three groups that consume orders. Each gets every order; its members share them.

use std::{sync::Arc, time::Duration};

use pubsub::{Control, Events, PubSub, RetryPolicy};
use tokio::task::JoinSet;

use super::{
    failure::{Failure, with_causes},
    intake::DISCONTINUED,
    ledger::Ledger,
    order::OrderCreated,
    publish::LINE,
};

/// The names of the groups.
pub(crate) const NAMES: [&str; 3] = ["billing", "stock", "notifications"];
/// How many orders of a group are worked on at a time.
const MEMBERS: usize = 4;
/// How many each member may have in hand, those that wait for their turn included.
const IN_FLIGHT: usize = 32;
/// How often an order is delivered to a group before it becomes a dead letter.
const ATTEMPTS: u32 = 4;

/// Why a piece of work was not done.
enum Problem {
    /// It may work the next time.
    Transient(String),
    /// It never will.
    Permanent(String),
}

/// What a group does with an order.
type Work = fn(&OrderCreated, attempt: u32) -> Result<(), Problem>;

/// The payment provider times out now and then.
fn bill(order: &OrderCreated, attempt: u32) -> Result<(), Problem> {
    let percent = match attempt {
        1 => 5,
        2 => 20,
        _ => 0,
    };
    if dice(&order.order_id, attempt) < percent {
        return Err(Problem::Transient("the payment provider did not answer".to_owned()));
    }
    Ok(())
}

/// What is discontinued is not found. The group does not know that it never will be: the attempts run out.
fn reserve(order: &OrderCreated, _: u32) -> Result<(), Problem> {
    match order.lines.iter().find(|line| DISCONTINUED.contains(&line.sku.as_str())) {
        Some(line) => Err(Problem::Transient(format!("no stock of {}", line.sku))),
        None => Ok(()),
    }
}

/// Without an address there is nobody to notify, and no use in trying again.
fn notify(order: &OrderCreated, _: u32) -> Result<(), Problem> {
    match &order.email {
        Some(_) => Ok(()),
        None => Err(Problem::Permanent("customer left no address".to_owned())),
    }
}

/// 0 to 99, by chance but the same in every run (FNV-1a).
fn dice(id: &str, attempt: u32) -> u64 {
    let bytes = id.bytes().chain(attempt.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)) % 100
}

/// The groups at work.
#[derive(Debug)]
pub(crate) struct Groups {
    ledgers: [Arc<Ledger>; 3],
    controls: Vec<Control>,
    members: JoinSet<pubsub::Result<()>>,
}

impl Groups {
    /// Subscribes every member of every group and sets them to work.
    pub(crate) async fn start(bus: &PubSub, run: &str) -> pubsub::Result<Self> {
        let work: [Work; 3] = [bill, reserve, notify];
        let retry =
            RetryPolicy::default().attempts(ATTEMPTS).delays(Duration::from_millis(5), Duration::from_millis(40));
        let mut groups = Self { ledgers: Default::default(), controls: Vec::new(), members: JoinSet::new() };
        for ((name, work), ledger) in NAMES.into_iter().zip(work).zip(groups.ledgers.clone()) {
            for _ in 0..MEMBERS {
                let orders = bus.subscribe().group(name).max_in_flight(IN_FLIGHT).retry(retry).await?;
                groups.controls.push(orders.control());
                groups.members.spawn(consume(orders, work, ledger.clone(), run.to_owned()));
            }
        }
        Ok(groups)
    }

    /// Each group's name and ledger.
    pub(crate) fn ledgers(&self) -> impl Iterator<Item = (&'static str, &Ledger)> {
        NAMES.into_iter().zip(self.ledgers.iter().map(Arc::as_ref))
    }

    /// How many orders are in the hands of members, or on their way to the dead letters.
    pub(crate) fn in_hand(&self) -> usize {
        self.controls.iter().map(|control| control.stats().outstanding).sum()
    }

    /// Waits until every member has seen that the bus is closed, and gives the ledgers.
    pub(crate) async fn finish(mut self) -> Result<[Arc<Ledger>; 3], Failure> {
        while let Some(member) = self.members.join_next().await {
            member.map_err(|error| Failure::Run(with_causes(&error)))??;
        }
        Ok(self.ledgers)
    }
}

/// A member: one order after the other, until the bus is closed.
async fn consume(mut orders: Events<OrderCreated>, work: Work, ledger: Arc<Ledger>, run: String) -> pubsub::Result<()> {
    while let Some(order) = orders.next().await {
        let order = match order {
            Ok(order) => order,
            // The subscription heals itself.
            Err(error) if error.is_retryable() => continue,
            Err(error) => return Err(error),
        };
        if order.meta().correlation_id.as_ref() != Some(&run) {
            order.ack(); // left over from another run
            continue;
        }
        let line = order.meta().extra.get(LINE).and_then(|line| line.as_u64()).unwrap_or(0);
        match ledger.once(&order, line, |created| work(created, order.attempt())) {
            Ok(()) => order.ack(),
            Err(Problem::Transient(why)) => order.fail(why)?,
            Err(Problem::Permanent(why)) => order.reject(why)?,
        }
    }
    Ok(())
}
